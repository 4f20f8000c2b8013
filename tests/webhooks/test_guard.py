"""Callbacks reach public addresses, and others only when the operator says so."""

import socket

import pytest
from aiohttp.abc import ResolveResult
from yarl import URL

from webhooks import guard
from webhooks.guard import AddressRefused, GuardedResolver, check_literal, is_allowed, networks


def check(url: str, *allowed: str) -> None:
    check_literal(URL(url).host or "", URL(url).port or 0, networks(allowed))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # metadata of clouds
        "100.64.0.1",  # carriers' NAT
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "::127.0.0.1",
        "::ffff:0:7f00:1",
        "64:ff9b:1::1",
        "fec0::1",
        "192.88.99.1",
        "192.0.0.8",
        "198.18.0.1",
        "203.0.113.5",
        "240.0.0.1",
        "::ffff:100.64.0.1",
        "64:ff9b::c0a8:1",
        "2606:4700::5efe:127.0.0.1",  # ISATAP
        "2606:4700::200:5efe:10.0.0.1",
        "2001:0:7f00:1::",  # Teredo
        "3fff::1",
        "fd00:ec2::254",  # metadata again
        "fe80::1%eth0",
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_allowed(address, [])


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(address, [])


def test_the_operator_may_open_a_network() -> None:
    allowed = networks(["10.0.0.0/8", "::1/128"])

    assert is_allowed("10.9.9.9", allowed) and is_allowed("::1", allowed) and is_allowed("::ffff:10.0.0.1", allowed)
    assert not is_allowed("127.0.0.1", allowed)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]:80/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://127.0.0.1./",
        "http://１２７.０.０.１/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://[::1%25lo]/",
        "http://a.example@127.0.0.1/",
    ],
)
def test_an_address_in_the_url_itself_is_refused_in_every_spelling(url: str) -> None:
    with pytest.raises(AddressRefused):
        check(url)


@pytest.mark.parametrize("name", ["localhost", "0x7f000001", "0x7f.1"])
async def test_a_name_that_means_a_private_address_is_refused(name: str) -> None:
    resolver = GuardedResolver([], names_at_once=1)

    with pytest.raises(AddressRefused, match=name):
        await resolver.resolve(name, 80)

    await resolver.close()


@pytest.mark.parametrize("port", [22, 25, 81, 1023])
def test_ports_of_the_systems_own_services_are_refused_but_in_networks_of_the_operator(port: int) -> None:
    with pytest.raises(AddressRefused, match=str(port)):
        check(f"http://93.184.215.14:{port}/")

    check(f"http://10.0.0.1:{port}/", "10.0.0.0/8")


@pytest.mark.parametrize("url", ["http://93.184.215.14/", "https://93.184.215.14/", "http://93.184.215.14:8080/"])
def test_ports_of_the_web_and_free_ones_are_called(url: str) -> None:
    check(url)


async def test_a_name_at_a_port_that_is_refused_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_look_up", lambda *_: [found("93.184.215.14")])
    resolver = GuardedResolver([], names_at_once=1)

    with pytest.raises(AddressRefused):
        await resolver.resolve("a.example", 22)

    assert await resolver.resolve("a.example", 443) == [found("93.184.215.14")]
    await resolver.close()


async def test_of_a_names_addresses_only_the_public_ones_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_look_up", lambda *_: [found("10.0.0.1"), found("93.184.215.14"), found("::1")])
    resolver = GuardedResolver([], names_at_once=1)

    assert [each["host"] for each in await resolver.resolve("a.example", 80)] == ["93.184.215.14"]
    await resolver.close()


def found(address: str, port: int = 80) -> ResolveResult:
    return ResolveResult(hostname="a.example", host=address, port=port, family=socket.AF_INET, proto=6, flags=0)
