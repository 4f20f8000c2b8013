"""The job that a path like /v1/jobs/{id} names."""

from aiohttp import web

from jobs.errors import NotFound

MAX_ID = 2**63 - 1
# Some words are paths of their own: as a job's they would answer for methods that are not theirs.
JOB_PATH = "/v1/jobs/{id:(?!credits$|workflow$)[^/{}]+}"


def job_id_of(request: web.Request) -> int:
    """Raises NotFound for what cannot be an id."""
    text = request.match_info["id"]
    # The length first: Python refuses to read numbers of thousands of digits.
    if not (text.isascii() and text.isdecimal() and len(text) < 20) or int(text) > MAX_ID:
        raise NotFound(f"There is no job {text[:40]!r}.")
    return int(text)
