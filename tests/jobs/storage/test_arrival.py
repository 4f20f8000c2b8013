"""A process waits for stores that start after it, and not for ever."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from embedded import Servers
from embedded.redis import EmbeddedRedis
from jobs.errors import Unavailable
from jobs.storage.arrival import stores_answer


async def test_stores_that_answer_are_not_waited_for(servers: Servers) -> None:
    with capture_logs() as logs:
        await stores_answer(servers.database_url, servers.redis_url, verify_tls=True)

    assert logs == []


async def test_a_store_that_comes_later_is_waited_for_with_a_line_for_each_try(
    servers: Servers, tmp_path: Path
) -> None:
    server = EmbeddedRedis(tmp_path)
    with capture_logs() as logs:
        waiting = asyncio.create_task(stores_answer(servers.database_url, server.url, verify_tls=True))
        await asyncio.sleep(0.4)
        assert not waiting.done()
        with server:
            await asyncio.wait_for(waiting, 10)

    tries = [each for each in logs if each["event"] == "store_away"]
    assert len(tries) >= 2 and tries[0]["store"] == "Redis at REDIS_URL"


@pytest.mark.parametrize(("store", "name"), [("PostgreSQL", "DATABASE_URL"), ("Redis", "REDIS_URL")])
async def test_one_that_never_comes_is_given_up_with_its_setting(servers: Servers, store: str, name: str) -> None:
    urls = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    urls[name] = f"{urlsplit(urls[name]).scheme.replace('unix', 'redis')}://127.0.0.1:1"

    with pytest.raises(Unavailable, match=rf"^{store} at {name} has not answered within 0\.5 s: "):
        await stores_answer(*urls.values(), verify_tls=True, within_s=0.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"path": "/absent"}, 'PostgreSQL at DATABASE_URL refuses us: database "absent" does not exist'),
        (
            {"scheme": "postgresql", "netloc": "me:hush/hush@db"},
            r"^PostgreSQL at DATABASE_URL cannot be read as an address; in a password write / as %2F, [^h]*$",
        ),
    ],
)
async def test_one_that_refuses_us_is_not_asked_again(servers: Servers, changed: dict[str, str], said: str) -> None:
    url = urlsplit(servers.database_url)._replace(**changed).geturl()

    with pytest.raises(Unavailable, match=said):
        await stores_answer(url, servers.redis_url, verify_tls=True)
