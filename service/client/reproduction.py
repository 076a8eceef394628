"""Compares a job with another that ran the same spec: do the scores agree, and if not, what was different?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from fgd_core.errors import FgdError, SpecError
from fgd_core.spec.base import Fact
from fgd_core.spec.record import Difference, JobRecord, differences
from fgd_core.spec.results import Scores
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.errors import FailedJobError

Verdict: TypeAlias = Literal["identical", "agrees", "differs"]
"""`identical`: every score is equal to the last bit. `agrees`: chance explains the difference of the APs, by the test
of `fgd compare`. `differs`: it does not, or the test is not possible."""


class Figure(Fact):
    """A score of both jobs."""

    name: str
    first: float | None
    second: float | None

    @property
    def is_equal(self) -> bool:
        return self.first == self.second


class Circumstance(Fact):
    """Something in which the two jobs differ."""

    what: str
    first: str
    second: str


class Reproduction(Fact):
    """The comparison of a job with its repetition."""

    job_id: str
    repeated_by: str
    verdict: Verdict
    sentence: str
    figures: list[Figure]
    differences: list[Circumstance]


def reproduction(client: FgdClient, first: JobView, second: JobView) -> Reproduction:
    """Compare two jobs that are over.

    Raises:
        FailedJobError: one of them did not succeed.
        SpecError: one of them is of a kind without scores.
    """
    ours, theirs = _all_figures(first), _all_figures(second)
    names = [*ours, *(name for name in theirs if name not in ours)]
    figures = [Figure(name=name, first=ours.get(name), second=theirs.get(name)) for name in names]
    found = _differences(first, second, client.record(first.job_id), client.record(second.job_id))
    is_identical = all(figure.is_equal for figure in figures)
    verdict: Verdict = "identical"
    sentence = f"all {len(figures)} scores are identical"
    if not is_identical:
        verdict, sentence = _tested(client, first, second)
    return Reproduction(
        job_id=first.job_id,
        repeated_by=second.job_id,
        verdict=verdict,
        sentence=sentence,
        figures=figures,
        differences=[Circumstance(**each._asdict()) for each in found],
    )


def scores_of(job: JobView) -> Scores:
    """Return the scores of a job.

    Raises:
        FailedJobError: it did not succeed.
        SpecError: jobs of its kind have no scores.
    """
    if job.state != "succeeded":
        raise FailedJobError(f"{job.name} ({job.job_id}) is {job.state}, and has no final scores; see `fgd show`")
    if job.result is None:
        raise SpecError(f"{job.name} ({job.job_id}) is a job of kind {job.kind}, which has no scores")
    return job.result.scores


def figures_of(scores: Scores) -> Mapping[str, float | None]:
    """Return all scores by name: `ap`, `class sphere`, `masks ap`, `masks class sphere`."""
    return dict(_figures(scores.model_dump()))


def _all_figures(job: JobView) -> Mapping[str, float | None]:
    """Return the scores of a job on all its data sets: `ap`, `night ap`."""
    found = dict(figures_of(scores_of(job)))
    more = job.result.more_scores if job.result is not None else {}
    for data, scores in more.items():
        found |= {f"{data} {name}": value for name, value in figures_of(scores).items()}
    return found


def _figures(scores: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for name, value in scores.items():
        match value:
            case dict() if name == "per_class":
                yield from ((f"{prefix}class {each}", score["ap"]) for each, score in value.items())
            case dict():
                yield from _figures(value, f"{name} ")
            case float() | None if name not in ("masks", "keypoints"):
                yield f"{prefix}{name}", value


def _tested(client: FgdClient, first: JobView, second: JobView) -> tuple[Verdict, str]:
    change = f"AP {_shown(second)} in place of {_shown(first)}"
    try:
        compared = client.compare([second.job_id], [first.job_id])
    except FgdError as error:
        return "differs", f"{change}, and whether that is more than chance cannot be tested: {error.message}"
    tested = next(row.change for row in compared.scores if row.score == "ap")
    if tested is None or tested.p is None:
        return "differs", f"{change}: there are too few boxes to test whether that is more than chance"
    if tested.finding == "noise":
        return "agrees", f"{change}: no more than chance explains (p {tested.p:.2g})"
    return "differs", f"{change}: more than chance explains (p {tested.p:.2g})"


def _shown(job: JobView) -> str:
    ap = scores_of(job).ap
    return "none" if ap is None else f"{ap:.4f}"


def _differences(first: JobView, second: JobView, ours: JobRecord, theirs: JobRecord) -> Sequence[Difference]:
    changes = [str(job.attempts[-1].spec_changes or "none") if job.attempts else "none" for job in (first, second)]
    changed = [Difference("changes of the spec", *changes)] if changes[0] != changes[1] else []
    return [*changed, *differences(ours, theirs)]
