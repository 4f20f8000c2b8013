"""How far running jobs have come, and their previews, in Redis. It may be lost; outcomes are never kept here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arq.connections import ArqRedis
from pydantic import TypeAdapter

from jobs.job import Preview, Progress

_PROGRESS = TypeAdapter(Progress)
LIFE_S = 600

# A late attempt must not overwrite a newer one, nor a late message of one attempt an earlier one.
# KEYS: progress. ARGV: attempt, fraction, body, life in s. Returns whether it was written.
_PUBLISH = """
local attempt, fraction = unpack(redis.call('HMGET', KEYS[1], 'attempt', 'fraction'))
if attempt then
    if tonumber(attempt) > tonumber(ARGV[1]) then return 0 end
    if attempt == ARGV[1] and tonumber(fraction) > tonumber(ARGV[2]) then return 0 end
end
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'fraction', ARGV[2], 'body', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""


@dataclass(frozen=True, slots=True)
class PreviewBytes:
    """An encoded preview and what describes it."""

    preview: Preview
    content: bytes


class ProgressBoard:
    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._publish = redis.register_script(_PUBLISH)

    async def publish(self, job_id: int, progress: Progress) -> None:
        arguments: list[Any] = [progress.attempt, repr(progress.fraction), _PROGRESS.dump_json(progress), LIFE_S]
        await self._publish(keys=[_key(job_id)], args=arguments)

    async def put_preview(self, job_id: int, attempt: int, picture: PreviewBytes) -> None:
        """Kept under a name of its own, so that a link never shows another picture than it was made for."""
        name = picture.preview.name(job_id, attempt)
        await self._redis.set(_preview_key(name), picture.content, ex=LIFE_S)

    async def get(self, attempts: Sequence[tuple[int, int]]) -> list[Progress | None]:
        """The progress of each attempt (job, number), None where it has published nothing. One call for all."""
        pipeline = self._redis.pipeline(transaction=False)
        for job_id, _ in attempts:
            pipeline.hget(_key(job_id), "body")
        bodies: list[bytes | None] = await pipeline.execute()
        return [_of_attempt(attempt, body) for (_, attempt), body in zip(attempts, bodies, strict=True)]

    async def preview(self, name: str) -> bytes | None:
        content: bytes | None = await self._redis.get(_preview_key(name))
        return content


def _of_attempt(attempt: int, body: bytes | None) -> Progress | None:
    progress = _PROGRESS.validate_json(body) if body else None
    return progress if progress and progress.attempt == attempt else None


def _key(job_id: int) -> str:
    return f"darkroom:progress:{job_id}"


def _preview_key(name: str) -> str:
    return f"darkroom:preview:{name}"
