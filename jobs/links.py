"""Signed, expiring URLs. It serves nothing: the orchestrator checks what `Links` signed."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.errors import LinkRefused


@dataclass(frozen=True, slots=True)
class Links:
    """`public_url` is how clients reach the orchestrator, without a final slash."""

    public_url: str
    secret: bytes = field(repr=False)
    now: Callable[[], datetime]

    def sign(self, method: str, path: str, lifetime: timedelta) -> str:
        """An absolute URL that allows one method on one path until `lifetime` has passed."""
        expires = str(int((self.now() + lifetime).timestamp()))
        # Digits and hexadecimal: nothing to be quoted.
        return f"{self.public_url}{path}?expires={expires}&signature={self._signature(method, path, expires)}"

    def check(self, method: str, path: str, expires: str, signature: str) -> None:
        """Raises LinkRefused if the link was not signed here, was altered, or has expired."""
        expected = self._signature(method, path, expires)
        if not hmac.compare_digest(_bytes(expected), _bytes(signature)):
            raise LinkRefused
        # Only what we wrote ourselves is read as a number.
        if self.now().timestamp() > int(expires):
            raise LinkRefused("This link has expired; ask for a new one.")

    def _signature(self, method: str, path: str, expires: str) -> str:
        return hmac.digest(self.secret, _bytes(f"{method}\n{path}\n{expires}"), "sha256").hex()


def _bytes(text: str) -> bytes:
    # A request's bytes that are no UTF-8 come as lone surrogates.
    return text.encode("utf-8", "surrogatepass")
