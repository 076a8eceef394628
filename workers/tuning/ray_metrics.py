"""Sweeps and trials as metrics of Ray: on its Prometheus endpoint, beside what it says of nodes and actors."""

from ray.util.metrics import Counter, Gauge

from fgd_core.spec.events import RunEvent
from fgd_core.spec.trials import SweepProgressed, TrialEnded, TrialReported

_SWEEP = ("sweep", "job_id")
_TRIAL = (*_SWEEP, "trial")


class RayMetrics:
    """
    Args:
        objective: the name of the first one.
    """

    def __init__(self, *, name: str, job_id: str, objective: str) -> None:
        self._sweep = {"sweep": name, "job_id": job_id}
        of_first = f"of the first objective, {objective}"
        self._running = Gauge("fgd_sweep_trials_running", "Trials that train now", _SWEEP)
        self._done = Gauge("fgd_sweep_trials_done", "Trials that are over", _SWEEP)
        self._planned = Gauge("fgd_sweep_trials_planned", "Trials in all, as far as it can be told", _SWEEP)
        self._epochs = Gauge("fgd_sweep_epochs_done", "Epochs trained by the search", _SWEEP)
        self._best = Gauge("fgd_sweep_best", f"The best value so far {of_first}", _SWEEP)
        self._eta_s = Gauge("fgd_sweep_eta_seconds", "Until the sweep's end", _SWEEP)
        self._ends = Counter("fgd_sweep_trials_ended", "Trials that ended, by cause", (*_SWEEP, "cause"))
        self._value = Gauge("fgd_trial_objective", f"The newest value {of_first}", _TRIAL)
        self._epoch = Gauge("fgd_trial_epoch", "Epochs that a trial has trained", _TRIAL)

    def observe(self, event: RunEvent) -> None:
        match event:
            case SweepProgressed():
                self._running.set(len(event.running), self._sweep)
                self._done.set(event.done, self._sweep)
                self._planned.set(event.planned, self._sweep)
                self._epochs.set(event.epochs_done, self._sweep)
                if event.best is not None:
                    self._best.set(event.best, self._sweep)
                if event.eta_s is not None:
                    self._eta_s.set(event.eta_s, self._sweep)
            case TrialReported():
                trial = {**self._sweep, "trial": str(event.trial)}
                self._epoch.set(event.epoch, trial)
                if event.objectives and event.objectives[0] is not None:
                    self._value.set(event.objectives[0], trial)
            case TrialEnded(cause=cause) if cause != "paused":
                self._ends.inc(1, {**self._sweep, "cause": cause})
