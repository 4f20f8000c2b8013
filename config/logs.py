"""How logs look. What is logged is each module's own."""

import logging
import sys
from typing import Any, Literal

import orjson
import structlog


def configure_logs(process: str, *, level: str, format: Literal["text", "json"] | None) -> None:
    """One line per event on standard error, with the process's name: as text where that is a terminal, else as JSON;
    unless `format` says otherwise."""
    is_text = sys.stderr.isatty() if format is None else format == "text"
    renderers, factory = _text() if is_text else _json()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _json() -> tuple[list[Any], Any]:
    renderer = structlog.processors.JSONRenderer(serializer=_dumps)
    return [structlog.processors.format_exc_info, renderer], structlog.BytesLoggerFactory(sys.stderr.buffer)


def _text() -> tuple[list[Any], Any]:
    # The other formatters print local variables, and so keys and prompts.
    plain = structlog.dev.plain_traceback
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)
    return [renderer], structlog.WriteLoggerFactory(sys.stderr)


def _dumps(event: Any, **_options: Any) -> bytes:
    return orjson.dumps(event, default=str)
