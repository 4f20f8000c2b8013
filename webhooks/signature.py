"""What proves to a receiver who sent a callback, and when. It keeps no keys and knows no clock.

Source: https://github.com/standard-webhooks/standard-webhooks, v1 (HMAC-SHA256) and v1a (Ed25519).
"""

import base64
import hmac
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key

from jobs.dialects.tams_signature import written_signature

# Of accounts that are called again and again: to read an RSA key takes as long as to sign with it.
KEYS_REMEMBERED = 256
APP_ID = "darkroom"


def signed_headers(
    secrets: Sequence[bytes], message_id: str, sent_at: datetime, body: bytes, *, ed25519_key: bytes | None = None
) -> dict[str, str]:
    """The three headers that let a receiver check sender, content and age, and drop repeats by id.

    One signature for each secret and key: a receiver that knows any of them is content.
    """
    timestamp = str(int(sent_at.timestamp()))
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signatures(secrets, ed25519_key, signed)),
    }


def tams_header(rsa_key: bytes, url: str, nonce: str, sent_at: datetime, body: bytes) -> str:
    """`Authorization` as TAMS's clients write it, for a POST of this body. `url` is path and query."""
    timestamp = int(sent_at.timestamp())
    signed = f"POST\n{url}\n{timestamp}\n{nonce}\n".encode() + body
    signature = _rsa_key(rsa_key).sign(signed, PKCS1v15(), SHA256())
    return written_signature(APP_ID, nonce, timestamp, signature)


def _signatures(secrets: Sequence[bytes], ed25519_key: bytes | None, signed: bytes) -> Iterator[str]:
    for secret in secrets:
        yield f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}"
    if ed25519_key:
        yield f"v1a,{base64.b64encode(_ed25519_key(ed25519_key).sign(signed)).decode()}"


@lru_cache(maxsize=KEYS_REMEMBERED)
def _ed25519_key(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=KEYS_REMEMBERED)
def _rsa_key(der: bytes) -> RSAPrivateKey:
    key = load_der_private_key(der, None)
    assert isinstance(key, RSAPrivateKey)  # we made it
    return key
