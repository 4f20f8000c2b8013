"""The JSON that protobuf clients speak, as pydantic types. It knows no endpoint.

Read: camelCase or snake_case names, integers as numbers or strings, null as absent.
Source: https://protobuf.dev/programming-guides/json/
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from jobs.errors import Fault


def _not_a_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not hold the character U+0000")
    return value


def _refuse_unsupported(value: Any) -> Any:
    if is_meaningful(value):
        raise ValueError("is not supported by this server yet")
    return value


def is_meaningful(value: Any) -> bool:
    """Whether a protobuf field holds more than its default: `{}`, `{"items": []}`, 0 and "" say nothing."""
    pending = [value]  # a stack and not recursion: a stranger chose how deep this goes
    while pending:
        match pending.pop():
            case dict() as fields:
                pending += fields.values()
            case list() as items:
                pending += items
            case leaf if leaf:
                return True
    return False


Integer = Annotated[int, BeforeValidator(_not_a_flag)]
Number = Annotated[float, BeforeValidator(_not_a_flag), Field(allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, Field(max_length=256)]
Unsupported = Annotated[Any, AfterValidator(_refuse_unsupported)]


class Message(BaseModel):
    """A protobuf message in JSON. Unknown fields are refused: a field ignored is a picture that surprises."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: each for name, each in value.items() if each is not None}
        return value


def faults_of(error: ValidationError, prefix: str = "") -> list[Fault]:
    """Every fault of a failed validation, with paths like `stages[1].diffusion.steps`, in the sender's spelling."""
    return [Fault(_path(prefix, each["loc"]), _reason(each)) for each in error.errors(include_url=False)]


def _path(prefix: str, location: tuple[int | str, ...]) -> str:
    path = prefix
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not a field of this API, or is a second spelling of one that is there"
        case "model_type":
            return "must be an object"
        case _:
            return error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
