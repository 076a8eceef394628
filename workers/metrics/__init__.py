"""What runs and sweeps tell Prometheus, by way of Ray: every name on one screen.

Ray's agent on each node serves them beside its own, each with the prefix `ray_`, and lets a gauge go some 20 s after
it was last set: what is measured goes with what it was measured of, and what stays true is set again and again. The
job's name is `job_name`, for Prometheus has a label `job` of its own.
"""

from collections.abc import Mapping
from typing import NamedTuple

PREFIX = "ray_"

_RUN = ("job_name", "job_id", "kind", "trial")
"""`trial` is empty outside of sweeps."""
_SWEEP = ("sweep", "job_id")
_TRIAL = (*_SWEEP, "trial")


class Metric(NamedTuple):
    text: str
    labels: tuple[str, ...]
    stays: bool = False
    """Whether it is true until something else is told."""


class Sample(NamedTuple):
    name: str
    value: float
    labels: dict[str, str]


GAUGES: Mapping[str, Metric] = {
    # -- a run, or a trial of a sweep --
    "fgd_run_loss": Metric("A term of the loss, or their weighted sum: loss", (*_RUN, "term")),
    "fgd_run_learning_rate": Metric("Learning rate of the newest step", _RUN),
    "fgd_run_ap": Metric(
        "COCO's AP in [0, 1] at the newest evaluation, of boxes or of masks", (*_RUN, "of"), stays=True
    ),
    "fgd_run_images_per_second": Metric("Training speed, without evaluations", _RUN),
    "fgd_run_epoch": Metric("Epochs trained, with the part of the present one", _RUN, stays=True),
    "fgd_run_progress_ratio": Metric("Part of the training that is done", _RUN, stays=True),
    "fgd_run_eta_seconds": Metric("Until the job's end", _RUN),
    "fgd_run_gpu_memory_bytes": Metric("GPU memory of tensors: allocated now, and at its peak", (*_RUN, "what")),
    "fgd_run_data_wait_ratio": Metric("Part of the training time that went by in waiting for images", _RUN),
    "fgd_run_outbox_events": Metric("Events that the control plane has not confirmed yet", _RUN, stays=True),
    # -- a sweep --
    "fgd_sweep_trials_running": Metric("Trials that train now", _SWEEP, stays=True),
    "fgd_sweep_trials_done": Metric("Trials that are over", _SWEEP, stays=True),
    "fgd_sweep_trials_planned": Metric("Trials in all, as far as it can be told", _SWEEP, stays=True),
    "fgd_sweep_epochs_done": Metric("Epochs trained by the search", _SWEEP, stays=True),
    "fgd_sweep_best": Metric("The best value so far of the first objective", (*_SWEEP, "objective"), stays=True),
    "fgd_sweep_eta_seconds": Metric("Until the sweep's end", _SWEEP),
    "fgd_trial_objective": Metric("The newest value of the first objective", (*_TRIAL, "objective"), stays=True),
    "fgd_trial_epoch": Metric("Epochs that a trial has trained", _TRIAL, stays=True),
}
COUNTERS: Mapping[str, Metric] = {
    # Served as …_total.
    "fgd_sweep_trials_ended": Metric("Trials that ended, by cause", (*_SWEEP, "cause")),
}
