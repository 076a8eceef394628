"""What a request is about, noted on the way for the audit trail."""

from contextvars import ContextVar
from dataclasses import dataclass, field

from pydantic import JsonValue


@dataclass
class Note:
    project: str | None = None
    details: dict[str, JsonValue] = field(default_factory=dict)


_note: ContextVar[Note | None] = ContextVar("note", default=None)


def begin() -> Note:
    """An empty note for the request that this task answers."""
    note = Note()
    _note.set(note)
    return note


def about(*, project: str | None = None, **details: JsonValue) -> None:
    """Note more on the present request: small values that are fit to be shown, so never a secret."""
    note = _note.get()
    if note is not None:
        note.project = project or note.project
        note.details.update(details)
