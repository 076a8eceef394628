"""Views of what a retention pass deletes; shared by the API and its client."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact

Kind: TypeAlias = Literal[
    "unfinished_deletion",
    "progress_events",
    "curve_points",
    "log",
    "checkpoint",
    "outbox",
    "partial_file",
    "orphan",
    "audit_entries",
    "api_tokens",
    "webhook_deliveries",
]


class Removal(Fact):
    """One item that a retention pass deletes, or would delete."""

    kind: Kind
    job_id: str | None
    """None if it belongs to no job."""
    name: str
    """A path in the storage, or the kind of the rows."""
    why: str
    num_rows: int
    """Rows of the database."""
    size_bytes: int
    """For files: size on disk. For rows: size of their text; the database keeps the space for later rows."""
    is_noted: bool = False
    """True if it is only noted now; a later pass deletes it, after it has been in this state for long enough."""


class HousekeepingView(Fact):
    """POST /v1/housekeeping"""

    dry_run: bool
    items: list[Removal]
    """The first items, at most 1000; the totals below count all items."""
    num_items: int
    num_rows: int
    size_bytes: int
    is_complete: bool
    """False if more is left than one request may delete; send the request again."""
