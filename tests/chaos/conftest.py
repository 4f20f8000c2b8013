"""One installation under load for all of this folder."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.chaos.installation import Installation, installation


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("chaos")) as started:
        yield started


@pytest.fixture
async def http(made: Installation) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {made.stack.api_key}"}
    async with aiohttp.ClientSession(made.stack.url, headers=headers) as session:
        yield session
