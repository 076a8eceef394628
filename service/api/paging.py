"""Opaque cursors for lists that grow at their head."""

import base64
import binascii
from datetime import datetime

from pydantic import JsonValue

from fgd_core.errors import SpecError


def encode(created_at: datetime, item_id: str) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {item_id}".encode()).decode()


def decode(cursor: str) -> tuple[datetime, str]:
    """Raises SpecError for anything that `encode` did not write."""
    try:
        at, item_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().split(" ")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is None:
            raise ValueError("no time zone")
    except (ValueError, binascii.Error) as error:
        message = "the cursor is not one that this server gave out; begin again without it"
        reason: JsonValue = {"loc": "query.cursor", "code": "bad_cursor", "message": message}
        raise SpecError(message, reasons=[reason]) from error
    return created_at, item_id
