"""Deliveries as they are claimed."""

from uuid import uuid4

from jobs.deliveries import DeliveryKind
from jobs.storage.delivery_store import Delivery


def delivery(destination_id: int = 1) -> Delivery:
    return Delivery(
        id=uuid4(),
        destination_id=destination_id,
        job_id=1,
        url="http://receiver.example/",
        kind=DeliveryKind.TERMINAL,
        tries=0,
        claims=1,
        sequence=1,
        told=None,
        secrets=(b"secret",),
    )
