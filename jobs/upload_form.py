"""Forms by which a browser may upload one picture, in the words of Aliyun OSS's PostObject. It reads no request.

The policy says until when, how much and under which name; its signature is all the authority there is. Where OSS
would call an address when the picture has come, nothing is called: whoever signs the form also receives it.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from jobs.errors import Fault, InvalidSubmission, LinkRefused

ACCESS_ID = "darkroom"
FOLDER = "uploads/"
REQUIRED = {"ossaccesskeyid": "OSSAccessKeyId", "policy": "policy", "signature": "Signature", "key": "key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedForm:
    """What the form's fields must hold. `callback` and `security_token` may be left out of it."""

    access_id: str
    policy: str
    signature: str
    file_path: str
    callback: str
    security_token: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class AllowedUpload:
    resource_id: UUID
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadForms:
    """`url` is where the forms are posted to."""

    url: str
    secret: bytes = field(repr=False)
    now: Callable[[], datetime]
    max_bytes: int

    def sign(self, resource_id: UUID, lifetime: timedelta) -> SignedForm:
        """Allows one picture for this resource until `lifetime` has passed."""
        file_path, expires_at = f"{FOLDER}{resource_id}", self.now() + lifetime
        callback = _base64({"callbackUrl": self.url, "callbackBody": f"resourceId={resource_id}"})
        token = self._hmac(f"token\n{file_path}\n{expires_at.timestamp()}").hex()
        conditions = [
            ["content-length-range", 1, self.max_bytes],
            ["eq", "$key", file_path],
            ["eq", "$callback", callback],
            ["eq", "$x-oss-security-token", token],
        ]
        expiration = expires_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        policy = _base64({"expiration": expiration, "conditions": conditions})
        return SignedForm(
            access_id=ACCESS_ID,
            policy=policy,
            signature=self._signature(policy),
            file_path=file_path,
            callback=callback,
            security_token=token,
            expires_at=expires_at,
        )

    def check(self, fields: Mapping[str, str]) -> AllowedUpload:
        """`fields` by their names in lower case.

        Raises InvalidSubmission where one is missing, LinkRefused where they were not signed so or have expired.
        """
        missing = [
            Fault(shown, "is required, before the file") for name, shown in REQUIRED.items() if name not in fields
        ]
        if missing:
            raise InvalidSubmission(missing)
        is_signed = hmac.compare_digest(
            self._signature(fields["policy"]).encode(), fields["signature"].encode("utf-8", "surrogatepass")
        )
        if not is_signed or fields["ossaccesskeyid"] != ACCESS_ID:
            raise LinkRefused("This form was not signed here, or was altered.")
        # Only what we wrote ourselves is read.
        policy = json.loads(base64.b64decode(fields["policy"]))
        if self.now() > datetime.fromisoformat(policy["expiration"]):
            raise LinkRefused("This form has expired; ask for a new one.")
        max_bytes = _checked(policy["conditions"], fields)
        return AllowedUpload(UUID(fields["key"].removeprefix(FOLDER)), max_bytes)

    def _signature(self, policy: str) -> str:
        return base64.b64encode(self._hmac(f"policy\n{policy}")).decode()

    def _hmac(self, text: str) -> bytes:
        return hmac.new(self.secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _checked(conditions: list[list[Any]], fields: Mapping[str, str]) -> int:
    """How many bytes the file may have. Raises LinkRefused where a field is not the one that was signed."""
    max_bytes = 0
    for condition in conditions:
        match condition:
            case ["content-length-range", _, int(limit)]:
                max_bytes = limit
            case ["eq", str(name), value] if fields.get(name[1:], value) != value:
                raise LinkRefused(f"The form's field {name[1:]!r} is not the one that was signed.")
    return max_bytes


def _base64(value: object) -> str:
    return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
