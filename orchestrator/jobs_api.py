"""POST /v1/jobs and GET /v1/jobs/{id}. The words of the bodies are the dialect's."""

import json
from typing import Any

from aiohttp import web

from jobs.account import Scope
from jobs.dialects.tams_response import job_body
from jobs.errors import InvalidSubmission
from jobs.links import Links
from jobs.storage.job_store import JobStore
from orchestrator.authentication import Authentication
from orchestrator.drafting import Draft, fingerprint_of
from orchestrator.entering import Accepted, conflict
from orchestrator.intake import Intake
from orchestrator.job_bounds import bounds_of
from orchestrator.job_path import JOB_PATH, job_id_of
from orchestrator.job_reader import JobReader
from orchestrator.json_http import json_response, read_body
from orchestrator.telling import Telling


class JobsApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        intake: Intake,
        reader: JobReader,
        telling: Telling,
        jobs: JobStore,
        links: Links,
    ) -> None:
        self._authentication = authentication
        self._intake = intake
        self._reader = reader
        self._telling = telling
        self._jobs = jobs
        self._links = links

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/jobs", self.create), web.get(JOB_PATH, self.show)]

    async def create(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_WRITE)
        encoding = request.headers.get("Content-Encoding", "")
        draft = Draft(account, await read_body(request), encoding, bounds_of(request.headers))
        try:
            body = (await self._intake.take_in(draft)).body
        except InvalidSubmission:
            before = await self._accepted_before(draft)
            if before is None:
                raise
            draft.accepted = before
            body = await self._telling.body(draft)
        return web.Response(body=body, content_type="application/json")

    async def show(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        return json_response(job_body(await self._reader.view(account.id, job_id_of(request)), self._links))

    async def _accepted_before(self, draft: Draft) -> Accepted | None:
        # What was valid once stays accepted for ever: the model it named may have left the catalogue since.
        account_id, request_id = draft.account.id, _request_id(draft.body)
        job = await self._jobs.find(account_id, request_id) if request_id else None
        if job is None or not _is_finite(draft.body):
            return None
        fingerprint = fingerprint_of(draft.body, draft.bounds)
        if job.fingerprint != fingerprint:
            raise conflict(job, fingerprint)
        return Accepted(job=job, is_new=False)


def _is_finite(body: Any) -> bool:
    """Whether all its numbers are: 1e999 is read as infinite, and would have the fingerprint of null."""
    try:
        json.dumps(body, allow_nan=False)
    except ValueError:
        return False
    return True


def _request_id(body: Any) -> str | None:
    value = (body.get("requestId") or body.get("request_id")) if isinstance(body, dict) else None
    return value if isinstance(value, str) and "\x00" not in value else None
