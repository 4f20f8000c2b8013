"""Addresses of stores, as far as their text tells. It connects to nothing."""

_SCHEMES = {
    "DATABASE_URL": ("postgres://", "postgresql://"),
    "REDIS_URL": ("redis://", "rediss://", "unix://"),
}


def checked_address(name: str, address: str) -> str:
    """`name` is DATABASE_URL or REDIS_URL. Raises ValueError, which does not show what may hold a password."""
    if not address.startswith(_SCHEMES[name]):
        raise ValueError(f"must begin with {' or '.join(_SCHEMES[name])}")
    return address
