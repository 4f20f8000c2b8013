"""POST /v1/jobs and GET /v1/jobs/{id}. The words of the bodies are the dialect's."""

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from jobs.account import Scope
from jobs.capabilities import unsupported
from jobs.catalog import Catalog
from jobs.dialects.tams_answers import JobAnswer
from jobs.dialects.tams_request import input_paths, parse_submission
from jobs.dialects.tams_response import job_body
from jobs.errors import Fault, InvalidSubmission
from jobs.job import Job, JobView
from jobs.links import Links
from jobs.stages.input_initialize import MAX_SEED
from jobs.storage.job_store import JobStore
from jobs.storage.resource_store import ResourceStore
from jobs.submission import Submission, picture_faults, with_picture_size, with_seeds
from orchestrator.authentication import Authentication
from orchestrator.foresight import Foresight
from orchestrator.input_pictures import sizes_of
from orchestrator.intake import Accepted, Intake, conflict
from orchestrator.job_bounds import bounds_of
from orchestrator.job_path import JOB_PATH, job_id_of
from orchestrator.job_reader import JobReader
from orchestrator.job_views import JobViews
from orchestrator.json_http import json_response, read_json
from orchestrator.new_jobs import NewJobs


class JobsApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        intake: Intake,
        reader: JobReader,
        jobs: JobStore,
        resources: ResourceStore,
        views: JobViews,
        foresight: Foresight,
        catalog: Catalog,
        new_jobs: NewJobs,
        links: Links,
    ) -> None:
        self._authentication = authentication
        self._intake = intake
        self._reader = reader
        self._jobs = jobs
        self._resources = resources
        self._views = views
        self._foresight = foresight
        self._catalog = catalog
        self._new_jobs = new_jobs
        self._links = links

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/jobs", self.create), web.get(JOB_PATH, self.show)]

    async def create(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_WRITE)
        body, bounds = await read_json(request), bounds_of(request.headers)
        try:
            submission = await self._parse(account.id, body)
        except InvalidSubmission:
            accepted = await self._accepted_before(account.id, body, bounds)
            if accepted is None:
                raise
        else:
            bounded = replace(submission, **bounds) if bounds else submission
            accepted = await self._intake.accept(
                self._new_jobs.of(account, _fingerprint(body, bounds), _seeded(bounded))
            )
        return json_response(await self._body_of(accepted))

    async def show(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        return json_response(job_body(await self._reader.view(account.id, job_id_of(request)), self._links))

    async def _parse(self, account_id: int, body: Any) -> Submission:
        submission = parse_submission(body, self._catalog, unsupported)
        paths = input_paths(submission)
        if not paths:
            return submission
        sizes = await sizes_of(self._resources, account_id, paths)
        stages = with_picture_size(submission.stages, sizes)
        if faults := _absent(paths, sizes) or picture_faults(stages, sizes, paths):
            raise InvalidSubmission(faults)
        return replace(submission, stages=stages)

    async def _accepted_before(self, account_id: int, body: Any, bounds: Mapping[str, float]) -> Accepted | None:
        # What was valid once stays accepted for ever: the model it named may have left the catalogue since.
        request_id = _request_id(body)
        job = await self._jobs.find(account_id, request_id) if request_id else None
        if job is None or not _is_finite(body):
            return None
        fingerprint = _fingerprint(body, bounds)
        if job.fingerprint != fingerprint:
            raise conflict(job, fingerprint)
        return Accepted(job=job, is_new=False)

    async def _body_of(self, accepted: Accepted) -> JobAnswer:
        if accepted.is_new:
            view = JobView(
                job=accepted.job,
                place=accepted.place,
                estimate=self._foresight.estimate(accepted.job, accepted.place),
                missing=self._foresight.missing(accepted.job, accepted.place),
            )
            return job_body(view, self._links, just_created=True)
        return job_body(await self._view(accepted.job), self._links)

    async def _view(self, job: Job) -> JobView:
        (view,) = await self._views.of([job])
        return view


def _seeded(submission: Submission) -> Submission:
    return with_seeds(submission, lambda: 1 + secrets.randbelow(MAX_SEED))


def _absent(paths: Mapping[str, str], sizes: Collection[str]) -> list[Fault]:
    missing = ((name, path) for name, path in paths.items() if name not in sizes)
    return [Fault(path, f"there is no resource {name!r} with a picture; upload one first") for name, path in missing]


def _fingerprint(body: Any, bounds: Mapping[str, float]) -> bytes:
    """Tells one JSON value, or the same with other bounds, from another, whatever the order of its names. Raises
    InvalidSubmission."""
    asked = [body, bounds] if bounds else body
    try:
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
    except orjson.JSONEncodeError as error:
        raise InvalidSubmission([Fault("", "the body has an integer of over 64 bits")]) from error


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
