"""Bodies that came packed, by their Content-Encoding. It reads none from the network."""

import zlib

from jobs.errors import Fault, InvalidSubmission, TooLarge

# gzip's header or zlib's, whichever is there: senders mix the two names up.
_ANY_HEADER = 32 + zlib.MAX_WBITS


def unpacked(content: bytes, encoding: str, limit: int) -> bytes:
    """Raises InvalidSubmission where `encoding` is another or the content is damaged, TooLarge where it unpacks to over
    `limit` bytes."""
    if not content:
        return content  # nothing, however that would be packed
    match encoding.strip().lower():
        case "" | "identity":
            return content
        case "gzip" | "x-gzip" | "deflate":
            return _inflated(content, limit)
        case other:
            raise _fault(f"its Content-Encoding must be gzip, deflate or none, not {other[:40]!r}")


def _inflated(content: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(_ANY_HEADER)
    try:
        inflated = inflater.decompress(content, limit + 1)
    except zlib.error as error:
        raise _fault("it is not packed as its Content-Encoding says") from error
    if len(inflated) > limit:
        raise TooLarge(f"The body unpacks to over {limit} bytes.")
    if not inflater.eof or inflater.unused_data:
        raise _fault("what its Content-Encoding packed is cut off, or more follows it")
    return inflated


def _fault(reason: str) -> InvalidSubmission:
    return InvalidSubmission([Fault("", f"the body cannot be read: {reason}")])
