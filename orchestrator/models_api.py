"""GET /v1/models and GET /v1/models/{id}: what of the catalogue a caller may see. It changes nothing.

The key of a private model comes in the header X-Model-Access-Key: addresses are written to logs, headers are not.
"""

import re
from itertools import islice
from typing import Annotated

from aiohttp import web
from pydantic import BeforeValidator, Field, WithJsonSchema

from jobs.account import Scope
from jobs.catalog import Catalog, Family, Kind, Model, UnknownModel
from jobs.dialects.protobuf_json import Integer, Message, Name
from jobs.dialects.query import decode_cursor, encode_cursor, read_query
from jobs.dialects.tams_models import model_body, models_body
from jobs.errors import NotFound
from jobs.names import nearest
from orchestrator.authentication import Authentication
from orchestrator.json_http import json_response

ACCESS_KEY_HEADER = "X-Model-Access-Key"
MAX_LIMIT = 100
DEFAULT_LIMIT = 20
_CURSOR = re.compile(r"\d{1,20}", re.ASCII)


def _read_cursor(text: str) -> int:
    return int(decode_cursor(text, _CURSOR)[0]) if text else 0


class ListQuery(Message):
    """`name` is part of a name or an alias, in any case; `cursor` says with which id the page before ended."""

    type: Kind | None = None
    base_model: Family | None = None
    name: Name = ""
    limit: Integer = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: Annotated[int, BeforeValidator(_read_cursor), WithJsonSchema({"type": "string"})] = 0

    def asks_for(self, model: Model) -> bool:
        return (
            _number(model) > self.cursor
            and self.type in (None, model.kind)
            and self.base_model in (None, model.family)
            and any(self.name.casefold() in each.casefold() for each in (model.name, *model.aliases))
        )


class ModelsApi:
    def __init__(self, *, authentication: Authentication, catalog: Catalog) -> None:
        self._authentication = authentication
        self._catalog = catalog
        # By id, and not as in the file: a cursor then means the same after the file was changed.
        self._models = sorted(catalog.models, key=_number)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/models", self.show_page), web.get("/v1/models/{id}", self.show)]

    async def show_page(self, request: web.Request) -> web.Response:
        await self._authentication.account_of(request, Scope.JOBS_READ)
        query = read_query(ListQuery, {name: request.query.getall(name) for name in request.query})
        access_key = _access_key(request)
        asked = (model for model in self._models if query.asks_for(model) and model.is_open_to(access_key))
        page = [*islice(asked, query.limit)]
        has_more = next(asked, None) is not None
        return json_response(models_body(page, encode_cursor(page[-1].id) if has_more else ""))

    async def show(self, request: web.Request) -> web.Response:
        await self._authentication.account_of(request, Scope.JOBS_READ)
        return json_response(model_body(self._model(request.match_info["id"], _access_key(request))))

    def _model(self, model_id: str, access_key: str) -> Model:
        """Raises NotFound, in the same words whether there is no such model or it is private."""
        refusal = NotFound(f"There is no model with the id {model_id[:40]!r}; {self._near(model_id[:40])}")
        try:
            model = self._catalog.get(model_id)
        except UnknownModel as error:
            raise refusal from error
        if not model.is_open_to(access_key):
            raise refusal
        return model

    def _near(self, model_id: str) -> str:
        """Of private models nothing is told."""
        ids = {
            name: model.id for model in self._models if not model.is_private for name in (model.name, *model.aliases)
        }
        near = nearest(model_id, ids.values(), ids)
        told = " or ".join(f"{each} ({self._catalog.get(each).name!r})" for each in near)
        return f"{f'did you mean {told}? ' if told else ''}GET /v1/models?name=… finds ids by name."


def _access_key(request: web.Request) -> str:
    return request.headers.get(ACCESS_KEY_HEADER, "")


def _number(model: Model) -> int:
    return int(model.id)
