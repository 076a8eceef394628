"""Turns the events of a run or a sweep into samples for Prometheus."""

from collections.abc import Iterator

from fgd_core.spec.event_state import read_trial_event
from fgd_core.spec.events import EpochFinished, Evaluated, Progress, RunEvent
from fgd_core.spec.trials import SweepProgressed, TrialEnded, TrialEvent, TrialReported
from workers.metrics import Sample


def run_samples(event: RunEvent, labels: dict[str, str]) -> Iterator[Sample]:
    """Yield the samples that an event of a run gives.

    Args:
        labels: job_name, job_id, kind and trial.
    """
    match event:
        case Progress():
            yield from _step_samples(event, labels)
            if event.data_wait is not None:
                yield Sample("fgd_run_data_wait_ratio", event.data_wait, labels)
            for worker, memory in enumerate(event.gpu_memory_of_workers):
                of_worker = {**labels, "worker": str(worker)}
                yield Sample("fgd_run_gpu_memory_bytes", memory.allocated_bytes, {**of_worker, "what": "allocated"})
                yield Sample("fgd_run_gpu_memory_bytes", memory.peak_bytes, {**of_worker, "what": "peak"})
        case EpochFinished():
            yield from _step_samples(event, labels)
        case Evaluated(scores=scores):
            if scores.ap is not None:
                yield Sample("fgd_run_ap", scores.ap, {**labels, "of": "boxes"})
            for part, of_part in scores.parts().items():
                if of_part.ap is not None:
                    yield Sample("fgd_run_ap", of_part.ap, {**labels, "of": part})


def sweep_samples(
    event: RunEvent, labels: dict[str, str], *, objective: str, trial_labels: dict[str, str]
) -> Iterator[Sample]:
    """Yield the samples that an event of a sweep gives, those of its trials included.

    Args:
        labels: sweep and job_id.
        objective: the name of the first objective.
        trial_labels: job_name, job_id and kind.
    """
    match event:
        case SweepProgressed():
            yield Sample("fgd_sweep_trials_running", len(event.running), labels)
            yield Sample("fgd_sweep_trials_done", event.done, labels)
            yield Sample("fgd_sweep_trials_planned", event.planned, labels)
            yield Sample("fgd_sweep_epochs_done", event.epochs_done, labels)
            if event.best is not None:
                yield Sample("fgd_sweep_best", event.best, {**labels, "objective": objective})
            if event.eta_s is not None:
                yield Sample("fgd_sweep_eta_seconds", event.eta_s, labels)
        case TrialReported():
            trial = {**labels, "trial": str(event.trial)}
            yield Sample("fgd_trial_epoch", event.epoch, trial)
            if event.objectives and event.objectives[0] is not None:
                yield Sample("fgd_trial_objective", event.objectives[0], {**trial, "objective": objective})
        case TrialEnded(cause=cause) if cause != "paused":
            yield Sample("fgd_sweep_trials_ended", 1, {**labels, "cause": cause})
        case TrialEvent():
            reported = read_trial_event(event)
            if reported is not None:
                yield from run_samples(reported, {**trial_labels, "trial": str(event.trial)})


def _step_samples(event: Progress | EpochFinished, labels: dict[str, str]) -> Iterator[Sample]:
    for term, value in event.values.items():
        yield Sample("fgd_run_loss", value, {**labels, "term": term})
    yield Sample("fgd_run_learning_rate", event.learning_rate, labels)
    yield Sample("fgd_run_images_per_second", event.images_per_s, labels)
    if event.steps > 0:
        yield Sample("fgd_run_progress_ratio", event.step / event.steps, labels)
        yield Sample("fgd_run_epoch", event.epochs * event.step / event.steps, labels)
    if event.eta_s is not None:
        yield Sample("fgd_run_eta_seconds", event.eta_s, labels)
