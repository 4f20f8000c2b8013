"""A callback is signed so that the public library accepts it."""

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.dialects.tams_signature import SCHEME, check_signature, read_public_key, read_signature
from jobs.errors import NotAuthenticated
from jobs.signing_keys import SigningKind, new_signing_key, written_public_key
from webhooks.signature import signed_headers, tams_header

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


def test_an_ed25519_key_signs_beside_the_secret_by_the_public_rules() -> None:
    key, sent_at = new_signing_key(SigningKind.ED25519), datetime.now(UTC)

    headers = signed_headers([SECRET], "msg_1", sent_at, b"{}", ed25519_key=key)

    assert Webhook("whsec_" + base64.b64encode(SECRET).decode()).verify(b"{}", headers) == {}
    version, _, signature = headers["webhook-signature"].split()[1].partition(",")
    prefix, _, written = written_public_key(SigningKind.ED25519, key).partition("_")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(written))
    assert (version, prefix) == ("v1a", "whpk")
    public.verify(base64.b64decode(signature), f"msg_1.{headers['webhook-timestamp']}.{{}}".encode())
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signature), f"msg_2.{headers['webhook-timestamp']}.{{}}".encode())


def test_a_public_key_is_written_as_it_is_in_the_rfc() -> None:
    # RFC 8032, section 7.1, test 2.
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    assert written_public_key(SigningKind.ED25519, seed) == "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="


def test_a_receiver_that_knows_tams_signed_requests_can_check_a_callback() -> None:
    key, sent_at = new_signing_key(SigningKind.TAMS_RSA), datetime.now(UTC)
    public = read_public_key(written_public_key(SigningKind.TAMS_RSA, key).encode())

    header = tams_header(key, "/callback?a=1", "nonce", sent_at, b"{}")

    scheme, _, credentials = header.partition(" ")
    claimed = read_signature(credentials)
    assert (scheme, claimed.app_id, claimed.nonce, claimed.timestamp) == (
        SCHEME,
        "darkroom",
        "nonce",
        int(sent_at.timestamp()),
    )
    check_signature(claimed, public, "POST", "/callback?a=1", b"{}")
    with pytest.raises(NotAuthenticated):
        check_signature(claimed, public, "POST", "/callback?a=2", b"{}")
