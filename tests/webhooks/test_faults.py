"""What receivers do wrong: each fault is survived, recorded, and answered with the right wait. The clock is moved."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from config.settings import Settings
from tests.webhooks.conftest import Office
from tests.webhooks.receiver import Answer, Receiver, garbage, huge_body, reset, says, slow_body, slow_head
from tests.webhooks.test_guard import found
from webhooks import guard, posting
from webhooks.delivery import KEPT_OF_AN_ANSWER, Deadlines

DELAYS_S: tuple[float, ...] = Settings.model_fields["delivery_delays_s"].default
HASTY = Deadlines(connect_s=0.5, answer_s=0.3, body_s=0.3)


async def in_two_hours(request: web.Request) -> web.StreamResponse:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    return await says(503, Retry_After=date)(request)


@pytest.mark.parametrize(
    ("fault", "status", "least_s", "most_s"),
    [
        (500, 500, 4, 6),  # the schedule's first wait is 5 s, and a fifth of jitter
        (429, 429, 59, 72),
        (says(429, Retry_After="120"), 429, 119, 144),
        (says(429, Retry_After="1"), 429, 59, 72),
        (says(503, Retry_After="300"), 503, 299, 360),
        (in_two_hours, 503, 7000, 8640),
        (says(503, Retry_After="9" * 50), 503, 43_199, 51_840),  # 12 h at most
        (says(503, Retry_After="soon"), 503, 4, 6),
        (says(503, Retry_After="Fri, 01 Jan 2010 00:00:00 GMT"), 503, 4, 6),
        (slow_head(5), None, 59, 72),
        (slow_body(500, 0.1), 500, 4, 6),
        (reset, None, 4, 6),
        (garbage, None, 4, 6),
        (says(301, Location="http://169.254.169.254/"), 301, 4, 6),
        (308, 308, 4, 6),
        (404, 404, 4, 6),
    ],
)
async def test_a_fault_is_waited_out_and_the_callback_arrives(
    office: Office, receiver: Receiver, fault: int | Answer, status: int | None, least_s: float, most_s: float
) -> None:
    receiver.answers = [fault]
    job = await office.ended_job(receiver.url)

    async with office.dispatching(delays_s=DELAYS_S, deadlines=HASTY) as dispatcher:
        await office.has_attempts(job, 1)
        failed = await office.delivery(job)
        await office.let_pass(timedelta(days=1))
        dispatcher.wake()
        await office.has_states(job, ["DELIVERED"])

    assert (failed["state"], failed["last_status"]) == ("PENDING", status)
    assert least_s <= failed["wait"].total_seconds() <= most_s
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1


async def test_a_redirect_is_refused_in_words(office: Office, receiver: Receiver) -> None:
    receiver.answers = [says(302, Location="http://elsewhere.example/")]
    job = await office.ended_job(receiver.url)

    async with office.dispatching(delays_s=DELAYS_S, deadlines=HASTY):
        await office.has_attempts(job, 1)

    assert (await office.delivery(job))["last_error"] == "answered 302: redirects are not followed"


async def test_a_port_that_speaks_no_tls_and_one_that_nobody_hears_on_are_failures(
    office: Office, receiver: Receiver
) -> None:
    jobs = [await office.ended_job(url) for url in (receiver.url.replace("http", "https"), "http://127.0.0.1:1/")]

    async with office.dispatching(delays_s=DELAYS_S):
        for job in jobs:
            await office.has_attempts(job, 1)

    for job in jobs:
        failed = await office.delivery(job)
        assert (failed["state"], failed["last_status"]) == ("PENDING", None)
        assert "Connector" in failed["last_error"]


@pytest.mark.parametrize("fault", [garbage, reset])
async def test_the_secret_in_an_address_is_in_no_fault(office: Office, receiver: Receiver, fault: Answer) -> None:
    receiver.answers = [fault]
    job = await office.ended_job(f"{receiver.url}?token=sesame")

    async with office.dispatching(delays_s=DELAYS_S):
        await office.has_attempts(job, 1)

    error = (await office.delivery(job))["last_error"]
    assert "Error" in error or "Disconnected" in error
    assert "sesame" not in error


async def test_gone_is_not_tried_again(office: Office, receiver: Receiver) -> None:
    receiver.answers = [410]
    job = await office.ended_job(receiver.url)

    async with office.dispatching(delays_s=DELAYS_S):
        await office.has_states(job, ["DEAD"])

    assert len(receiver.received) == 1


async def test_a_body_that_does_not_end_does_not_undo_a_delivery(office: Office, receiver: Receiver) -> None:
    sent: list[int] = []
    receiver.answers = [slow_body(200, 0.1), huge_body(200, sent)]
    jobs = [await office.ended_job(receiver.url) for _ in range(2)]

    async with office.dispatching(delays_s=DELAYS_S, deadlines=HASTY):
        for job in jobs:
            await office.has_states(job, ["DELIVERED"])

    assert sum(sent) < 64 * 2**20, "what is not read is not taken"
    (slow,), (huge,) = [await office.attempts(job) for job in jobs]
    assert set(slow["answer"]) == {"x"} and huge["answer"] == "x" * KEPT_OF_AN_ANSWER


async def test_the_answer_is_kept_with_its_attempt_and_told_nowhere_else(
    office: Office, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [says(418, "a secret\0 of the receiver")]
    job = await office.ended_job(receiver.url)

    async with office.dispatching(delays_s=()):
        await office.has_states(job, ["DEAD"])

    (attempt,) = await office.attempts(job)
    assert (attempt["status"], attempt["error"], attempt["next_try_at"]) == (418, "answered 418", None)
    assert attempt["answer"] == "a secret of the receiver" and 0 < attempt["seconds"] < 10
    assert "callback_given_up" in (logged := capsys.readouterr().out) and "secret" not in logged


async def test_a_proxy_of_the_environment_is_not_asked(
    office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    job = await office.ended_job(receiver.url)

    async with office.dispatching():
        await office.has_states(job, ["DELIVERED"])


async def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_called(
    office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second answer would be another machine of the network that is allowed: nobody hears there.
    answers = ["127.0.0.1", "127.9.9.9", "169.254.169.254"]
    monkeypatch.setattr(guard, "_look_up", lambda _, port, __: [found(answers.pop(0), port)])
    url = receiver.url.replace("127.0.0.1", "rebinding.example")
    receiver.answers = [slow_head(0.1)]
    job = await office.ended_job(url)

    async with office.dispatching():
        await office.has_states(job, ["DELIVERED"])

    assert answers == ["127.9.9.9", "169.254.169.254"]
    assert receiver.hosts == ["rebinding.example"]


async def test_a_name_that_later_means_a_private_address_is_no_longer_called(
    office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ["127.0.0.1", "169.254.169.254"]
    monkeypatch.setattr(guard, "_look_up", lambda _, port, __: [found(answers.pop(0), port)])
    monkeypatch.setattr(posting, "NAMES_KEPT_S", 0.01)
    url = receiver.url.replace("127.0.0.1", "rebinding.example")
    receiver.answers = [reset]  # the connection is not kept
    job = await office.ended_job(url)

    async with office.dispatching(delays_s=(0.1,)):
        await office.has_states(job, ["DEAD"])

    assert len(receiver.received) == 1 and "no public address" in (await office.delivery(job))["last_error"]
