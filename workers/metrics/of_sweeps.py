"""The metrics of a sweep and its trials, told by its driver, which is connected to Ray."""

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunEvent
from fgd_core.spec.trials import TrialEnded
from workers.metrics.samples import of_sweep
from workers.metrics.through_ray import RayMetrics


class SweepMetrics:
    """
    Args:
        objective: the name of the first one.
    """

    def __init__(self, assignment: Assignment, objective: str) -> None:
        name, self._objective = assignment.spec.name, objective
        self._of_sweep = {"sweep": name, "job_id": assignment.job_id}
        self._of_trials = {"job_name": name, "job_id": assignment.job_id, "kind": assignment.spec.kind}
        self._metrics = RayMetrics()

    def observe(self, event: RunEvent) -> None:
        self._metrics.tell(of_sweep(event, self._of_sweep, objective=self._objective, trial_labels=self._of_trials))
        if isinstance(event, TrialEnded):
            # Of its run. How the trial itself stands is shown beside the others until the sweep ends.
            self._metrics.forget({**self._of_trials, "trial": str(event.trial)})
