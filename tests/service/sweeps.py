"""Sweeps for tests of the control plane: specs, and events that a driver reports about its trials."""

from typing import Any

from control_plane import scores, train_spec

SPACE = {"training.optimizer.learning_rate": {"type": "log_uniform", "low": 1e-4, "high": 1e-1}}


def base(**changes: Any) -> dict[str, Any]:
    spec = train_spec() | {"training": {"batch_size": 8, "epochs": 3}} | changes
    return {name: value for name, value in spec.items() if name != "name"}


def sweep_spec(**changes: Any) -> dict[str, Any]:
    return {"kind": "sweep", "name": "a sweep", "base": base(), "space": SPACE} | changes


def distill_base(**changes: Any) -> dict[str, Any]:
    spec = base(
        kind="distill",
        student={"type": "retinanet"},
        teacher={"checkpoint": "job:teacher/best"},
        **{"method": {}, **changes},
    )
    return {name: value for name, value in spec.items() if name != "detector"}


def begun(trial: int, *, segment: int = 0, rate: float = 0.01, **others: Any) -> dict[str, Any]:
    return {
        "kind": "trial_started",
        "trial": trial,
        "segment": segment,
        "origin": "searcher",
        "values": {"training.optimizer.learning_rate": rate},
        "seed": 0,
        "epochs": 3,
    } | others


def reported(trial: int, epoch: int, ap: float, **others: Any) -> dict[str, Any]:
    return {
        "kind": "trial_reported",
        "trial": trial,
        "epoch": epoch,
        "objectives": [ap],
        "scores": scores(ap),
        "train_s": 1.0,
    } | others


def ended(trial: int, cause: str = "completed", epoch: int = 3, **others: Any) -> dict[str, Any]:
    return {"kind": "trial_ended", "trial": trial, "cause": cause, "epoch": epoch} | others


def trial_event(trial: int, event: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "trial_event", "trial": trial, "event": event}


def progressed(*, done: int, planned: int, best: float | None = None, eta_s: float | None = 9.0) -> dict[str, Any]:
    counts: dict[str, Any] = {"running": [], "done": done, "planned": planned, "epochs_done": done}
    return {"kind": "sweep_progressed", "best_trial": None, "best": best, "eta_s": eta_s} | counts
