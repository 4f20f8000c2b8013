"""Good bodies spoiled: what broken and hostile clients send. It knows no endpoint.

All chance comes from the Random that is passed in, so that a seed makes the same bodies again.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

# Something in a body: the object or list that holds it, and its name or index there.
Place: TypeAlias = tuple[Any, Any]

NUMBERS = (
    0, -0.0, 1, -1, 0.1, 7.000001, 1e-320, 1e308, -1e308, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**53 + 1,
    2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**25, 10**400, math.nan, math.inf, -math.inf,
)  # fmt: skip
TEXTS = (
    "", " ", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "\u202eevil", "\ufeff", "\uffff", "İ" * 256, "٣", "²",
    "é" * 9999, "😀" * 300, "x" * 257, "x" * 100_000, "_" * 100_000, "9" * 5000, "1e999", "NaN", "-0", "0x10", "true",
    "null", "DEFAULT", "default", "INPUT_INITIALIZE", "DIFFUSION", "Euler", "../../etc/passwd",
    "'; DROP TABLE jobs; --", "%s%n{0}", "http://", "http://[::1", "http://x:99999/", "https://user:pass@h/\r\nX: y",
    "00000000-0000-0000-0000-000000000000", "((((((a:1.5)", "[" * 5000,
)  # fmt: skip
NAMES = (
    "", "x", "\x00", "\ud800", "x" * 10_000, "type", "stages", "requestId", "request_id", "args", "diffusion",
    "prompts", "__class__", "__proto__", "model_fields_set", "constructor", "$ref", "0", "a.b[0]",
)  # fmt: skip
# Written as they stand, in place of a value.
LITERALS = (
    "NaN", "-Infinity", "1e999", "-1e999", "1e-999", "-0", "01", "+1", ".5", "1.", "0x10", "1_000", "9" * 400,
    "1." + "0" * 9000, "undefined", "None", "True", "'x'", '"\\x41"', '"\\ud800"', '"\\u12"', '"\t"', "", "{",
    "[1,]", "{,}",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {"Content-Type": "text/plain"},
    {"Content-Type": "text/plain; charset=utf-16"},
    {"Content-Type": "application/json; charset=none-such"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": ";;;"},
    {"Content-Encoding": "gzip"},
    {"Content-Encoding": "deflate"},
    {"Content-Encoding": "br"},
    {"Content-Encoding": "none-such"},
)
SCALAR = re.compile(r'(?<=: )("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null)')
MEMBER = re.compile(r'"[^"\\]*": ' + SCALAR.pattern.removeprefix("(?<=: )"))


@dataclass(frozen=True, slots=True)
class Spoiled:
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


def spoiled(body: Any, random: Random) -> Spoiled:
    """The body with one to three things wrong in its values, sometimes also in its text. It changes `body`."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        container, key = random.choice(_places(body))
        random.choice(IN_VALUES)(container, key, body, random)
    text = json.dumps(body)
    if random.random() < 0.2:
        text = random.choice(IN_TEXT)(text, random)
    content = text.encode(errors="surrogatepass")
    if random.random() < 0.1:
        content = random.choice(IN_BYTES)(content, random)
    return Spoiled(content, random.choice(HEADERS) if random.random() < 0.05 else {})


def _places(value: Any) -> list[Place]:
    """All of a body's, without those in lists so long that they would be the only ones."""
    found: list[Place] = []
    pending = [value]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys[:50]:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                pending.append(container[key])
    return found or [({"": value}, "")]


def _delete(container: Any, key: Any, body: Any, random: Random) -> None:
    del container[key]


def _empty(container: Any, key: Any, body: Any, random: Random) -> None:
    container[key] = random.choice(([], {}, "", 0, None, False, [None], [[]], [{}], {"": ""}))


def _number(container: Any, key: Any, body: Any, random: Random) -> None:
    number = random.choice(NUMBERS)
    container[key] = random.choice((number, number, str(number)))


def _text(container: Any, key: Any, body: Any, random: Random) -> None:
    container[key] = random.choice(TEXTS)


