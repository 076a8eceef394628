"""Where trials run: Ray actors, each with the resources of one trial, that take one trial after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError

from fgd_core.spec.resources import Resources
from fgd_core.spec.trials import Verdict
from workers.tuning.trial import Execute, Share, TrialWorker, Update, Work

_UPDATE_S = 5.0
"""How long a worker holds an answer back when there is nothing to tell."""

_CLOSE_S = 5.0

_ACTOR: Any = ray.remote(TrialWorker)


@dataclass(frozen=True)
class News:
    trial: int
    update: Update | None
    """None: its worker has died."""
    cause: str = ""


class Executor(Protocol):
    def room(self) -> int:
        """How many more trials could begin now."""
        ...

    def start(self, work: Work, name: str) -> None: ...

    def news(self, timeout_s: float) -> Sequence[News]:
        """What trials have to tell, in the order of their numbers; waits until there is something."""
        ...

    def answer(self, trial: int, verdict: Verdict) -> None: ...

    def stop(self, trial: int) -> None:
        """Ask a trial to save its place and end."""
        ...

    def close(self) -> None: ...


@dataclass
class _Slot:
    actor: Any
    ready: Any
    """Resolves once the actor has its resources and runs."""
    is_ready: bool = False
    trial: int | None = None
    ticket: int = -1
    pending: list[Any] = field(default_factory=list)
    """The one outstanding question for news."""


class RayExecutor:
    """
    Args:
        execute: what runs a trial, made on the driver and sent to the workers by name.
        share: how trials share their teacher.
        name: of the sweep; its workers bear it on the Ray dashboard, and each trial's task the trial's.
    """

    def __init__(
        self, execute: Execute, resources: Resources, *, name: str, max_workers: int, share: Share | None = None
    ) -> None:
        self._arguments = (execute, share)
        self._max_workers = max_workers
        self._name = name
        self._made = self._tickets = 0
        self._resources = resources
        self._slots: list[_Slot] = []

    def room(self) -> int:
        while len(self._slots) < self._max_workers:
            self._slots.append(self._new_slot())
        waiting = [slot.ready for slot in self._slots if not slot.is_ready]
        if waiting:
            done, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            for slot in self._slots:
                slot.is_ready = slot.is_ready or slot.ready in done
        return sum(slot.is_ready and slot.trial is None for slot in self._slots)

    def start(self, work: Work, name: str) -> None:
        slot = next(slot for slot in self._slots if slot.is_ready and slot.trial is None)
        slot.trial, slot.ticket = work.trial, self._tickets
        self._tickets += 1
        slot.actor.run.options(name=name).remote(slot.ticket, work)
        slot.pending = [slot.actor.update.remote(slot.ticket, _UPDATE_S)]

    def news(self, timeout_s: float) -> Sequence[News]:
        asked = {slot.pending[0]: slot for slot in self._slots if slot.pending}
        starting = [slot.ready for slot in self._slots if not slot.is_ready]
        if not asked and not starting:
            return []
        done, _ = ray.wait([*asked, *starting], num_returns=1, timeout=timeout_s)
        if done:
            # Whatever else has come by now.
            done, _ = ray.wait([*asked, *starting], num_returns=len(asked) + len(starting), timeout=0)
        found = [self._read(asked[each], each) for each in done if each in asked]
        return sorted(found, key=lambda each: each.trial)

    def answer(self, trial: int, verdict: Verdict) -> None:
        slot = self._of(trial)
        slot.actor.answer.remote(slot.ticket, verdict)

    def stop(self, trial: int) -> None:
        slot = self._of(trial)
        slot.actor.stop.remote(slot.ticket)

    def close(self) -> None:
        closing = [slot.actor.close.remote() for slot in self._slots if slot.is_ready]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []

    def _read(self, slot: _Slot, answer: Any) -> News:
        trial = slot.trial
        assert trial is not None
        try:
            update: Update = ray.get(answer)
        except RayError as error:
            if not isinstance(error, RayActorError):
                ray.kill(slot.actor)
            self._slots.remove(slot)
            return News(trial, None, f"{type(error).__name__}: {error}".splitlines()[0])
        if update.finished is None:
            slot.pending = [slot.actor.update.remote(slot.ticket, _UPDATE_S)]
        else:
            slot.trial, slot.pending = None, []
        return News(trial, update)

    def _new_slot(self) -> _Slot:
        actor = _ACTOR.options(
            name=f"{self._name} worker {self._made}",
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus,
            # Threads: the trial's own, one that waits for news, one that answers.
            max_concurrency=4,
        ).remote(*self._arguments)
        self._made += 1
        return _Slot(actor, actor.ready.remote())

    def _of(self, trial: int) -> _Slot:
        return next(slot for slot in self._slots if slot.trial == trial)
