"""OpenAPI 3.1 of this API, from the table of operations and the types that validate and answer.

It knows no endpoint: those stand in `operations`. Source: https://spec.openapis.org/oas/v3.1.1
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from jobs.dialects.tams_answers import StatusAnswer
from jobs.dialects.tams_response import status_of
from jobs.errors import DarkroomError, NotAuthenticated, PermissionDenied, RateLimited, Unavailable

JSON = "application/json"
# Of bodies that are no JSON.
BODIES = {
    "application/octet-stream": {"type": "string", "format": "binary"},
    "multipart/form-data": {"type": "object", "additionalProperties": {"type": "string"}},
}
SCHEMAS = "#/components/schemas/{model}"
Security = Literal["account", "link", "form"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One value of the path, the query or the headers; `schema` is JSON Schema."""

    name: str
    place: Literal["path", "query", "header"]
    description: str
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    `body` and `answer` are types of bodies in JSON; where `answer_media` is another, the answer has no type. `also` are
    other good answers, without a body. `errors` are told beside those that every operation of its `security` can meet.
    """

    id: str
    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    security: Security = "account"
    parameters: tuple[Parameter, ...] = ()
    query: type[BaseModel] | None = None
    body: Any = None
    body_required: bool = True
    body_media: str = JSON
    body_example: Any = None
    answer: Any = None
    answer_media: str = JSON
    answer_example: Any = None
    also: tuple[int, ...] = ()
    errors: tuple[type[DarkroomError], ...] = ()


def document(operations: Sequence[Operation], *, title: str, version: str, server: str, about: str) -> dict[str, Any]:
    """The whole description as a JSON value."""
    references, schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": about, "license": {"name": "MIT"}},
        "servers": [{"url": server}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": SECURITY_SCHEMES},
    }


SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer <key>`."},
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`TAMS-SHA256-RSA app_id=…,nonce_str=…,timestamp=…,signature=…`: RSASSA-PKCS1-v1_5 with SHA-256 "
        "of method, path with query, timestamp, nonce and body, joined by line feeds.",
    },
    "link": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "Links that the service hands out carry their own right to be used, for a time.",
    },
}
_SECURITY: dict[Security, list[dict[str, list[str]]]] = {
    "account": [{"key": []}, {"signature": []}],
    "link": [{"link": []}],
    "form": [],
}


_ALWAYS: dict[Security, tuple[type[DarkroomError], ...]] = {
    "account": (NotAuthenticated, PermissionDenied, RateLimited, Unavailable),
    "link": (Unavailable,),
    "form": (Unavailable,),
}


def _schemas(operations: Sequence[Operation]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """A reference per operation and direction, and the schemas that they refer to."""
    inputs = [(f"{each.id} in", "validation", TypeAdapter(each.body)) for each in operations if each.body]
    outputs = [(f"{each.id} out", "serialization", TypeAdapter(each.answer)) for each in operations if each.answer]
    errors = [("error", "serialization", TypeAdapter(StatusAnswer))]
    found, definitions = TypeAdapter.json_schemas([*inputs, *outputs, *errors], ref_template=SCHEMAS)  # type: ignore[list-item]
    return {key: schema for (key, _mode), schema in found.items()}, definitions.get("$defs", {})


def _operation(operation: Operation, references: dict[str, dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": _SECURITY[operation.security],
        "responses": _answers(operation, references),
    }
    if operation.description:
        told["description"] = operation.description
    if parameters := [*_parameters(operation.parameters), *_query(operation.query)]:
        told["parameters"] = parameters
    if operation.body or operation.body_media != JSON:
        told["requestBody"] = _body(operation, references)
    return told


def _body(operation: Operation, references: dict[str, dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": references.get(f"{operation.id} in", BODIES.get(operation.body_media, {}))}
    if operation.body_example is not None:
        content["example"] = operation.body_example
    return {"required": operation.body_required, "content": {operation.body_media: content}}


def _answers(operation: Operation, references: dict[str, dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": references.get(f"{operation.id} out", {})}
    if operation.answer_example is not None:
        content["example"] = operation.answer_example
    told: dict[str, Any] = {"200": {"description": "OK", "content": {operation.answer_media: content}}}
    told |= {str(status): {"description": HTTPStatus(status).phrase} for status in operation.also}
    for status, reasons in sorted(_by_status((*operation.errors, *_ALWAYS[operation.security])).items()):
        told[str(status)] = {
            "description": " ".join(dict.fromkeys(reasons)),
            "content": {JSON: {"schema": references["error"]}},
        }
    return told


def _by_status(errors: Iterable[type[DarkroomError]]) -> dict[int, list[str]]:
    reasons: dict[int, list[str]] = {}
    for error in errors:
        reasons.setdefault(status_of(error), []).append((error.__doc__ or "").strip())
    return reasons


def _parameters(parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "in": each.place,
            "required": each.required or each.place == "path",
            "description": each.description,
            "schema": each.schema,
        }
        for each in parameters
    ]


def _query(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    """The fields of a query's type, in line: they are plain values."""
    if model is None:
        return []
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "schema": _inline(each, definitions) | {"title": name},
        }
        for name, each in schema["properties"].items()
    ]


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inline(each, definitions) for name, each in schema.items()}