def _nudge(container: Any, key: Any, body: Any, random: Random) -> None:
    """Nearly as it was: the faults that a look at a field's type does not see."""
    match container[key]:
        case bool() as value:
            container[key] = random.choice((not value, str(value).lower(), int(value)))
        case int() | float() as value:
            container[key] = random.choice((-value, value + 1, value // 3, value * 64, str(value), [value]))
        case str() as value:
            container[key] = random.choice((value.upper(), f" {value}", value[:-1], value * 2, value + "\x00", [value]))
        case value:
            container[key] = random.choice(([value], {"value": value}, json.dumps(value)))


def _other_type(container: Any, key: Any, body: Any, random: Random) -> None:
    container[key] = random.choice((True, 1, 1.5, "1", [container[key]], {"x": container[key]}, None))


def _swap(container: Any, key: Any, body: Any, random: Random) -> None:
    """Puts a copy of another place's value here: a right value where it is wrong."""
    other, other_key = random.choice(_places(body))
    container[key] = json.loads(json.dumps(other[other_key]))


def _rename(container: Any, key: Any, body: Any, random: Random) -> None:
    if isinstance(container, dict):
        container[_other_name(key, random)] = container.pop(key)


def _twin(container: Any, key: Any, body: Any, random: Random) -> None:
    """A second one, in an object by another name or spelling."""
    if isinstance(container, dict):
        container[_other_name(key, random)] = container[key]
    else:
        container.insert(key, container[key])


def _nest(container: Any, key: Any, body: Any, random: Random) -> None:
    for _ in range(random.choice((1, 5, 100))):
        container[key] = random.choice(([container[key]], {"a": container[key]}))


def _many(container: Any, key: Any, body: Any, random: Random) -> None:
    """Bounded, so that the whole stays below what a server reads at all."""
    times = min(random.choice((17, 151, 3000)), 500_000 // len(json.dumps(container[key])) + 2)
    container[key] = json.loads(json.dumps([container[key]] * times))


def _many_names(container: Any, key: Any, body: Any, random: Random) -> None:
    container[key] = {f"n{i}": i for i in range(random.choice((20, 200, 5000)))}


def _other_name(name: str, random: Random) -> str:
    camel = re.sub(r"_(\w)", lambda found: found[1].upper(), name)
    snake = re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)
    return random.choice((camel, snake, name.upper(), f"{name} ", f"_{name}", name[:-1], *random.sample(NAMES, 3)))


IN_VALUES: tuple[Callable[[Any, Any, Any, Random], None], ...] = (
    _delete, _empty, _number, _number, _text, _text, _nudge, _nudge, _nudge, _other_type, _swap, _rename, _rename,
    _twin, _nest, _many, _many_names,
)  # fmt: skip


def _cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def _extend(text: str, random: Random) -> str:
    return text + random.choice(("}", "]", ",", "x", "\x00", text, " " * 9999))


def _comment(text: str, random: Random) -> str:
    return _inserted(text, random.choice(("/* x */", "// x\n", "# x\n", "<!-- -->")), random)


def _literal(text: str, random: Random) -> str:
    return _with_scalar(text, lambda _: random.choice(LITERALS), random)


def _repeat_name(text: str, random: Random) -> str:
    members = list(MEMBER.finditer(text))
    if not members:
        return text
    twice = random.choice(members)
    return f"{text[: twice.end()]}, {twice[0]}{text[twice.end() :]}"


def _nest_deeply(text: str, random: Random) -> str:
    depth = random.choice((200, 300, 1200, 50_000))
    opened, closed = random.choice((("[", "]"), ('{"a":', "}")))
    return _with_scalar(text, lambda old: opened * depth + old + closed * depth, random)


def _raw_characters(text: str, random: Random) -> str:
    """As they are, not escaped."""
    return _inserted(text, random.choice(("\x00", "\ud800", "\u202e", "\ufeff", "\u2028", "\x7f", "\r\n")), random)


def _unescaped(text: str, random: Random) -> str:
    return json.dumps(json.loads(text), ensure_ascii=False)


def _inserted(text: str, what: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + what + text[at:]


def _with_scalar(text: str, new: Callable[[str], str], random: Random) -> str:
    scalars = list(SCALAR.finditer(text))
    if not scalars:
        return new(text)
    old = random.choice(scalars)
    return text[: old.start()] + new(old[0]) + text[old.end() :]


IN_TEXT: tuple[Callable[[str, Random], str], ...] = (
    _cut, _extend, _comment, _literal, _literal, _repeat_name, _nest_deeply, _raw_characters, _unescaped,
)  # fmt: skip


def _flip(content: bytes, random: Random) -> bytes:
    flipped = bytearray(content or b"x")
    for _ in range(random.choice((1, 1, 5))):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _no_utf8(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    return (
        content[:at]
        + random.choice((b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"))
        + content[at:]
    )


def _other_encoding(content: bytes, random: Random) -> bytes:
    text = content.decode(errors="replace")
    return text.encode(random.choice(("utf-8-sig", "utf-16", "utf-32", "utf-7")))


def _other_bytes(content: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\x00", b"null", b"[]", b'""', b"0", b"a=b&c=d", random.randbytes(50), b"[" * 100_000))


IN_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _flip, _no_utf8, _other_encoding, _other_bytes)
