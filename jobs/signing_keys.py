"""Key pairs that sign an account's callbacks, so that receivers need no secret. It signs nothing and keeps nothing.

Private keys are bytes: the seed of Ed25519, PKCS#8 in DER of RSA.
"""

import base64
from enum import StrEnum
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

RSA_BITS = 2048


class SigningKind(StrEnum):
    """ED25519 is `v1a` of Standard Webhooks, TAMS_RSA the scheme of TAMS's signed requests."""

    ED25519 = "ed25519"
    TAMS_RSA = "tams-rsa"


def new_signing_key(kind: SigningKind) -> bytes:
    """The private one."""
    match kind:
        case SigningKind.ED25519:
            return Ed25519PrivateKey.generate().private_bytes_raw()
        case SigningKind.TAMS_RSA:
            key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
            return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        case _:
            assert_never(kind)


def written_public_key(kind: SigningKind, private_key: bytes) -> str:
    """`whpk_<base64>` as Standard Webhooks has it, or PEM."""
    match kind:
        case SigningKind.ED25519:
            public = Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
            return f"whpk_{base64.b64encode(public).decode()}"
        case SigningKind.TAMS_RSA:
            key = load_der_private_key(private_key, None).public_key()
            return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().rstrip()
        case _:
            assert_never(kind)
