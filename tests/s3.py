"""Buckets at a server that speaks S3."""

from uuid import uuid4

from jobs.storage.files import S3Place
from jobs.storage.s3_files import open_s3


def place_at(endpoint: str, bucket: str = "pictures", prefix: str = "") -> S3Place:
    return S3Place(
        bucket=bucket, prefix=prefix, endpoint=endpoint, region="us-east-1", access_key="key", secret_key="secret"
    )


async def new_bucket(endpoint: str, prefix: str = "pictures") -> S3Place:
    place = place_at(endpoint, uuid4().hex, prefix)
    async with open_s3(place) as files:
        await files._client.create_bucket(Bucket=place.bucket)
    return place
