"""The API reference as one page of HTML, made from the OpenAPI document. No script, and nothing from elsewhere."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem 1.5rem 6rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
article { margin: 2rem 0; }
h3 { margin-bottom: .25rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .75rem 1rem; overflow-x: auto; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
nav a { display: block; text-decoration: none; }
small { opacity: .75; }
"""
MAX_DEPTH = 8


def reference_page(document: dict[str, Any]) -> str:
    info = document["info"]
    operations = list(_operations(document))
    body = [f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"]
    body += [_prose(info["description"]), '<p>For programs: <a href="openapi.json">openapi.json</a></p>']
    body.append(_contents(operations))
    for tag in document["tags"]:
        body.append(f"<h2>{escape(tag['name'])}</h2>")
        body += [_article(document, *each) for each in operations if tag["name"] in each[2]["tags"]]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(info["title"])}'
    page = f"<head>{head}</title><style>{STYLE}</style></head><body>{''.join(body)}</body>"
    return f"<!doctype html><html lang=en>{page}</html>"


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _contents(operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    links = (
        f'<a href="#{escape(each["operationId"])}"><code><span class=method>{method}</span>{escape(path)}</code></a>'
        for method, path, each in operations
    )
    return f"<nav>{''.join(links)}</nav>"


def _article(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<article id="{escape(operation["operationId"])}"><h3>{escape(operation["summary"])}</h3>',
        f"<p><code><span class=method>{method}</span>{escape(path)}</code></p>",
        _prose(operation.get("description", "")),
        _parameters(operation.get("parameters", [])),
        _body(document, operation.get("requestBody")),
        _answers(document, operation["responses"]),
        "</article>",
    ]
    return "".join(parts)


def _prose(text: str) -> str:
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = (
        f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}<td>{escape(_kind(each['schema']))}"
        f"<td>{escape(each.get('description', ''))}</tr>"
        for each in parameters
    )
    return f"<h4>Parameters</h4><table>{''.join(rows)}</table>"


def _body(document: dict[str, Any], body: dict[str, Any] | None) -> str:
    if body is None:
        return ""
    ((media, content),) = body["content"].items()
    rows = "".join(_rows(document, content["schema"]))
    table = f"<table>{rows}</table>" if rows else ""
    return f"<h4>Body <small>{escape(media)}</small></h4>{_example(content)}{table}"


def _answers(document: dict[str, Any], responses: dict[str, Any]) -> str:
    parts = ["<h4>Answers</h4>"]
    for status, response in responses.items():
        parts.append(f"<p><b>{status}</b> {escape(response['description'])}</p>")
        if status < "400":
            for content in response.get("content", {}).values():
                parts.append(_example(content))
                parts.append(f"<table>{''.join(_rows(document, content['schema']))}</table>")
    return "".join(parts)


def _example(content: dict[str, Any]) -> str:
    if "example" not in content:
        return ""
    example = content["example"]
    text = example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>"


def _rows(document: dict[str, Any], schema: dict[str, Any], prefix: str = "", depth: int = 0) -> Iterator[str]:
    """A row per field, those of nested objects under their own paths."""
    schema = _resolved(document, schema)
    for name, field in schema.get("properties", {}).items():
        inner, many = _inner(document, field)
        path = f"{prefix}{name}{'[]' if many else ''}"
        need = "required" if name in schema.get("required", []) else ""
        about = field.get("description") or inner.get("description", "")
        kind = _kind(inner)
        yield f"<tr><td><code>{escape(path)}</code><td>{escape(kind)}<td>{need}<td>{escape(about)}</tr>"
        if depth < MAX_DEPTH:
            yield from _rows(document, inner, f"{path}.", depth + 1)


def _inner(document: dict[str, Any], field: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """What a field holds, out of its array and its reference."""
    field = _resolved(document, field)
    for choice in field.get("anyOf", []):
        if "$ref" in choice or choice.get("type") == "array":
            field = _resolved(document, choice)
    if field.get("type") == "array":
        return _inner(document, field["items"])[0], True
    return field, False


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    resolved: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return resolved


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(each) for each in schema["anyOf"] if each.get("type") != "null"))
    bounds = (("minimum", "≥"), ("maximum", "≤"), ("multipleOf", "multiple of"), ("maxLength", "length ≤"))
    told = [f"{word} {schema[name]}" for name, word in bounds if name in schema]
    default = [f"default {json.dumps(schema['default'])}"] if "default" in schema else []
    kind = schema.get("type", "object" if "$ref" in schema else "any")
    return ", ".join([" or ".join(kind) if isinstance(kind, list) else str(kind), *told, *default])
