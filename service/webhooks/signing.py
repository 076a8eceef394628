"""Signs deliveries, so that receivers can verify the sender. Source: https://www.standardwebhooks.com"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime

_PREFIX = "whsec_"


def new_secret() -> str:
    """Create a signing secret for a webhook."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def headers(secret: str, message_id: str, at: datetime, body: bytes) -> Mapping[str, str]:
    """Make the headers that sign `body`. The id is the same for every try; `at` is the time of this try.

    Receivers refuse old times, so that nobody can replay a delivery.
    """
    timestamp = int(at.timestamp())
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }
