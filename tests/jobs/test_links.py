from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.errors import LinkRefused
from jobs.links import Links
from tests.jobs.samples import Clock

HOUR = timedelta(hours=1)
PATH = "/v1/images/5"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(clock: Clock) -> Links:
    return Links("https://images.example", b"a secret of the test", clock)


def parts(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_link_is_absolute_and_opens_what_it_was_signed_for(links: Links) -> None:
    url = links.sign("GET", PATH, HOUR)

    assert url.startswith(f"https://images.example{PATH}?")
    links.check("GET", PATH, **parts(url))


@pytest.mark.parametrize(
    "altered",
    [
        {"method": "PUT"},
        {"path": "/v1/images/6"},
        {"expires": "1777644001"},
        {"expires": "+1777640400"},
        {"expires": ""},
        {"expires": "never"},
        {"expires": "9" * 5000},
        {"expires": "²"},
        {"signature": "0" * 64},
        {"signature": ""},
        {"signature": "é\udcff"},
    ],
)
def test_an_altered_link_is_refused(links: Links, altered: dict[str, str]) -> None:
    signed = {"method": "GET", "path": PATH, **parts(links.sign("GET", PATH, HOUR))}

    with pytest.raises(LinkRefused):
        links.check(**(signed | altered))


def test_another_secret_does_not_open_it(links: Links, clock: Clock) -> None:
    signed = parts(Links(links.public_url, b"another secret", clock).sign("GET", PATH, HOUR))

    with pytest.raises(LinkRefused):
        links.check("GET", PATH, **signed)


def test_a_link_works_until_its_last_second_and_not_after(links: Links, clock: Clock) -> None:
    signed = parts(links.sign("GET", PATH, HOUR))

    clock.time += HOUR
    links.check("GET", PATH, **signed)
    clock.time += timedelta(seconds=1)
    with pytest.raises(LinkRefused, match="expired"):
        links.check("GET", PATH, **signed)
