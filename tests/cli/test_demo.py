"""The demonstration's own check of a callback agrees with the public library's."""

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from cli.demo import is_signed
from cli.stack import StackFailed, _write_env, read_env, running_stack

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


def _signed(body: bytes) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def test_a_callback_signed_by_the_standard_is_accepted() -> None:
    body = json.dumps({"job": {"id": "1"}}).encode()

    assert is_signed(_signed(body), body, SECRET)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp"])
def test_a_callback_that_was_altered_is_refused(change: str) -> None:
    body = b"{}"
    headers = _signed(body)
    if change == "body":
        body = b"{ }"
    else:
        headers[change] += "1"

    assert not is_signed(headers, body, SECRET)


def test_the_env_file_is_read_as_it_is_written(tmp_path) -> None:
    file = tmp_path / "env"
    stores = {"DATABASE_URL": "postgresql://app@/postgres?host=/a b&port=5432", "REDIS_URL": "unix:///tmp/x?db=0"}
    _write_env(file, "http://127.0.0.1:1", "dr_key", "whsec_a=b=", stores | {"DARKROOM_SECRET": "not told"})

    told = {"DARKROOM_URL": "http://127.0.0.1:1", "DARKROOM_API_KEY": "dr_key", "DARKROOM_WEBHOOK_SECRET": "whsec_a=b="}
    assert read_env(file) == told | stores
    # A shell, and what it starts, learn the same.
    script = f". {file}; exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    heard = json.loads(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)
    assert {name: heard[name] for name in told | stores} == told | stores
    assert read_env(tmp_path / "absent") == {}


def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(StackFailed, match=str(port)), running_stack(tmp_path / "new", port=port):
            pass
