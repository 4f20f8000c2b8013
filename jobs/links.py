"""Signed, expiring URLs. It serves nothing: the orchestrator checks what `Links` signed."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from jobs.errors import LinkRefused


@dataclass(frozen=True, slots=True)
class Links:
    """`public_url` is how clients reach the orchestrator, without a final slash."""

    public_url: str
    secret: bytes
    now: Callable[[], datetime]

    def sign(self, method: str, path: str, lifetime: timedelta) -> str:
        """An absolute URL that allows one method on one path until `lifetime` has passed."""
        expires = int((self.now() + lifetime).timestamp())
        query = urlencode({"expires": expires, "signature": self._signature(method, path, expires)})
        return f"{self.public_url}{path}?{query}"

    def check(self, method: str, path: str, expires: str, signature: str) -> None:
        """Raises LinkRefused if the link was not signed here, was altered, or has expired."""
        if not expires.isdecimal():
            raise LinkRefused
        expected = self._signature(method, path, int(expires))
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise LinkRefused
        if self.now().timestamp() > int(expires):
            raise LinkRefused("This link has expired; ask for the job again to get a new one.")

    def _signature(self, method: str, path: str, expires: int) -> str:
        text = f"{method}\n{path}\n{expires}".encode()
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()
