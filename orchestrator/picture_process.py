"""The process that decodes what strangers upload, and looks at it: `python -m orchestrator.picture_process MAX_PIXELS
SECONDS`.

It has nothing worth taking, little memory and little time: a file that is made to run for hours or to break the
decoder ends this process and no other. `picture_reader` starts it and speaks with it over its pipes: a line with the
length of a file and, where a preprocessor shall look at it, that one's name; then the file. It answers with a line of
JSON and the PNG.
"""

import json
import signal
import sys
from typing import BinaryIO

from jobs.errors import InvalidSubmission
from orchestrator.uploaded_picture import read_picture

# What a picture at the bound needs, counted: its pixels as they come, turned, in sRGB, with alpha, as PNG.
MEMORY_BYTES = 2**29
MEMORY_BYTES_PER_PIXEL = 48


def serve(incoming: BinaryIO, outgoing: BinaryIO, max_pixels: int, compute_within_s: float) -> None:
    """Until the pipe is closed: when the other process ends, so does this."""
    while line := incoming.readline():
        length, _, preprocessor = line.decode().strip().partition(" ")
        content = incoming.read(int(length))
        # Time that is computed, not time that passes: a busy machine refuses nothing. The signal ends us inside the
        # decoder too.
        signal.setitimer(signal.ITIMER_PROF, compute_within_s)
        head, png = _answer(content, preprocessor, max_pixels)
        signal.setitimer(signal.ITIMER_PROF, 0)
        outgoing.write(json.dumps(head).encode() + b"\n" + png)
        outgoing.flush()


def _answer(content: bytes, preprocessor: str, max_pixels: int) -> tuple[dict[str, object], bytes]:
    try:
        picture = read_picture(content, max_pixels=max_pixels)
        if preprocessor:
            # Late: its mathematics take half a second to import, and uploads need none of it.
            from orchestrator.preprocessed_picture import preprocessed_picture

            picture = preprocessed_picture(picture, preprocessor)
    except InvalidSubmission as error:
        return {"refusal": error.message}, b""
    head = {"bytes": len(picture.png), "width": picture.width, "height": picture.height, "digest": picture.digest}
    return head, picture.png


def _limit_memory(max_pixels: int) -> None:
    if sys.platform == "linux":  # others have the call and not the limit
        import resource

        limit = MEMORY_BYTES + MEMORY_BYTES_PER_PIXEL * max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us
    max_pixels, compute_within_s = int(sys.argv[1]), float(sys.argv[2])
    _limit_memory(max_pixels)
    serve(sys.stdin.buffer, sys.stdout.buffer, max_pixels, compute_within_s)


if __name__ == "__main__":
    main()
