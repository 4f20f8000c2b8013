"""Signed requests: what is read, what is signed, and which keys are taken."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from jobs.dialects.tams_signature import check_signature, read_public_key, read_signature, written_key
from jobs.errors import InvalidSubmission, NotAuthenticated

VALID = {"app_id": "a1b2", "nonce_str": "n-1", "timestamp": "1700000000", "signature": "c2lnbmF0dXJl"}
METHOD, URL, BODY = "POST", "/v1/jobs?a=%20b&c=é", b'{"text": "\xc3\xa9"}'


def header(**changes: str) -> str:
    return ",".join(f"{name}={value}" for name, value in (VALID | changes).items() if value)


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_a_header_is_read_in_any_order_and_with_blanks() -> None:
    signature = read_signature(header())

    assert (signature.app_id, signature.nonce, signature.timestamp) == ("a1b2", "n-1", 1_700_000_000)
    assert signature.signature == b"signature"
    assert read_signature(", ".join(reversed(header().split(",")))) == signature


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("value", ["", "é", "x" * 3000, "\udcff", "\x00"])
def test_a_part_that_is_missing_or_strange_is_named(name: str, value: str) -> None:
    with pytest.raises(NotAuthenticated, match=name):
        read_signature(header(**{name: value}))


@pytest.mark.parametrize("timestamp", ["-1", "0", "01700000000", "1.5", "٣", "1" * 13, "now"])
def test_a_timestamp_is_plain_seconds(timestamp: str) -> None:
    with pytest.raises(NotAuthenticated, match="timestamp"):
        read_signature(header(timestamp=timestamp))


@pytest.mark.parametrize("signature", ["x", "ab=c", "===="])
def test_a_signature_that_is_no_base64_is_refused(signature: str) -> None:
    with pytest.raises(NotAuthenticated, match="base64"):
        read_signature(header(signature=signature))


def test_what_is_signed_is_what_the_published_format_says(private_key: rsa.RSAPrivateKey) -> None:
    text = b"POST\n/v1/jobs?a=%20b&c=\xc3\xa9\n1700000000\nn-1\n" + BODY
    made = base64.b64encode(private_key.sign(text, PKCS1v15(), SHA256())).decode()
    claimed = read_signature(header(signature=made))

    check_signature(claimed, private_key.public_key(), METHOD, URL, BODY)


@pytest.mark.parametrize(
    ("method", "url", "body", "changes"),
    [
        ("PUT", URL, BODY, {}),
        (METHOD, "/v1/jobs", BODY, {}),
        (METHOD, URL.replace("%20", "+"), BODY, {}),
        (METHOD, "/v1/jobs/\udcff", BODY, {}),
        (METHOD, URL, BODY + b"\n", {}),
        (METHOD, URL, b"", {}),
        (METHOD, URL, BODY, {"nonce_str": "n-2"}),
        (METHOD, URL, BODY, {"timestamp": "1700000001"}),
        (METHOD, URL, BODY, {"signature": "c2lnbmF0dXJl"}),
    ],
)
def test_any_change_after_signing_is_refused(
    private_key: rsa.RSAPrivateKey, method: str, url: str, body: bytes, changes: dict[str, str]
) -> None:
    text = b"POST\n/v1/jobs?a=%20b&c=\xc3\xa9\n1700000000\nn-1\n" + BODY
    made = base64.b64encode(private_key.sign(text, PKCS1v15(), SHA256())).decode()
    claimed = read_signature(header(**{"signature": made} | changes))

    with pytest.raises(NotAuthenticated, match="does not fit") as refused:
        check_signature(claimed, private_key.public_key(), method, url, body)

    assert refused.value.message.isascii()


def test_a_key_is_stored_in_one_form_whatever_its_file(private_key: rsa.RSAPrivateKey) -> None:
    public = private_key.public_key()
    files = [
        public.public_bytes(Encoding.PEM, form) for form in (PublicFormat.PKCS1, PublicFormat.SubjectPublicKeyInfo)
    ]

    assert len({written_key(read_public_key(file)) for file in files}) == 1


def test_a_key_that_cannot_be_trusted_is_refused_and_says_why(private_key: rsa.RSAPrivateKey) -> None:
    def pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    short = pem(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key())
    curve = pem(ec.generate_private_key(ec.SECP256R1()).public_key())
    secret = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    for file, reason in (
        (short, "1024 bits"),
        (curve, "no RSA key"),
        (secret, "private"),
        (b"\xff", "PEM"),
        (b"", "PEM"),
    ):
        with pytest.raises(InvalidSubmission, match=f"public key: .*{reason}"):
            read_public_key(file)
