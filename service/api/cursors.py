"""Opaque cursors: where a client's next page begins, in a list and among the events of all jobs."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import AwareDatetime, Field, FiniteFloat, StringConstraints, TypeAdapter
from pydantic_core import to_json

from fgd_core.errors import SpecError
from service.store.all_events import BEGINNING, Position

Cursor = Annotated[str | None, Query(description="`next_cursor` of the previous page; omit it for the first page")]
Limit = Annotated[int, Query(ge=1, le=500, description="Largest number of items on the page")]

Row = TypeVar("Row")

_Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
_Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_SORTED_KEY: TypeAdapter[tuple[object, ...]] = TypeAdapter(tuple[_Text, _Text, AwareDatetime, _Text])
_KEYS: Mapping[str, TypeAdapter[tuple[object, ...]]] = {
    "created": TypeAdapter(tuple[_Text, AwareDatetime, _Text]),
    "priority": TypeAdapter(tuple[_Text, _Int32, AwareDatetime, _Text]),
    "best_ap": TypeAdapter(tuple[_Text, FiniteFloat | None, AwareDatetime, _Text]),
}
"""The sort, and the key of a job in a list that is sorted so."""

_POSITION = re.compile(r"^(-?\d{1,19}) ([A-Za-z0-9_-]{0,32}) (\d{1,9})$", re.ASCII)
_MAX_TRANSACTION_ID = 2**63 - 1
_MAX_DIGITS = 18


def encode(created_at: datetime, item_id: str) -> str:
    """Encode an item of a list that is sorted by time and id, newest first."""
    return _encode(f"{created_at.isoformat()} {item_id}")


def page(
    rows: Sequence[Row], limit: int, key: Callable[[Row], tuple[datetime, str]]
) -> tuple[Sequence[Row], str | None]:
    """Split a list that was read with one row more than `limit`: (the page's rows, the next page's cursor)."""
    shown = rows[:limit]
    return shown, encode(*key(shown[-1])) if len(rows) > limit else None


def decode(cursor: str) -> tuple[datetime, str]:
    """Decode what `encode` wrote: (created_at, item_id).

    Raises:
        SpecError: `encode` did not write this.
    """
    try:
        at, item_id = _decode(cursor).split(" ")
        created_at = datetime.fromisoformat(at)
        if created_at.tzinfo is None:
            raise ValueError("no time zone")
    except (ValueError, binascii.Error) as error:
        raise invalid("query.cursor", cursor, "omit it to get the first page") from error
    return created_at, item_id


def encode_sorted(sort: str, key: Sequence[object]) -> str:
    """Encode the place of a job in a list that is sorted by `sort`."""
    return _encode(to_json([sort, *key]).decode())


def decode_sorted(cursor: str, sort: str) -> tuple[object, ...]:
    """Decode what `encode_sorted` wrote for the same `sort`.

    Raises:
        SpecError: `encode_sorted` did not write this.
    """
    try:
        found, *key = _KEYS.get(sort.lstrip("-"), _SORTED_KEY).validate_json(_decode(cursor))
    except (ValueError, binascii.Error):
        found, key = "", []
    if found != sort:
        raise invalid("query.cursor", cursor, "omit it to get the first page, and send the same `sort` for all pages")
    return tuple(key)


def encode_number(number: int) -> str:
    """Encode an item of a list that is sorted by number."""
    return _encode(str(number))


def decode_number(cursor: str) -> int:
    """Decode what `encode_number` wrote.

    Raises:
        SpecError: `encode_number` did not write this.
    """
    try:
        number = _decode(cursor)
    except (ValueError, binascii.Error):
        number = ""
    if not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise invalid("query.cursor", cursor, "omit it to get the first page")
    return int(number)


def encode_position(position: Position) -> str:
    """Encode a position among the events of all jobs."""
    return _encode(f"{position.transaction_id} {position.job_id} {position.sequence}")


def decode_position(cursor: str, loc: str) -> Position:
    """Decode what `encode_position` wrote; `0` is the beginning.

    Args:
        loc: names the parameter in the error.
    Raises:
        SpecError: `encode_position` did not write this.
    """
    if cursor == "0":
        return BEGINNING
    try:
        match = _POSITION.match(_decode(cursor))
    except (ValueError, binascii.Error):
        match = None
    if match is None or int(match[1]) > _MAX_TRANSACTION_ID:
        raise invalid_position(loc, cursor)
    return Position(int(match[1]), match[2], int(match[3]))


def invalid_position(loc: str, cursor: str) -> SpecError:
    """Return the error for a position that this server did not issue."""
    return invalid(loc, cursor, "omit it for new events only, or send 0 for all events from the beginning")


def invalid(loc: str, cursor: str, cure: str) -> SpecError:
    """Return the error for a cursor that this server did not issue."""
    message = f"this server did not issue the cursor {cursor[:100]!r}; {cure}"
    return SpecError(message, reasons=[{"loc": loc, "code": "bad_cursor", "message": message}])


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode(cursor: str) -> str:
    return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
