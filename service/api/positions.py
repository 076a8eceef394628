"""A place among the events of all jobs as an opaque word: what a reader of `GET /v1/events` comes back with."""

import base64
import binascii
import re

from pydantic import JsonValue

from fgd_core.errors import SpecError
from service.store.all_events import BEGINNING, Position

_WRITTEN = re.compile(r"^(-?\d{1,19}) ([A-Za-z0-9_-]{0,32}) (\d{1,9})$", re.ASCII)
_MAX_TRANSACTION_ID = 2**63 - 1


def encode(position: Position) -> str:
    text = f"{position.transaction_id} {position.job_id} {position.sequence}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode(cursor: str, loc: str) -> Position:
    """`0` is the beginning.

    Raises:
        SpecError: `encode` did not write it.
    """
    if cursor == "0":
        return BEGINNING
    try:
        match = _WRITTEN.match(base64.b64decode(cursor, altchars=b"-_", validate=True).decode())
    except (ValueError, binascii.Error):
        match = None
    if match is None or int(match[1]) > _MAX_TRANSACTION_ID:
        raise bad_cursor(loc)
    return Position(int(match[1]), match[2], int(match[3]))


def bad_cursor(loc: str) -> SpecError:
    message = "the cursor is not one that this server gave out; begin again without it, or with 0 for the beginning"
    reason: JsonValue = {"loc": loc, "code": "bad_cursor", "message": message}
    return SpecError(message, reasons=[reason])
