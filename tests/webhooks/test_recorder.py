"""What was sent waits to be recorded, and not for ever more of it."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from jobs.storage.delivery_store import Attempt, Delivery, DeliveryStore
from tests.webhooks.conftest import Office
from tests.webhooks.receiver import Receiver
from tests.webhooks.samples import delivery
from webhooks import recorder
from webhooks.recorder import Recorder

DONE = Attempt(seconds=0.1, status=204)


class HaltingStore(DeliveryStore):
    """Its database answers when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.recorded: list[int] = []

    async def record_delivered(self, sent: Sequence[tuple[Delivery, Attempt]]) -> None:
        await self.let.wait()
        self.recorded.append(len(sent))


async def test_it_says_when_it_is_full_and_when_it_has_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 2)
    store, room = HaltingStore(), asyncio.Event()
    recording = Recorder(store, room.set)

    recording.delivered(delivery(), DONE)
    was_full = [recording.is_full]
    recording.delivered(delivery(), DONE)
    was_full.append(recording.is_full)
    store.let.set()
    await asyncio.wait_for(room.wait(), 5)

    assert was_full == [False, True]
    assert not recording.is_full and store.recorded == [2]


async def test_no_more_is_claimed_than_can_be_recorded(
    office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 0)
    job = await office.ended_job(receiver.url)

    async with office.dispatching() as dispatcher:
        await asyncio.sleep(0.1)
        claims = (await office.delivery(job))["claims"]
        monkeypatch.undo()
        dispatcher.wake()
        await office.has_states(job, ["DELIVERED"])

    assert claims == 0


@pytest.mark.parametrize(("number", "lines"), [(2, ["callback_delivered"] * 2), (9, ["callbacks_delivered"])])
async def test_of_many_delivered_at_once_one_line_tells(number: int, lines: list[str]) -> None:
    store = HaltingStore()
    store.let.set()
    with structlog.testing.capture_logs() as logs:
        recording = Recorder(store, lambda: None)
        for _ in range(number):
            recording.delivered(delivery(), DONE)
        await recording.close()

    assert [line["event"] for line in logs] == lines
