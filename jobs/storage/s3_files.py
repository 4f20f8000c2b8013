"""Pictures in an S3-compatible store, by key. Imported only where one is configured: it needs the extra `s3`.

Every call has a deadline and a few tries; what is still away then is Unavailable.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from jobs.errors import NotFound, Unavailable
from jobs.storage.files import S3Place

CONNECT_WITHIN_S = 3
READ_WITHIN_S = 20
CALL_WITHIN_S = 60
TRIES = 3
CONNECTIONS = 50
CHUNK_BYTES = 2**18
DELETIONS_AT_ONCE = 8
PAGE = 1000

log = structlog.get_logger()


class S3Files:
    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    async def put(self, key: str, content: bytes) -> None:
        async with _call():
            await self._client.put_object(**self._object(key), Body=content)

    async def get(self, key: str) -> bytes:
        async with _call():
            answer = await self._client.get_object(**self._object(key))
            async with answer["Body"] as body:
                content: bytes = await body.read()
                return content

    async def size(self, key: str) -> int:
        async with _call():
            return int((await self._client.head_object(**self._object(key)))["ContentLength"])

    async def chunks(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        if start == stop:
            return  # S3 has no range of nothing
        # No deadline for the whole: the reader may be slow. Each piece has one in the connection.
        with _told():
            answer = await self._client.get_object(**self._object(key), Range=f"bytes={start}-{stop - 1}")
            async with answer["Body"] as body:
                async for chunk in body.iter_chunks(CHUNK_BYTES):
                    yield chunk

    async def delete(self, key: str) -> None:
        async with _call():
            await self._client.delete_object(**self._object(key))

    async def delete_folder(self, folder: str) -> None:
        # One by one and not in bulk: some compatible stores have no bulk deletion.
        async for keys in self._pages(folder):
            for at in range(0, len(keys), DELETIONS_AT_ONCE):
                await asyncio.gather(*map(self.delete, keys[at : at + DELETIONS_AT_ONCE]))

    async def _pages(self, folder: str) -> AsyncIterator[list[str]]:
        listing = {"Bucket": self._bucket, "Prefix": f"{self._prefix}{folder}/", "MaxKeys": PAGE}
        while True:
            async with _call():
                page = await self._client.list_objects_v2(**listing)
            yield [each["Key"].removeprefix(self._prefix) for each in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return
            listing["ContinuationToken"] = page["NextContinuationToken"]

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


@asynccontextmanager
async def open_s3(place: S3Place) -> AsyncIterator[S3Files]:
    """Asks nothing of the store yet."""
    client = get_session().create_client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
        config=_config(place),
    )
    async with client as opened:
        yield S3Files(opened, place.bucket, place.prefix)


def _config(place: S3Place) -> AioConfig:
    return AioConfig(
        connect_timeout=CONNECT_WITHIN_S,
        read_timeout=READ_WITHIN_S,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        # A bucket as a host name needs DNS that a store of one's own seldom has.
        s3={"addressing_style": "path" if place.endpoint else "auto"},
        # Compatible stores do not all know the checksums that newer clients add.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


@asynccontextmanager
async def _call() -> AsyncIterator[None]:
    with _told():
        async with asyncio.timeout(CALL_WITHIN_S):
            yield


@contextmanager
def _told() -> Iterator[None]:
    """What S3 raises, in our words."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchKey", "404"):
            raise NotFound("This picture is no longer kept.") from error
        log.error("file_store_refused", code=code, operation=error.operation_name)
        raise _away() from error
    except (BotoCoreError, aiohttp.ClientError, OSError) as error:
        log.warning("file_store_away", error=repr(error))
        raise _away() from error


def _away() -> Unavailable:
    return Unavailable("The store of pictures cannot be reached; try again.")
