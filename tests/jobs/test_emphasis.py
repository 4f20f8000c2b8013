import time

import pytest

from jobs.emphasis import windows
from jobs.prompt import Piece


# What AUTOMATIC1111's web UI makes of the same texts.
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("a (((house:1.3)) [on] a (hill:0.5)", [
            ("a ", 1.0), ("house", 1.573), (" ", 1.1), ("on", 1.0), (" a ", 1.1), ("hill", 0.55),
        ]),
        ("[x]", [("x", 1 / 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        (r"a \b", [(r"a \b", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("un)balanced]", [("un)balanced]", 1.0)]),
        ("ratio 16:9", [("ratio 16:9", 1.0)]),
        ("(x:-0.5)", [("x", -0.5)]),
        ("(a (b:2) c)", [("a ", 1.1), ("b", 2.2), (" c", 1.1)]),
        ("(x:1.2.3)", [("x:1.2.3)", 1.1)]),
        ("", []),
        ("()", []),
    ],
)  # fmt: skip
def test_brackets_give_weights(text: str, pieces: list[tuple[str, float]]) -> None:
    (window,) = windows(text)

    assert [piece.text for piece in window] == [text for text, _ in pieces]
    assert [piece.weight for piece in window] == pytest.approx([weight for _, weight in pieces])


def test_break_begins_a_new_window_also_within_brackets() -> None:
    assert windows("a BREAK b BREAKFAST") == [(Piece("a"),), (Piece("b BREAKFAST"),)]
    assert windows("(a BREAK b:2) c") == [(Piece("a", 2.0),), (Piece("b", 2.0), Piece(" c"))]


@pytest.mark.parametrize("text", ["(a" * 10_000, "(" * 10_000 + "a" + ")" * 10_000, "[(" * 10_000, "(a:2)" * 4000])
def test_no_text_takes_long_or_a_weight_without_bound(text: str) -> None:
    began = time.perf_counter()

    (window,) = windows(text)

    assert time.perf_counter() - began < 2
    assert all(0 < piece.weight <= 10 for piece in window)


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("(x:11)", 10),
        ("((x:100):0.5)", 5),
        ("(" * 32 + "x" + ":999999999999)" * 32, 10),
        ("(" * 31 + "x:-1)" + ":999999999999)" * 30, -10),
        ("(" * 32 + "x:0)" + ":999999999999)" * 31, 0),
    ],
)
def test_no_weight_counts_for_more_than_that_of_a_prompt(text: str, weight: float) -> None:
    ((piece,),) = windows(text)

    assert piece.weight == weight
