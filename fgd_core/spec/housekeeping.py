"""What the control plane puts away, shared by the API and its client."""

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
    """One thing that is deleted, or would be."""

    kind: Kind
    job_id: str | None
    """None where it belongs to no job."""
    name: str
    """A path in the storage folder, or what the rows are."""
    why: str
    num_rows: int
    """Of the database."""
    size_bytes: int
    """On disk for files; of the text for rows, whose space the database keeps for later ones."""
    is_noted: bool = False
    """Only noted for now: it is deleted once it has been found so for long enough."""


class HousekeepingView(Fact):
    """POST /v1/housekeeping"""

    dry_run: bool
    items: list[Removal]
    """The first ones, at most 1000; the sums are over all of them."""
    num_items: int
    num_rows: int
    size_bytes: int
    is_complete: bool
    """False where there is more to do than one request may take: ask again."""
