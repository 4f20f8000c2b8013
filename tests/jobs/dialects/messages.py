"""Every message of POST /v1/jobs, found from JobBody."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from jobs.dialects.protobuf_json import Message
from jobs.dialects.tams_request import JobBody


def spellings(name: str, field: FieldInfo) -> list[str]:
    """All names that a field is known by, the API's own first."""
    alias = field.validation_alias
    listed = [] if alias is None else [alias] if isinstance(alias, str) else [str(each) for each in alias.choices]
    return list(dict.fromkeys([*listed, name]))


def message_in(annotation: Any) -> type[Message] | None:
    if isinstance(annotation, type) and issubclass(annotation, Message):
        return annotation
    return next((found for each in get_args(annotation) if (found := message_in(each))), None)


def places(kind: type[Message] = JobBody, path: str = "") -> Iterator[tuple[str, type[Message], str]]:
    """Each field as its path, like `diffusion.lora.items[].weight`, with its message and its Python name."""
    for name, field in kind.model_fields.items():
        inner = message_in(field.annotation)
        many = "[]" if "list[" in str(field.annotation) or "List[" in str(field.annotation) else ""
        here = f"{path}{spellings(name, field)[0]}{many}"
        yield here, kind, name
        if inner:
            yield from places(inner, f"{here}.")
