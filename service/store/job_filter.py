"""Selects and orders jobs, and finds the index that answers most of a filter."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Literal, TypeAlias, get_args

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, and_, func, or_, select

from fgd_core.spec.events import JobState
from service.store import job_search
from service.store.bounded_lists import Listing, Sortable
from service.store.statements import unindexed
from service.store.tables import Job, JobDependency

_MAX_LANES = 16
# In the order of preference: a project before a state, which may have most of the jobs.
_INDEXED = (("seed_group",), ("project", "state"), ("project",), ("kind",), ("state",))
_INDEXED_BY_AP = (("project",),)
AGE: Sequence[Sortable] = (Job.created_at, Job.id)

Column: TypeAlias = Literal["created", "name", "state", "priority", "project", "best_ap"]
_COLUMNS: Mapping[Column, Sortable] = {
    "name": func.lower(Job.name),
    "state": Job.state,
    "priority": Job.priority,
    "project": Job.project,
    "best_ap": Job.best_ap,
}
"""An index has each of them with the columns of `AGE` behind it."""


@dataclass(frozen=True)
class Order:
    """The order of a list of jobs. Equal jobs are sorted by age in the same direction."""

    column: Column = "created"
    is_ascending: bool = False

    @property
    def key(self) -> Sequence[Sortable]:
        """The columns of the order, the last ones by age."""
        return AGE if self.column == "created" else (_COLUMNS[self.column], *AGE)


NEWEST_FIRST = Order()
ORDERS: Mapping[str, Order] = {
    f"{sign}{column}": Order(column, is_ascending=not sign) for column in get_args(Column) for sign in ("", "-")
}
"""By the `JobSort` of a request."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Selects jobs; an empty field selects all."""

    states: Sequence[JobState] = ()
    kinds: Sequence[str] = ()
    projects: Sequence[str] = ()
    seed_groups: Sequence[str] = ()
    parent: str | None = None
    """A job: its runs if it is a study, and the jobs whose specs were made from its spec."""
    text: str = ""
    """A part of the name or the beginning of the id, case-insensitive."""
    created_after: datetime | None = None
    created_before: datetime | None = None
    only_project: str | None = None
    """The only project that the reader may see, regardless of `projects`; None for all."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what all selected jobs meet, in a form for which SQLite uses no index."""
        return [*self._others(self._choices()), *self._ages(unindexed(Job.created_at))]

    def listing(self, order: Order = NEWEST_FIRST) -> Listing[Job]:
        """Return the list of the selected jobs, with the best index for its order."""
        choices = self._choices()
        by_age = order.column == "created"
        options = {"created": _INDEXED, "best_ap": _INDEXED_BY_AP}.get(order.column, ((order.column,),))
        indexed = next((names for names in options if _num_lanes(names, choices) <= _MAX_LANES), ())
        others = self._others({name: values for name, values in choices.items() if name not in indexed})
        lanes = product(*([getattr(Job, name) == value for value in choices[name]] for name in indexed))
        return Listing(
            table=Job,
            key=order.key,
            is_ascending=order.is_ascending,
            lanes=[and_(*lane) for lane in lanes] if indexed else [],
            ranges=self._ages(Job.created_at) if by_age else [],
            others=others if by_age else [*others, *self._ages(unindexed(Job.created_at))],
        )

    def _choices(self) -> dict[str, list[str]]:
        """Return the values of each column that has conditions."""
        only = [self.only_project] if self.only_project is not None else []
        named: dict[str, Sequence[str]] = {
            "seed_group": self.seed_groups,
            "project": only or self.projects,
            "kind": self.kinds,
            "state": self.states,
        }
        return {name: list(dict.fromkeys(values)) for name, values in named.items() if values}

    def _others(self, choices: Mapping[str, Sequence[str]]) -> list[ColumnElement[bool]]:
        """Return the conditions for which no index is used."""
        found: list[ColumnElement[bool]] = []
        found += [unindexed(getattr(Job, name)).in_(values) for name, values in choices.items()]
        if self.only_project is not None and self.projects:
            found.append(unindexed(Job.project).in_(self.projects))
        if self.parent is not None:
            found.append(Job.id.in_(children(self.parent)))
        if self.text:
            found.append(job_search.matches(self.text))
        return found

    def _ages(self, created_at: SQLColumnExpression[datetime]) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.created_after is not None:
            found.append(created_at > self.created_after)
        if self.created_before is not None:
            found.append(created_at < self.created_before)
        return found


def children(parent: str) -> Select[str]:
    """Return a query for the ids of the jobs that `Filter.parent` selects."""
    runs = select(JobDependency.needs_job_id).where(JobDependency.job_id == parent, JobDependency.arm.is_not(None))
    return select(Job.id).where(or_(Job.parent_id == parent, Job.id.in_(runs)))


def _num_lanes(names: Sequence[str], choices: Mapping[str, Sequence[str]]) -> float:
    """Return how many lanes an index with these columns has; infinite if a column is not chosen."""
    return math.prod(len(choices[name]) if name in choices else math.inf for name in names)
