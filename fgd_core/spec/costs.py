"""What a job costs: what earlier runs let expect before it starts, and what it took."""

from fgd_core.spec.base import Fact

PRICED_KINDS = ("train", "distill", "chain", "study", "sweep")
"""The kinds of jobs whose cost is estimated."""


class Span(Fact):
    """An amount that lies between two values. They are equal if nothing is open."""

    least: float
    most: float | None
    """None: unknown, because nothing like a part of the runs has run."""


class PricedRuns(Fact):
    """Runs of a job that should take equally long."""

    name: str
    """The arm of a study; `baselines`, `trials` or `repeats` of a sweep; otherwise the kind of the job."""
    count: int
    each_s: Span
    """Seconds of one run, without waits and pauses. For the trials of a sweep, the mean over all of them."""
    earlier: int
    """Number of earlier runs that this is known from. 0: there is none; then `most` is the time of a run that does
    more, or what a budget leaves, or unknown."""
    differs_in: list[str]
    """What is not the same in these earlier runs: `teacher`, `method`, `epochs` (times are scaled by them), `altered`
    (copies of the images that are evaluated at the end), `form` (for example jobs in place of trials of a sweep)."""


class CostEstimate(Fact):
    """What a job is expected to cost."""

    runs: list[PricedRuns]
    runs_s: Span
    """Seconds of all runs together."""
    gpu_hours: Span
    at_once: int | None
    """The number of runs at a time for which the cluster has room if nothing else runs there; None if it does not
    answer."""
    wall_s: Span | None
    """Seconds from the first start to the last end, with `at_once` runs at a time; None without that number."""
    machines: list[str]
    """Where the earlier runs ran: the GPU, or the processor. `least` is the time of the fastest, `most` of the
    slowest."""
    sentence: str


class CostSpent(Fact):
    """What a job has cost so far."""

    runs: int
    """Number of runs, or of trials of a sweep, that have ended."""
    runs_s: float
    """Seconds of all runs together, without waits and pauses."""
    gpu_hours: float
    wall_s: float | None
    """Seconds from the first start of a run to the end of the last one, or to now; None before the first start."""


class JobCost(Fact):
    """GET /v1/jobs/{job_id}/cost"""

    expected: CostEstimate
    """From the runs that had ended when the job was submitted."""
    spent: CostSpent
    left_s: float | None
    """Seconds until its end, from the runs that have ended until now; None if this is unknown, or the job is over."""
    sentence: str
    """All of it in words."""
