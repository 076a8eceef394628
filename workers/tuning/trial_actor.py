"""The actor that runs trials for Ray Tune.

Each actor of a sweep loads this module before its first trial. So it must not load the modules of the driver: the study
loads Optuna and SciPy, which takes a second.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import ray
from ray.tune import Trainable

from fgd_core.spec.trials import Verdict
from workers.tuning.messages import TrialTask
from workers.tuning.trial_worker import Worker

Result: TypeAlias = dict[str, Any]
"""What Tune carries from an actor's step to the driver; also the configuration of a trial."""

_UPDATE_S = 1.0
"""How long a step waits for events before it returns an empty update; so long a request to stop may wait."""

_ACTOR_NAME = ":actor_name:"
"""Ray puts the rest of such a line of an actor's output before the lines that follow."""


@dataclass(frozen=True)
class Segment:
    """The configuration of a Tune trial; its text is short, because Tune puts it into names."""

    task: TrialTask

    def __str__(self) -> str:
        return f"{self.task.trial}.{self.task.segment}"

    __repr__ = __str__

    def __deepcopy__(self, memo: dict[int, object]) -> "Segment":
        # Tune copies configurations often; this one never changes.
        return self


class TrialActor(Trainable):
    """Runs the segments that Tune gives it, one after the other; each step returns what has happened meanwhile.

    A segment begins with its first step, because Tune may set an actor up for a trial and then give the trial to
    another actor that has become free: the segment must not run twice.

    Tune asks for the next step once the driver has recorded the step before. So the next step is itself the verdict
    `continue`, unless another verdict came first: a message less for each evaluation.
    """

    def setup(self, config: Result, worker: Callable[[], Worker]) -> None:  # type: ignore[override]
        self._worker = worker()
        self._first: TrialTask = config["segment"].task
        self._coming: TrialTask | None = self._first
        self._awaits_verdict = False

    def reset_config(self, new_config: Result) -> bool:
        self._worker.end()
        self._coming = new_config["segment"].task
        return True

    def step(self) -> Result:
        first: Result = {}
        if self._coming is not None:
            _name_log(self._coming.title)
            self._worker.begin(self._coming)
            self._coming = None
            # Once: the handle of an actor is costly to send and to receive.
            first = {"actor": ray.get_runtime_context().current_actor}
        elif self._awaits_verdict:
            self.set_verdict("continue")
        update = self._worker.update(_UPDATE_S)
        self._awaits_verdict = update.report is not None
        return {"update": update, "done": update.finished is not None, **first}

    def set_verdict(self, verdict: Verdict) -> None:
        """Pass on the verdict for which the trial waits."""
        self._awaits_verdict = False
        self._worker.set_verdict(verdict)

    def runs(self) -> None:
        """Do nothing; called under the name of each trial, because Ray shows the calls of an actor by their names."""

    def cleanup(self) -> None:
        self._worker.close()

    def __repr__(self) -> str:
        # Ray asks once, after the start, and shows the answer as long as the actor lives.
        return f"{self._first.title} and later ones"


def _name_log(title: str) -> None:
    """Make Ray put the trial's name before the lines that this process prints; they appear in the sweep's log."""
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"{_ACTOR_NAME}{title}\n")
        stream.flush()
