"""Standard Webhooks signatures. Source: https://github.com/standard-webhooks/standard-webhooks, v1 (HMAC-SHA256)."""

import base64
import hashlib
import hmac
from datetime import datetime


def signed_headers(secret: bytes, message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """The three headers that let a receiver check sender, content and age, and drop repeats by id."""
    timestamp = str(int(sent_at.timestamp()))
    digest = hmac.new(secret, b".".join([message_id.encode(), timestamp.encode(), body]), hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
