"""The JSON that protobuf clients speak, as pydantic types. It knows no endpoint.

Read: camelCase or snake_case names, integers as numbers or strings, null as absent. So is a 0 where a number's range
leaves it out, because protobuf does not tell it from absence.
Source: https://protobuf.dev/programming-guides/json/

What nearly all clients send is checked by pydantic's core alone; Python looks at the rest.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from jobs.errors import MAX_FAULTS, Fault
from jobs.names import did_you_mean, there_are
from jobs.words import count

# Each takes a millisecond or two, and a stranger chooses how many fields there are.
MAX_HINTS = 10
# All fields of a message are told where they are no more.
MAX_FIELDS_TOLD = 10

# Longer ones are out of every range; Python would take its time over thousands of digits.
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_REAL = re.compile(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


def _told(usual: dict[str, Any], *, zero_is_absence: bool, digits: str) -> JsonSchemaValue:
    """For people and generators: the range, 0 where it means absence, and numbers as text."""
    zero = [{"const": 0}] if zero_is_absence else []
    return {"anyOf": [usual, *zero, {"type": "string", "pattern": f"^({digits})$"}, {"type": "null"}]}


def _whole(value: Any) -> int:
    match value:
        case bool():
            raise ValueError("must be a number, not true or false")
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if _WHOLE.fullmatch(value):
            return int(value)
        case _:
            raise ValueError("must be a whole number")


@dataclass(frozen=True, slots=True)
class Whole:
    """Of `int | None`: a whole number from `low` to `high`, both included, on a grid of `step`."""

    low: int
    high: int
    step: int = 1

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        usual = core_schema.int_schema(
            strict=True, ge=self.low, le=self.high, multiple_of=self.step if self.step > 1 else None
        )
        grid = f", a multiple of {self.step}" if self.step > 1 else ""
        return _either(usual, self._read, f"must be a whole number from {self.low} to {self.high}{grid}")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        grid = {"multipleOf": self.step} if self.step > 1 else {}
        usual = {"type": "integer", "minimum": self.low, "maximum": self.high} | grid
        return _told(usual, zero_is_absence=self.low > 0, digits=_WHOLE.pattern)

    def _read(self, value: Any) -> int | None:
        if value is None:
            return None
        number = _whole(value)
        if number == 0 and self.low > 0:
            return None
        if not self.low <= number <= self.high or number % self.step:
            raise ValueError
        return number


@dataclass(frozen=True, slots=True)
class Real:
    """Of `float | None`: a finite number from `low`, or with `above` from over it, to `high`, which is included."""

    low: float
    high: float
    above: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        usual = core_schema.float_schema(
            strict=True,
            allow_inf_nan=False,
            gt=self.low if self.above else None,
            ge=None if self.above else self.low,
            le=self.high,
        )
        over = "over " if self.above else ""
        return _either(usual, self._read, f"must be a number from {over}{self.low:g} to {self.high:g}")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        usual = {"type": "number", "exclusiveMinimum" if self.above else "minimum": self.low, "maximum": self.high}
        return _told(usual, zero_is_absence=not self._has(0), digits=_REAL.pattern)

    def _read(self, value: Any) -> float | None:
        if value is None:
            return None
        number = _real(value)
        if number == 0 and not self._has(0):
            return None
        if not self._has(number):
            raise ValueError
        return number

    def _has(self, number: float) -> bool:
        return self.low < number <= self.high if self.above else self.low <= number <= self.high


@dataclass(frozen=True, slots=True)
class _TrueOrFalse:
    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _either(core_schema.bool_schema(strict=True), _flag, "must be true or false")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": [True, False, "true", "false", None]}


def _default_is_absent(value: Any) -> Any:
    return None if value in ("DEFAULT", "") else value


# Of `Literal[...] | None`: an enum's zero, which the API calls DEFAULT, is absence too.
DefaultIsAbsent = BeforeValidator(_default_is_absent)
# Of a parameter in an address, which is text and has a default: there 0 is no absence.
Integer = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool | None, _TrueOrFalse()]
# PostgreSQL cannot hold U+0000.
WITHOUT_NUL = r"^[^\x00]*$"
Text = Annotated[str, Field(pattern=WITHOUT_NUL)]
Name = Annotated[Text, Field(max_length=256)]
# Of something that is looked up, so that no odd character of it is ever kept.
KnownName = Annotated[str, Field(max_length=256)]


class Message(BaseModel):
    """A protobuf message in JSON; all its fields may be None, for absent.

    Unknown fields are refused: a field ignored is a picture that surprises.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


def requiring(*names: str) -> ConfigDict:
    """Of a Message: fields that its schema calls required, though None reads as absence and is told as a fault."""
    return ConfigDict(json_schema_extra={"required": list(names)})


def is_meaningful(value: Any) -> bool:
    """Whether a protobuf field holds more than its default: `{}`, `{"items": []}`, 0 and "" say nothing."""
    pending = [value]  # a stack and not recursion: a stranger chose how deep this goes
    while pending:
        match pending.pop():
            case dict() as fields:
                pending += fields.values()
            case list() as items:
                pending += items
            case Message() as message:
                pending += [each for _, each in message]
            case leaf if leaf:
                return True
    return False


