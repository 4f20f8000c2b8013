"""Live progress: it never goes back, and never belongs to another attempt."""

import pytest
from arq.connections import ArqRedis

from jobs.job import Preview, Progress
from jobs.storage.progress_board import LIFE_S, PreviewBytes, ProgressBoard

PREVIEW = Preview(index=1, number=3, format="jpeg", width=64, height=48)


@pytest.fixture
def board(redis: ArqRedis) -> ProgressBoard:
    return ProgressBoard(redis)


def progress(attempt: int, fraction: float, *previews: Preview) -> Progress:
    return Progress(attempt=attempt, fraction=fraction, stage=1, step=5, steps=20, previews=previews)


async def test_what_was_published_is_read(board: ProgressBoard) -> None:
    await board.publish(7, progress(1, 0.25, PREVIEW))

    assert await board.get([(8, 1), (7, 1)]) == [None, progress(1, 0.25, PREVIEW)]


async def test_progress_never_goes_back(board: ProgressBoard) -> None:
    for fraction in (0.5, 0.25, 1e-7):
        await board.publish(7, progress(1, fraction))

    assert await board.get([(7, 1)]) == [progress(1, 0.5)]


async def test_a_late_attempt_changes_nothing(board: ProgressBoard) -> None:
    await board.publish(7, progress(10, 0.1))

    await board.publish(7, progress(9, 0.9))

    assert await board.get([(7, 10)]) == [progress(10, 0.1)]


async def test_a_new_attempt_begins_anew(board: ProgressBoard) -> None:
    await board.publish(7, progress(9, 0.9))

    await board.publish(7, progress(10, 0.1))

    assert await board.get([(7, 10), (7, 9)]) == [progress(10, 0.1), None]


async def test_progress_of_an_earlier_attempt_is_not_shown_for_the_next(board: ProgressBoard) -> None:
    await board.publish(7, progress(1, 0.9))

    assert await board.get([(7, 2)]) == [None]


async def test_a_preview_is_kept_under_its_own_name(board: ProgressBoard) -> None:
    await board.put_preview(7, 1, PreviewBytes(PREVIEW, b"third"))
    await board.put_preview(7, 2, PreviewBytes(PREVIEW, b"another attempt's"))

    assert PREVIEW.name(7, 1) == "7-1-1-3"
    assert await board.preview("7-1-1-3") == b"third"
    assert await board.preview("7-1-1-4") is None


async def test_nothing_is_kept_for_ever(board: ProgressBoard, redis: ArqRedis) -> None:
    await board.publish(7, progress(1, 0.1))
    await board.put_preview(7, 1, PreviewBytes(PREVIEW, b"third"))

    lives = [await redis.ttl(key) for key in await redis.keys("*")]

    assert len(lives) == 2 and all(0 < life <= LIFE_S for life in lives)
