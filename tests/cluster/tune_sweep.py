"""A sweep on a real Ray whose trials only report; one trial's process dies once."""

import os
from pathlib import Path
from typing import Any

import ray

from fgd_core.spec.events import Evaluated, RunEvent, RunFinished
from fgd_core.spec.resources import Resources
from fgd_core.spec.results import RunResult
from tests.tuning.function_trials import Memory, scores, sweep
from workers.tuning.driver import Driver
from workers.tuning.tune_executor import TuneExecutor

EPOCHS = 4
SPACE = {"method.scale": {"type": "choice", "values": [0.1, 0.2, 0.3, 0.4]}}
DIES = 0.2
"""The scale of the trial whose process dies once."""


class Trial:
    """Reports its epochs; the marker of an epoch is a file, as a checkpoint would be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, spec: Any, context: Any) -> RunFinished:
        print("runs in", Path.cwd(), flush=True)
        (self._folder / "trials_ran_in").write_text(str(Path.cwd()))
        notes = self._folder / f"{spec.method.scale}"
        done = len(notes.read_text()) if notes.exists() else 0
        for epoch in range(done + 1, EPOCHS + 1):
            if context.should_stop():
                return RunFinished(outcome="stopped")
            context.emit(Evaluated(epoch=epoch, step=epoch, scores=scores(spec.method.scale * epoch)))
            with notes.open("a") as file:
                file.write("x")
            context.wait_for_verdict()
            if spec.method.scale == DIES and epoch == 2 and done == 0:
                os._exit(1)
        result = RunResult(
            scores=scores(spec.method.scale * EPOCHS), num_parameters=1, images_per_s=1.0, num_images=1, device="cpu"
        )
        return RunFinished(outcome="succeeded", result=result)


class Context(Memory):
    """Stops the sweep after a number of events."""

    def __init__(self, folder: Path, stop_after: int | None) -> None:
        super().__init__(folder)
        self._stop_after = stop_after

    def emit(self, event: RunEvent) -> None:
        super().emit(event)
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(event.model_dump_json() + "\n")

    def should_stop(self) -> bool:
        return self._stop_after is not None and len(self.events) >= self._stop_after


def run(path: str, *, stop_after: int | None = None, cpus: int = 1) -> None:
    """Run the sweep on the cluster of which this process is a job, and print its outcome."""
    folder = Path(path)
    spec = sweep(
        SPACE,
        epochs=EPOCHS,
        searcher={"type": "grid"},
        scheduler={"type": "none"},
        budget={"trials": 4},
        baselines=False,
        concurrent_trials=2,
        shared_teacher="off",
    )
    ray.init(address="auto")
    context = Context(folder, stop_after)
    context.attempt = 1
    executor = TuneExecutor(Trial(folder), Resources(cpus=cpus), name=folder.name, max_trials=2)
    finished = Driver(spec, context, context.study(0)).run(executor)
    (folder / "driver_ran_in").write_text(str(Path.cwd()))
    print("outcome", finished.outcome)
