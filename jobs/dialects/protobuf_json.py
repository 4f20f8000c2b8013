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
    if isinstance(value, dict):
        return any(map(is_meaningful, value.values()))
    if isinstance(value, list):
        return any(map(is_meaningful, value))
    return bool(value)


Integer = Annotated[int, BeforeValidator(_not_a_flag)]
Number = Annotated[float, BeforeValidator(_not_a_flag), Field(allow_inf_nan=False)]
Text = Annotated[str, AfterValidator(_storable)]
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
    """Every fault of a failed validation, with paths like `stages[1].diffusion.steps`."""
    return [Fault(_path(prefix, each["loc"]), _reason(each)) for each in error.errors(include_url=False)]


def _path(prefix: str, location: tuple[int | str, ...]) -> str:
    path = prefix
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{to_camel(part)}" if path else to_camel(part)
    return path


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not a field of this API"
        case "model_type":
            return "must be an object"
        case _:
            return error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
