"""How numbers are said to people."""


def count(number: int, thing: str) -> str:
    """`thing` is one of them, in words that an s makes many."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
