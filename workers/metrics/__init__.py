"""The table of all metrics that runs and sweeps export to Prometheus through Ray.

Ray's agent on each node serves them with its own metrics, with the prefix `ray_`. It drops a gauge about 20 s after
its last update: so a measurement disappears with its run, and a value that stays true is set repeatedly. The label of
the job's name is `job_name`, because Prometheus itself uses the label `job`.
"""

from collections.abc import Mapping
from typing import NamedTuple

PREFIX = "ray_"

_RUN = ("job_name", "job_id", "kind", "trial")
"""`trial` is empty outside of sweeps."""
_SWEEP = ("sweep", "job_id")
_TRIAL = (*_SWEEP, "trial")


class Metric(NamedTuple):
    """Describes a metric."""

    text: str
    labels: tuple[str, ...]
    stays: bool = False
    """True if a value holds until the next one, so that it must be set repeatedly."""


class Sample(NamedTuple):
    """Holds one value of a metric."""

    name: str
    value: float
    labels: dict[str, str]


GAUGES: Mapping[str, Metric] = {
    # -- a run, or a trial of a sweep --
    "fgd_run_loss": Metric("A term of the loss, or their weighted sum: loss", (*_RUN, "term")),
    "fgd_run_learning_rate": Metric("Learning rate of the newest step", _RUN),
    "fgd_run_ap": Metric(
        "COCO's AP in [0, 1] at the newest evaluation, of boxes, masks or keypoints", (*_RUN, "of"), stays=True
    ),
    "fgd_run_images_per_second": Metric("Training speed, without evaluations", _RUN),
    "fgd_run_epoch": Metric("Epochs trained, including the part of the current one", _RUN, stays=True),
    "fgd_run_progress_ratio": Metric("Fraction of the training that is done", _RUN, stays=True),
    "fgd_run_eta_seconds": Metric("Seconds until the job ends", _RUN),
    "fgd_run_gpu_memory_bytes": Metric(
        "GPU memory of a worker's tensors: allocated now, and the peak", (*_RUN, "worker", "what")
    ),
    "fgd_run_data_wait_ratio": Metric("Fraction of the training time spent waiting for images", _RUN),
    "fgd_run_outbox_events": Metric("Events that the control plane has not acknowledged yet", _RUN, stays=True),
    # -- a sweep --
    "fgd_sweep_trials_running": Metric("Trials that are training", _SWEEP, stays=True),
    "fgd_sweep_trials_done": Metric("Trials that have ended", _SWEEP, stays=True),
    "fgd_sweep_trials_planned": Metric("Trials in total, as currently planned", _SWEEP, stays=True),
    "fgd_sweep_epochs_done": Metric("Epochs trained by the search", _SWEEP, stays=True),
    "fgd_sweep_best": Metric("The best value so far of the first objective", (*_SWEEP, "objective"), stays=True),
    "fgd_sweep_eta_seconds": Metric("Seconds until the sweep ends", _SWEEP),
    "fgd_trial_objective": Metric("The newest value of the first objective", (*_TRIAL, "objective"), stays=True),
    "fgd_trial_epoch": Metric("Epochs that the trial has trained", _TRIAL, stays=True),
}
COUNTERS: Mapping[str, Metric] = {
    # Prometheus shows them with the suffix _total.
    "fgd_sweep_trials_ended": Metric("Trials that ended, by cause", (*_SWEEP, "cause")),
}
