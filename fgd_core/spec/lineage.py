"""Where a spec comes from: the jobs it was made from, each with the fields that changed, and the jobs made from it."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import JsonValue

from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState

_LEFT_OUT = frozenset({"name", "fingerprints"})


class FieldChange(Fact):
    """A field of a spec with another value than in the job that the spec was made from."""

    path: str
    before: JsonValue
    """None if the field was not there."""
    after: JsonValue
    """None if the field is not there any more."""


class Relative(Fact):
    """A job of a lineage."""

    job_id: str
    name: str
    kind: str
    state: JobState
    created_at: datetime
    best_ap: float | None
    changes: list[FieldChange]
    """What differs from the job that its spec was made from; names of jobs do not count."""


class JobLineage(Fact):
    """GET /v1/jobs/{job_id}/lineage"""

    line: list[Relative]
    """From the oldest known job to this job; each was made from the one before. The first has no changes."""
    unknown_parent: bool
    """Whether the first job of the line was made from a job that is deleted, in another project, or too far back."""
    children: list[Relative]
    """The newest jobs whose specs were made from this one."""


def changed_fields(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[FieldChange]:
    """Return the fields in which two specs differ, in the order of the newer one. Lists are compared as a whole."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    return [
        FieldChange(path=path, before=old.get(path), after=new.get(path))
        for path in dict.fromkeys([*new, *old])
        if old.get(path) != new.get(path)
    ]


def _leaves(spec: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for name, value in spec.items():
        if name in _LEFT_OUT:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
