"""The processes that decode: what a hostile file costs."""

import asyncio
import io
import os
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from jobs.errors import InvalidSubmission, Unavailable
from orchestrator import picture_reader
from orchestrator.picture_reader import PROCESSES, PictureReader, open_picture_reader
from orchestrator.uploaded_picture import read_picture

MAX_PIXELS = 4_000_000


@pytest.fixture
async def reader() -> AsyncIterator[PictureReader]:
    async with open_picture_reader(MAX_PIXELS, compute_within_s=0.5) as opened:
        yield opened


def encoded(format: str = "PNG", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "red").save(content, format, **options)
    return content.getvalue()


def endless() -> bytes:
    """A small progressive JPEG of which the last scan comes 100,000 times: each goes over all pixels."""
    whole = encoded("JPEG", (2000, 2000), progressive=True)
    last_scan = whole[[match.start() for match in re.finditer(b"\xff\xda", whole)][-1] : -2]
    return whole[:-2] + last_scan * 100_000 + whole[-2:]


async def test_what_the_process_reads_is_what_would_be_read_here(reader: PictureReader) -> None:
    for content in (encoded(), encoded("JPEG"), encoded("WEBP", (300, 200))):
        assert await reader.read(content) == read_picture(content, max_pixels=MAX_PIXELS)


async def test_a_refusal_comes_back_with_its_reason_and_the_process_goes_on(reader: PictureReader) -> None:
    with pytest.raises(InvalidSubmission, match="PNG, JPEG, WEBP") as refused:
        await reader.read(b"<svg/>")

    (process,) = reader._idle
    assert (await reader.read(encoded())).width == 64
    assert reader._idle == [process]
    assert [fault.path for fault in refused.value.faults] == [""]


async def test_a_file_that_computes_for_hours_ends_its_process_and_is_refused(reader: PictureReader) -> None:
    await reader.read(encoded())
    process = reader._idle[0]

    with pytest.raises(InvalidSubmission, match="too long"):
        await reader.read(endless())

    assert process.returncode == -signal.SIGPROF
    assert (await reader.read(encoded())).width == 64


async def test_the_event_loop_goes_on_while_a_file_is_decoded(reader: PictureReader) -> None:
    reading = asyncio.create_task(reader.read(endless()))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        turns += 1

    with pytest.raises(InvalidSubmission):
        await reading
    assert turns > 5


async def test_a_process_that_was_killed_is_a_refusal_and_the_next_picture_has_another(reader: PictureReader) -> None:
    await reader.read(encoded())
    reader._idle[0].kill()

    with pytest.raises(InvalidSubmission, match="breaks the decoder"):
        await reader.read(encoded())

    assert (await reader.read(encoded())).width == 64


async def test_a_client_that_goes_away_takes_the_process_along(reader: PictureReader) -> None:
    reading = asyncio.create_task(reader.read(endless()))
    await asyncio.sleep(0.2)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert reader._idle == []
    assert (await reader.read(encoded())).width == 64


async def test_a_crowd_is_read_by_a_few_processes(reader: PictureReader) -> None:
    pictures = await asyncio.gather(*(reader.read(encoded(size=(i + 1, 1))) for i in range(20)))

    assert [picture.width for picture in pictures] == list(range(1, 21))
    assert len(reader._idle) <= PROCESSES


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again(
    reader: PictureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_reader, "TURN_WITHIN_S", 0.05)
    for _ in range(PROCESSES):
        await reader._turns.acquire()

    with pytest.raises(Unavailable):
        await reader.read(encoded())

    reader._turns.release()
    assert (await reader.read(encoded())).width == 64


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory")
async def test_the_process_has_little_memory_and_no_secrets(
    reader: PictureReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_SECRET", "hush")
    await reader.read(encoded())
    process_id = reader._idle[0].pid

    limit, _ = resource.prlimit(process_id, resource.RLIMIT_AS)
    with open(f"/proc/{process_id}/environ") as file:
        environment = file.read()

    assert 0 < limit < 2**30
    assert "hush" not in environment and "PYTHONPATH" in environment


async def test_the_processes_end_with_the_reader() -> None:
    async with open_picture_reader(MAX_PIXELS) as reader:
        await reader.read(encoded())
        process_id = reader._idle[0].pid

    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)
