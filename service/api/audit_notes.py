"""Notes for the audit trail, which routes make on the way: the project and the details of a request."""

from contextvars import ContextVar
from dataclasses import dataclass, field

from pydantic import JsonValue


@dataclass
class Note:
    """What the audit trail records of a request in addition to its path and status."""

    project: str | None = None
    details: dict[str, JsonValue] = field(default_factory=dict)
    is_left_out: bool = False
    """True for a request that changes nothing, although its method may."""


_note: ContextVar[Note | None] = ContextVar("note", default=None)


def begin() -> Note:
    """Begin an empty note for the request of the current task, and return it."""
    note = Note()
    _note.set(note)
    return note


def about(*, project: str | None = None, **details: JsonValue) -> None:
    """Add to the note of the current request: small values that may be shown, so never a secret."""
    note = _note.get()
    if note is not None:
        note.project = project or note.project
        note.details.update(details)


def leave_out() -> None:
    """Keep the current request out of the trail: it only asks."""
    note = _note.get()
    if note is not None:
        note.is_left_out = True
