"""The status of a sweep and its trials, folded from its events as they arrive."""

from dataclasses import dataclass, field

from fgd_core.spec import study_state
from fgd_core.spec.event_state import JobStatus, status_before_events
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import TrialView
from fgd_core.spec.views import JobSummary, JobView


@dataclass
class SweepStatus(JobStatus):
    """Holds the status of a sweep and of its trials."""

    objectives: tuple[Objective, ...] = (Objective(),)
    best_trial: int | None = None
    _trial_events: list[StoredEvent] = field(default_factory=list)
    _trials: list[TrialView] | None = None
    """The fold of `_trial_events`; None after a new event."""

    @property
    def trials(self) -> list[TrialView]:
        """Return all trials as they are now."""
        if self._trials is None:
            directions = [objective.direction for objective in self.objectives]
            self._trials = study_state.fold_trials(self._trial_events, directions, is_over=self.is_over)
        return self._trials

    def update(self, stored: StoredEvent) -> None:
        """Fold the next event."""
        super().update(stored)
        match stored.kind:
            case "sweep_progressed":
                self.best_trial = stored.data.get("best_trial")
            case "state_changed":
                # A trial that still runs is lost when its sweep is over.
                self._trials = None
            case kind if kind in study_state.KINDS:
                self._trial_events.append(stored)
                self._trials = None


def initial_status(job: JobSummary) -> JobStatus:
    """Return the status of a job before its first event; that of a sweep has trials."""
    plain = status_before_events(job)
    if job.kind != "sweep":
        return plain
    of_spec = isinstance(job, JobView) and isinstance(job.spec, SweepSpec) and job.spec.objectives
    return SweepStatus(**vars(plain), objectives=of_spec or (Objective(),))
