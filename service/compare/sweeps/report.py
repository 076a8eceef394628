"""The report on a sweep, from its folded trials."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.search import PopulationBased, RunAll
from fgd_core.spec.sweep_report import Recommendation, Standing, SweepReport, TrialView
from fgd_core.spec.views import JobView
from service.compare.sweeps.alternatives import alternatives
from service.compare.sweeps.constraint import constrained
from service.compare.sweeps.cost import best_so_far, failures, spent
from service.compare.sweeps.early_orders import early_orders
from service.compare.sweeps.effects import effects
from service.compare.sweeps.importance import importance
from service.compare.sweeps.speeds import speed_warning
from service.compare.sweeps.standings import gains, runner_up, standings
from service.compare.sweeps.stopping import stopping
from service.compare.sweeps.verdict import verdict
from service.jobs.lifecycle import OVER
from service.jobs.trial_values import reached_the_end

_MAX_NAME = 80
_OF_JOB = {"job_id", "name", "state", "created_at", "started_at", "ended_at", "dashboard_url", "error"}
"""The fields that the report has in common with the job."""


def assemble(job: JobView, trials: Sequence[TrialView], *, now: datetime) -> SweepReport:
    """Assemble the report on a sweep, also while it runs.

    Args:
        job: the sweep; its spec is valid.
        trials: all trials, by number.
    """
    spec = job.spec
    assert isinstance(spec, SweepSpec)
    is_over = job.state in OVER
    dimensions = spec.dimensions()
    directions = [objective.direction for objective in spec.objectives]
    ranked = constrained(standings(trials, directions, is_over=is_over), trials, spec.constraint, is_over=is_over)
    speeds = speed_warning(trials, spec.objectives)
    if speeds is not None:
        ranked = [each.model_copy(update={"is_on_front": None}) for each in ranked]
    winner = ranked[0] if ranked else None
    stops = None
    if not isinstance(spec.scheduler, RunAll | PopulationBased):
        stops = stopping(trials, directions[0], winner=winner.trial if winner else None)
    report = SweepReport(
        **job.model_dump(include=_OF_JOB),
        generated_at=now,
        spec=spec,
        dimensions=dimensions,
        is_over=is_over,
        verdict=[],
        recommendation=_recommendation(spec, winner, trials),
        standings=ranked,
        ranking=[each.trials for each in ranked],
        runner_up=runner_up(ranked, directions[0], is_over=is_over),
        gains=gains(ranked, directions[0], is_over=is_over),
        alternatives=alternatives(spec, trials, ranked, is_over=is_over),
        importance=importance(trials, dimensions, directions[0]),
        effects=effects(spec, trials) if is_over else None,
        stopping=stops,
        early_orders=early_orders(trials, directions[0]),
        failures=failures(trials),
        spent=spent(trials, job.attempts, gpus=spec.resources.all_gpus, now=now),
        best_so_far=best_so_far(trials, directions[0]),
        trials=[*trials],
    )
    return report.model_copy(update={"verdict": verdict(report, speeds)})


def _recommendation(spec: SweepSpec, winner: Standing | None, trials: Sequence[TrialView]) -> Recommendation | None:
    if winner is None or winner.is_passed_over:
        return None
    try:
        found = spec.trial(winner.values, seed=spec.seed, name=f"{spec.name[:_MAX_NAME]} trial {winner.trial}")
    except (ValidationError, KeyError, TypeError, AttributeError):
        # A newer driver reported a field that this version does not know.
        return None
    segments = next(len(trial.segments) for trial in trials if trial.trial == winner.trial)
    caution = None
    if not reached_the_end(winner, trials):
        caution = "It was not trained to the end, and may end otherwise. Run this spec before you rely on it."
    if isinstance(spec.scheduler, PopulationBased) and segments > 1:
        caution = (
            "Its values changed while it trained, and it may have started from another trial's checkpoint. A training "
            "from the start with these values may end lower. The measured result is that of its checkpoint."
        )
    return Recommendation(trial=winner.trial, spec=found, caution=caution)
