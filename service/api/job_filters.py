"""The query parameters that select jobs."""

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from fastapi import Depends, Query
from pydantic import AfterValidator

from fgd_core.spec.events import JobState
from fgd_core.spec.views import SeedGroup
from service.api.access import Reader
from service.store.job_filter import Filter


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("this time is outside the years 1 to 9999 in UTC; send another one") from None


_Moment = Annotated[datetime, AfterValidator(_in_utc)]
_TIMES = ["2026-03-01T08:00:00Z"]


def _selected(
    *,
    principal: Reader,
    state: Annotated[list[JobState] | None, Query(description="Only these states; may be repeated")] = None,
    kind: Annotated[
        list[str] | None, Query(description="Only these kinds; may be repeated", examples=[["train"]])
    ] = None,
    project: Annotated[list[str] | None, Query(description="Only these projects; may be repeated")] = None,
    seed_group: Annotated[
        list[SeedGroup] | None, Query(description="Only these groups of runs that differ in the seed; may be repeated")
    ] = None,
    parent: Annotated[
        str | None, Query(max_length=32, description="Only the runs of this study, and jobs made from this job's spec")
    ] = None,
    q: Annotated[str, Query(max_length=100, description="Text in the name, or at the start of the id")] = "",
    created_after: Annotated[
        _Moment | None, Query(description="Only jobs created after this time (UTC without a zone)", examples=_TIMES)
    ] = None,
    created_before: Annotated[
        _Moment | None, Query(description="Only jobs created before this time (UTC without a zone)", examples=_TIMES)
    ] = None,
) -> Filter:
    return Filter(
        states=state or [],
        kinds=kind or [],
        projects=project or [],
        seed_groups=seed_group or [],
        parent=parent or None,
        text=q.replace("\x00", ""),
        created_after=created_after,
        created_before=created_before,
        only_project=principal.project,
    )


Selected: TypeAlias = Annotated[Filter, Depends(_selected)]
"""The jobs that the query selects among those that the token may see."""
