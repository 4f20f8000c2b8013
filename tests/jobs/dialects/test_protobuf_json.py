from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import AliasChoices, Field, ValidationError

from jobs.dialects.protobuf_json import MAX_HINTS, Flag, Message, Real, Whole, faults_of
from jobs.errors import MAX_FAULTS


class Mode(StrEnum):
    SOFT = "SOFT"
    HARD_LIGHT = "HARD_LIGHT"


class Part(Message):
    resource_id: str | None = None
    kinds: list[Literal["SOFT", "HARD_LIGHT"]] | None = None


class Sample(Message):
    side: Annotated[int | None, Whole(512, 1536, 64)] = None
    offset: Annotated[int | None, Whole(-8, 8)] = None
    share: Annotated[float | None, Real(0, 1)] = None
    scale: Annotated[float | None, Real(0, 30, above=True)] = None
    flag: Flag = None
    parts: Annotated[list[Part], Field(max_length=4)] | None = None
    mode: Mode | None = None
    mask: str | None = Field(default=None, validation_alias=AliasChoices("maskId", "mask"))


def read(name: str, value: Any) -> Any:
    return getattr(Sample.model_validate({name: value}), name)


def reason(name: str, value: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate({name: value})
    (fault,) = faults_of(refused.value, Sample)
    assert fault.path == name
    return fault.reason


def faults(body: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        Sample.model_validate(body)
    return {fault.path: fault.reason for fault in faults_of(refused.value, Sample)}


def test_a_field_of_another_message_is_answered_with_those_of_this_one() -> None:
    found = faults({"resourceId": "x", "parts": [{}, {"side": 512, "resource": 1}]})

    assert found == {
        "resourceId": "is not a field here; there are 'side', 'offset', 'share', 'scale', 'flag', 'parts', 'mode'"
        " and 'maskId'",
        "parts[1].side": "is not a field here; there are 'resourceId' and 'kinds'",
        "parts[1].resource": "is not a field here; did you mean 'resourceId'?",
    }


def test_a_second_spelling_is_told_with_the_first() -> None:
    found = faults({"maskId": "x", "mask": "x", "parts": [{"resourceId": "x", "resource_id": "x"}]})

    assert found == {
        "mask": "is a second spelling of 'maskId', which is there already; send one of them",
        "parts[0].resource_id": "is a second spelling of 'resourceId', which is there already; send one of them",
    }


def test_no_more_faults_are_worded_than_are_told_of() -> None:
    """And one, which says that there are more."""
    assert len(faults({f"other{i}": 1 for i in range(3 * MAX_FAULTS)})) == MAX_FAULTS + 1


def test_only_some_of_very_many_are_answered_with_a_hint() -> None:
    found = faults({f"sid{i}": 1 for i in range(MAX_HINTS + 5)})

    assert ["did you mean" in reason for reason in found.values()] == [True] * MAX_HINTS + [False] * 5


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        ([], "", "the body must be a JSON object"),
        ({"parts": 1}, "parts", "must be a list"),
        ({"parts": [1]}, "parts[0]", "must be an object"),
        ({"parts": [{"resourceId": 1}]}, "parts[0].resourceId", "must be a string"),
    ],
)
def test_another_kind_of_value_is_told_the_right_one(body: Any, path: str, reason: str) -> None:
    assert faults(body) == {path: reason}


@pytest.mark.parametrize("value", [512, "512", 512.0, 5.12e2])
def test_a_whole_number_is_a_number_or_a_text_of_digits(value: Any) -> None:
    assert read("side", value) == 512
    assert type(read("side", value)) is int


@pytest.mark.parametrize(
    "value",
    ["1_024", " 512 ", "512 ", "+512", "0512", "512.0", "5.12e2", "0x200", "٥١٢", "", "x", "-", "9" * 5000, 10**400,
     512.5, True, False, [], {}, float("nan"), float("inf"), 511, 513, 448, 1600, -512, "1600"],
)  # fmt: skip
def test_what_is_no_whole_number_of_the_range_is_refused_with_the_range(value: Any) -> None:
    assert reason("side", value) == "must be a whole number from 512 to 1536, a multiple of 64"


@pytest.mark.parametrize(("name", "low", "high"), [("side", 512, 1536), ("offset", -8, 8)])
def test_both_ends_of_a_range_belong_to_it(name: str, low: int, high: int) -> None:
    for end in (low, high, str(low), str(high)):
        assert read(name, end) == int(end)
    for outside in (low - 1, high + 1):
        assert "must be a whole number" in reason(name, outside)


@pytest.mark.parametrize("zero", [0, "0", 0.0, "-0", -0.0, None])
def test_zero_is_absence_where_the_range_leaves_it_out(zero: Any) -> None:
    assert read("side", zero) is None
    assert read("scale", zero) is None


@pytest.mark.parametrize("zero", [0, "0", 0.0])
def test_and_a_value_where_it_does_not(zero: Any) -> None:
    assert read("offset", zero) == 0
    assert read("share", zero) == 0


@pytest.mark.parametrize(("value", "number"), [(1, 1), (0.25, 0.25), ("0.25", 0.25), ("2.5e-1", 0.25), ("1E0", 1)])
def test_a_number_is_a_number_or_the_text_of_one(value: Any, number: float) -> None:
    assert read("share", value) == number


@pytest.mark.parametrize(
    "value",
    ["NaN", "nan", "Infinity", "-Infinity", "inf", "1e999", "0_1", " 1", "1 ", "+1", ".5", "1.", "0x1", "", "x", True,
     [], {}, 10**400, float("nan"), float("inf"), -0.1, 1.1, "1.1"],
)  # fmt: skip
def test_what_is_no_number_of_the_range_is_refused_with_the_range(value: Any) -> None:
    assert reason("share", value) == "must be a number from 0 to 1"


def test_a_range_may_begin_over_its_lower_end() -> None:
    assert read("scale", 1e-9) == 1e-9
    assert read("scale", 30) == 30
    assert reason("scale", -1e-9) == "must be a number from over 0 to 30"
    assert reason("scale", 30.1) == "must be a number from over 0 to 30"


@pytest.mark.parametrize(("value", "flag"), [(True, True), (False, False), ("true", True), ("false", False)])
def test_a_flag_may_be_quoted(value: Any, flag: bool) -> None:
    assert read("flag", value) is flag


@pytest.mark.parametrize("value", [0, 1, "True", "1", "", [], {}])
def test_what_is_no_flag_is_refused(value: Any) -> None:
    assert reason("flag", value) == "must be true or false"


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("SOFTT", "'SOFTT' is not known here; did you mean 'SOFT'?"),
        ("soft", "'soft' is not known here; did you mean 'SOFT'?"),
        ("SOFT" * 100, f"{'SOFT' * 16 + '…'!r} is not known here; did you mean 'SOFT'?"),
        ("zzzz", "must be one of 'SOFT' or 'HARD_LIGHT'"),
        (1, "must be one of 'SOFT' or 'HARD_LIGHT'"),
    ],
)
def test_a_value_of_no_enum_is_answered_with_the_nearest_and_else_with_all(sent: Any, told: str) -> None:
    assert reason("mode", sent) == told
    assert faults({"parts": [{"kinds": [sent]}]}) == {"parts[0].kinds[0]": told}
