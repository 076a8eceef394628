"""Where a sweep stands, folded from its events as they come."""

from dataclasses import dataclass, field

from fgd_core.spec.events import StoredEvent
from fgd_core.spec.jobs import SweepSpec
from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import TrialView
from fgd_core.spec.views import JobSummary, JobView
from service.client.standing import Standing, standing_of
from service.jobs import study


@dataclass
class SweepStanding(Standing):
    objectives: tuple[Objective, ...] = (Objective(),)
    best_trial: int | None = None
    _told: list[StoredEvent] = field(default_factory=list)
    _trials: list[TrialView] | None = None
    """Folded from what was told; None where more has come since."""

    @property
    def trials(self) -> list[TrialView]:
        if self._trials is None:
            directions = [objective.direction for objective in self.objectives]
            self._trials = study.fold(self._told, directions, is_over=self.is_over)
        return self._trials

    def update(self, event: StoredEvent) -> None:
        super().update(event)
        match event.kind:
            case "sweep_progressed":
                self.best_trial = event.data.get("best_trial")
            case "state_changed":
                # What becomes of a trial that still runs depends on whether its sweep is over.
                self._trials = None
            case kind if kind in study.KINDS:
                self._told.append(event)
                self._trials = None


def any_standing(job: JobSummary) -> Standing:
    """Where a job stands before its first event is read; of a sweep, with its trials."""
    plain = standing_of(job)
    if job.kind != "sweep":
        return plain
    of_spec = isinstance(job, JobView) and isinstance(job.spec, SweepSpec) and job.spec.objectives
    return SweepStanding(**vars(plain), objectives=of_spec or (Objective(),))
