"""How numbers are said to people."""

from decimal import Decimal


def are(number: float) -> str:
    """After what `count` says."""
    return "is" if number == 1 else "are"


def count(number: int | float | Decimal, thing: str) -> str:
    """`thing` is one of them, in words that an s makes many."""
    shown = f"{number:g}" if isinstance(number, float) else number
    return f"{shown} {thing}" if number == 1 else f"{shown} {thing}s"
