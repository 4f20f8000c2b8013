"""TAMS's signed requests: the header, the bytes that are signed, the check. It keeps no keys and knows no clock.

    Authorization: TAMS-SHA256-RSA app_id=…,nonce_str=…,timestamp=…,signature=…

The signature is RSASSA-PKCS1-v1_5 with SHA-256, in base64, of method, URL without host, timestamp, nonce and body,
with a line feed between them and none at the end. Source: tams-docs.tensor.art, "Signature Generation".
"""

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from jobs.errors import Fault, InvalidSubmission, NotAuthenticated

SCHEME = "TAMS-SHA256-RSA"
# What is shorter can be broken; what is longer takes too long to check for each request.
MIN_KEY_BITS, MAX_KEY_BITS = 2048, 8192

_PARTS = {
    "app_id": re.compile(r"[A-Za-z0-9_-]{1,64}"),
    "nonce_str": re.compile(r"[!-~]{1,128}"),
    "timestamp": re.compile(r"[1-9][0-9]{0,11}"),
    "signature": re.compile(r"[A-Za-z0-9+/=]{1,2000}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSignature:
    """`timestamp` is in seconds since 1970, as the client's clock had it."""

    app_id: str
    nonce: str
    timestamp: int
    signature: bytes


def read_signature(credentials: str) -> RequestSignature:
    """From what follows the scheme's name in the header. Raises NotAuthenticated."""
    parts = dict(_pair(part) for part in credentials.split(","))
    for name, pattern in _PARTS.items():
        if not pattern.fullmatch(parts.get(name, "")):
            raise NotAuthenticated(f"The {SCHEME} header has no valid {name}.")
    try:
        signature = base64.b64decode(parts["signature"], validate=True)
    except binascii.Error as error:
        raise NotAuthenticated(f"The signature of the {SCHEME} header is no base64.") from error
    return RequestSignature(
        app_id=parts["app_id"], nonce=parts["nonce_str"], timestamp=int(parts["timestamp"]), signature=signature
    )


def written_signature(app_id: str, nonce: str, timestamp: int, signature: bytes) -> str:
    """The header's whole value."""
    written = base64.b64encode(signature).decode()
    return f"{SCHEME} app_id={app_id},nonce_str={nonce},timestamp={timestamp},signature={written}"


def check_signature(claimed: RequestSignature, public_key: RSAPublicKey, method: str, url: str, body: bytes) -> None:
    """`url` is path and query as they came. Raises NotAuthenticated."""
    # Bytes of an address that are no UTF-8 come as lone surrogates.
    head = f"{method}\n{url}\n{claimed.timestamp}\n{claimed.nonce}\n".encode("utf-8", "surrogateescape")
    try:
        public_key.verify(claimed.signature, head + body, PKCS1v15(), SHA256())
    except InvalidSignature as error:
        message = (
            "The signature does not fit the request. It is made with the app's private key, of method, URL, timestamp, "
            f"nonce and body as they are sent; the method came as {method}, the URL as {url[:200]!a}."
        )
        raise NotAuthenticated(message) from error


def read_public_key(pem: bytes) -> RSAPublicKey:
    """Raises InvalidSubmission for what is no RSA key of a good length."""
    if b"PRIVATE KEY" in pem:
        raise _refusal("is a private key: keep it to yourself, and give its public half (openssl rsa -pubout)")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refusal("is no public key in PEM form") from error
    if not isinstance(key, RSAPublicKey):
        raise _refusal("is no RSA key")
    if not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        raise _refusal(f"has {key.key_size} bits; {MIN_KEY_BITS} to {MAX_KEY_BITS} are taken")
    return key


def written_key(key: RSAPublicKey) -> str:
    """The one PEM form in which keys are stored."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.strip().partition("=")
    return name, value


def _refusal(reason: str) -> InvalidSubmission:
    return InvalidSubmission([Fault("public key", reason)])
