"""A callback is signed so that the public library accepts it."""

import base64
import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from webhooks.signature import signed_headers

SECRET = bytes(range(32))


def test_the_public_library_accepts_the_signature_and_refuses_another_body() -> None:
    body = json.dumps({"job": {"id": "1"}}).encode()
    library = Webhook("whsec_" + base64.b64encode(SECRET).decode())

    headers = signed_headers([SECRET], "msg_1", datetime.now(UTC), body)

    assert library.verify(body, headers) == {"job": {"id": "1"}}
    with pytest.raises(WebhookVerificationError):
        library.verify(body + b" ", headers)


def test_each_secret_signs_so_that_a_receiver_may_know_any_of_them() -> None:
    headers = signed_headers([SECRET, b"the old one"], "msg_1", datetime.now(UTC), b"{}")

    for secret in (SECRET, b"the old one"):
        assert Webhook("whsec_" + base64.b64encode(secret).decode()).verify(b"{}", headers) == {}
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(b"another").decode()).verify(b"{}", headers)