def faults_of(error: ValidationError, kind: type[Message]) -> list[Fault]:
    """The faults of what was read as a message of this kind, with paths like `stages[1].diffusion.steps`, in the
    sender's spelling: all, or one more than are told of."""
    hints, told = iter(range(MAX_HINTS)), error.errors(include_url=False)[: MAX_FAULTS + 1]
    return [Fault(_path(each["loc"]), _reason(each, kind, hints)) for each in told]


def _either(usual: CoreSchema, read: Callable[[Any], Any], says: str) -> CoreSchema:
    """`usual`, or what `read` makes of it; with one error for both."""
    return core_schema.union_schema(
        [usual, core_schema.no_info_plain_validator_function(read)],
        mode="left_to_right",
        custom_error_type="not_of_its_range",
        custom_error_message=says,
    )


def _real(value: Any) -> float:
    match value:
        case bool():
            raise ValueError
        case float():
            return value
        case int() if abs(value) < 2**64:
            return float(value)
        case str() if _REAL.fullmatch(value):
            return float(value)
        case _:
            raise ValueError


def _flag(value: Any) -> bool | None:
    match value:
        case None:
            return None
        case "true" | "false":  # the published samples quote them
            return bool(value == "true")
        case _:
            raise ValueError


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{shown(part)}" if path else shown(part)
    return path


def shown(name: str) -> str:
    """A name of the sender's as an answer repeats it: not all of one that is longer than any of this API."""
    return name if len(name) <= 64 else f"{name[:64]}…"


def _unknown(location: tuple[int | str, ...], kind: type[Message], hints: Iterator[int]) -> str:
    spellings, name = _spellings(_kind_at(location[:-1], kind)), str(location[-1])
    if name in spellings:
        # Pydantic took the field by another one: else this would be no stranger.
        return f"is a second spelling of {spellings[name]!r}, which is there already; send one of them"
    told = ""
    if next(hints, None) is not None:
        fields = [*dict.fromkeys(spellings.values())]
        told = did_you_mean(shown(name), fields, spellings)
        if not told and len(fields) <= MAX_FIELDS_TOLD:
            told = there_are(fields)
    return f"is not a field here{f'; {told}' if told else ''}"


def _not_one_of(error: ErrorDetails, kind: type[Message], hints: Iterator[int]) -> str:
    """Of an enum: the names that are nearest to what was sent, or all."""
    sent, told = error["input"], ""
    if isinstance(sent, str) and next(hints, None) is not None:
        told = did_you_mean(shown(sent), _values_at(error["loc"], kind))
    return f"{shown(sent)!r} is not known here; {told}" if told else f"must be one of {error['ctx']['expected']}"


def _values_at(location: tuple[int | str, ...], kind: type[Message]) -> list[str]:
    """The names that the enum which is there has."""
    *before, name = (part for part in location if isinstance(part, str))
    fields = _kind_at(tuple(before), kind).model_fields.items()
    return [*_values(next(each.annotation for field, each in fields if name in _spelled(field, each)))]


def _values(annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (each.value for each in annotation)
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from _values(part)


def _kind_at(location: tuple[int | str, ...], kind: type[Message]) -> type[Message]:
    """Of the message that is there, in one of this kind. No message has a union of several."""
    for part in location:
        if isinstance(part, str):
            field = next(each for name, each in kind.model_fields.items() if part in _spelled(name, each))
            kind = next(_messages(field.annotation))
    return kind


def _messages(annotation: Any) -> Iterator[type[Message]]:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        yield annotation
    for part in get_args(annotation):
        yield from _messages(part)


@cache
def _spellings(kind: type[Message]) -> dict[str, str]:
    """The fields of a message by every spelling that is taken, as the API spells them."""
    spelled = [_spelled(name, field) for name, field in kind.model_fields.items()]
    return {each: fields[0] for fields in spelled for each in fields}


def _spelled(name: str, field: FieldInfo) -> list[str]:
    """The API's spelling first."""
    alias = field.validation_alias
    return [*map(str, alias.choices if isinstance(alias, AliasChoices) else [alias]), name]


def folded(name: str) -> str:
    """The same for every spelling of a name that is one to a human: `request_id`, `requestId`, `RequestID`."""
    return name.replace("_", "").casefold()


def _reason(error: ErrorDetails, kind: type[Message], hints: Iterator[int]) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return _unknown(error["loc"], kind, hints)
        case "model_type":
            return "must be an object" if error["loc"] else "the body must be a JSON object"
        case "string_type":
            return "must be a string"
        case "list_type":
            return "must be a list"
        case "literal_error" | "enum":
            return _not_one_of(error, kind, hints)
        case "string_too_long":
            return f"must have at most {count(error['ctx']['max_length'], 'character')}"
        case "string_pattern_mismatch" if error["ctx"]["pattern"] == WITHOUT_NUL:
            return "must not hold the character U+0000"
        case "too_long":
            return f"must have at most {error['ctx']['max_length']} of them, and has {error['ctx']['actual_length']}"
        case "too_short":
            return f"must have {error['ctx']['min_length']} or more, and has {error['ctx']['actual_length']}"
        case _:
            return error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
