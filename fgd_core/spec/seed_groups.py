"""Says which jobs are runs of one configuration with different seeds, and what they reached together."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

from pydantic import JsonValue

from fgd_core.spec.base import Fact
from fgd_core.spec.events import JobState
from fgd_core.spec.views import SeedGroup

# None of them changes what a run learns. The project stays: a group lies in one project, as do the rights to read it.
_LEFT_OUT = frozenset({"name", "seed", "priority", "preemptible", "retry", "evaluation"})


class SeedScores(Fact):
    """What runs with different seeds reached."""

    n: int
    """Number of runs."""
    mean: float
    std: float | None
    """Standard deviation of the runs. None for one run."""
    low: float | None
    """The 95 % confidence interval of the mean, by Student's distribution. None for one run."""
    high: float | None


class SeedGroupView(Fact):
    """Jobs that differ only in the seed, in the name and in how they are scheduled; a row of GET /v1/seed-groups."""

    group: SeedGroup | None
    """None for a job that an older version of the server stored; it has a row of its own."""
    name: str
    """The name of the newest job, like the next three fields."""
    kind: str
    project: str
    created_at: datetime
    num_jobs: int
    """At most 200: older jobs of a group do not count."""
    job_ids: list[str]
    """The newest 50, newest first."""
    seeds: list[int]
    states: dict[JobState, int]
    """Number of jobs in each state."""
    best_ap: SeedScores | None
    """Over the jobs that succeeded; None if none of them has an AP."""


class SeedGroupPage(Fact):
    """GET /v1/seed-groups"""

    items: list[SeedGroupView]
    next_cursor: str | None


def seed_group(spec: Mapping[str, JsonValue]) -> str:
    """Return 16 hexadecimal digits that are equal for jobs whose specs differ only in the seed, the name and how they
    are scheduled.

    Args:
        spec: in JSON.
    """
    return digest({name: value for name, value in spec.items() if name not in _LEFT_OUT})


def digest(part: JsonValue) -> str:
    """Return 16 hexadecimal digits of a part of a spec, which a later check of its data does not change."""
    text = json.dumps(_without_fingerprints(part), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_fingerprints(value: JsonValue) -> JsonValue:
    """Return a part of a spec without the fingerprints of its data, which a later check of the same data may add."""
    match value:
        case dict():
            return {name: _without_fingerprints(item) for name, item in value.items() if name != "fingerprints"}
        case list():
            return [_without_fingerprints(item) for item in value]
    return value
