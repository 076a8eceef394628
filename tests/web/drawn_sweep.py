"""A sweep that reports as its driver does, with drawn trials."""

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from tests.web.page_server import SCORES, PageServer, ReportingRun, train_spec

EPOCHS = 9
NUM_BASELINES = 2
RATE = "training.optimizer.learning_rate"
SPACE = {
    RATE: {"type": "log_uniform", "low": 1e-4, "high": 1e-1},
    "training.clip_norm": {"type": "uniform", "low": 1, "high": 35},
    "training.optimizer.weight_decay": {"type": "log_uniform", "low": 1e-6, "high": 1e-2},
    "training.batch_size": {"type": "choice", "values": [4, 8, 16]},
}
_RUNGS = {1: 0, 3: 1, EPOCHS: 2}
_AT_ONCE = 900


def started_sweep(server: PageServer, name: str, **changes: Any) -> ReportingRun:
    base = {field: value for field, value in train_spec(name).items() if field != "name"}
    base |= {"training": {"batch_size": 8, "epochs": EPOCHS}}
    spec = {"kind": "sweep", "name": name, "base": base, "space": SPACE, "budget": {"trials": 500}, "baselines": False}
    return server.run_of(server.submit_spec(spec | changes))


def report_trials(run: ReportingRun, numbers: range) -> None:
    """Report whole trials under a scheduler with rungs at epochs 1 and 3, and how far the sweep is."""
    events = [event for trial in numbers for event in trial_events(trial)]
    for begin in range(0, len(events), _AT_ONCE):
        run.report(*events[begin : begin + _AT_ONCE])
    best = max(range(numbers.stop), key=best_of)
    counts = {"running": [], "done": numbers.stop, "planned": 500, "epochs_done": 3 * numbers.stop, "eta_s": 600.0}
    run.report({"kind": "sweep_progressed", "best_trial": best, "best": best_of(best)} | counts)


def trial_events(trial: int, *, last: int | None = None) -> Iterator[Mapping[str, Any]]:
    """Yield the events of a trial; up to the epoch `last` and without its end, if it is given."""
    yield {
        "kind": "trial_started",
        "trial": trial,
        "origin": "searcher",
        "values": values_of(trial),
        "seed": 0,
        "epochs": EPOCHS,
    }
    end = ends_at(trial)
    for epoch in range(1, (last or end) + 1):
        verdict = "stop" if epoch == end < EPOCHS else "continue"
        at = {"epoch": epoch, "rung": _RUNGS.get(epoch), "train_s": 20.0 * epoch, "verdict": verdict}
        ap = ap_at(trial, epoch)
        scores = dict.fromkeys(SCORES) | {"ap": ap, "ar_large": None}
        yield {"kind": "trial_reported", "trial": trial, "objectives": [ap], "scores": scores} | at
    if last is None:
        cause = "completed" if end == EPOCHS else "stopped"
        yield {"kind": "trial_ended", "trial": trial, "cause": cause, "epoch": end}


def values_of(trial: int) -> dict[str, Any]:
    dice = random.Random(trial)
    return {
        RATE: 10 ** dice.uniform(-4, -1),
        "training.clip_norm": dice.uniform(1, 35),
        "training.optimizer.weight_decay": 10 ** dice.uniform(-6, -2),
        "training.batch_size": dice.choice((4, 8, 16)),
    }


def ap_at(trial: int, epoch: int) -> float:
    """Best at a learning rate of 0.01, a little better with a small weight decay."""
    values = values_of(trial)
    gain = 0.25 * math.exp(-((math.log10(values[RATE]) + 2) ** 2)) - 0.01 * math.log10(
        values["training.optimizer.weight_decay"]
    )
    noise = random.Random(f"{trial} {epoch}").gauss(0, 0.006)
    return (0.08 + gain) * (1 - math.exp(-3 * epoch / EPOCHS)) + noise


def best_of(trial: int) -> float:
    return max(ap_at(trial, epoch) for epoch in range(1, ends_at(trial) + 1))


def ends_at(trial: int) -> int:
    """The epoch at which the scheduler stops a trial."""
    final = ap_at(trial, EPOCHS)
    return EPOCHS if final > 0.3 else 3 if final > 0.2 else 1
