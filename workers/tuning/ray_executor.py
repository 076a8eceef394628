"""Runs trials in Ray actors; each actor has the resources of one trial and runs one trial after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from fgd_core.spec.resources import Resources
from fgd_core.spec.trials import Verdict
from workers.tuning.messages import TrialMessage, TrialTask, Update
from workers.tuning.trial_context import Share
from workers.tuning.trial_worker import Execute, TrialWorker

_UPDATE_S = 5.0
"""How long a worker waits for events before it sends an empty update."""

_CLOSE_S = 5.0

_ACTOR: Any = ray.remote(TrialWorker)


@dataclass
class _Slot:
    actor: Any
    ready: ray.ObjectRef[bool]
    """Resolves once the actor has its resources and runs."""
    is_ready: bool = False
    trial: int | None = None
    ticket: int = -1
    pending: list[ray.ObjectRef[Update]] = field(default_factory=list)
    """The outstanding request for an update; at most one."""


class RayExecutor:
    """Makes the actors, and assigns trials to those that are free.

    Args:
        execute: runs a trial; a picklable reference, which the workers resolve.
        share: opens the teacher that trials share.
        name: of the sweep; the Ray dashboard shows it in the names of the actors.
    """

    def __init__(
        self, execute: Execute, resources: Resources, *, name: str, max_workers: int, share: Share | None = None
    ) -> None:
        self._arguments = (execute, share)
        self._max_workers = max_workers
        self._name = name
        self._num_made = self._num_tickets = 0
        self._resources = resources
        self._slots: list[_Slot] = []

    def num_free(self) -> int:
        while len(self._slots) < self._max_workers:
            self._slots.append(self._new_slot())
        waiting = [slot.ready for slot in self._slots if not slot.is_ready]
        if waiting:
            done, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
            for slot in self._slots:
                slot.is_ready = slot.is_ready or slot.ready in done
        return sum(slot.is_ready and slot.trial is None for slot in self._slots)

    def start(self, task: TrialTask, name: str) -> None:
        slot = next(slot for slot in self._slots if slot.is_ready and slot.trial is None)
        slot.trial, slot.ticket = task.trial, self._num_tickets
        self._num_tickets += 1
        slot.actor.run.options(name=name).remote(slot.ticket, task)
        slot.pending = [slot.actor.update.remote(slot.ticket, _UPDATE_S)]

    def messages(self, timeout_s: float) -> Sequence[TrialMessage]:
        requests = {slot.pending[0]: slot for slot in self._slots if slot.pending}
        starting = [slot.ready for slot in self._slots if not slot.is_ready]
        if not requests and not starting:
            return []
        done, _ = ray.wait([*requests, *starting], num_returns=1, timeout=timeout_s)
        if done:
            # All answers that have arrived by now.
            done, _ = ray.wait([*requests, *starting], num_returns=len(requests) + len(starting), timeout=0)
        found = [self._read(requests[each], each) for each in done if each in requests]
        return sorted(found, key=lambda each: each.trial)

    def send_verdict(self, trial: int, verdict: Verdict) -> None:
        slot = self._slot(trial)
        slot.actor.set_verdict.remote(slot.ticket, verdict)

    def stop(self, trial: int) -> None:
        slot = self._slot(trial)
        slot.actor.stop.remote(slot.ticket)

    def close(self) -> None:
        closing = [slot.actor.close.remote() for slot in self._slots if slot.is_ready]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []

    def _read(self, slot: _Slot, answer: ray.ObjectRef[Update]) -> TrialMessage:
        trial = slot.trial
        assert trial is not None
        try:
            update = ray.get(answer)
        except RayError as error:
            if not isinstance(error, RayActorError):
                ray.kill(slot.actor)
            self._slots.remove(slot)
            return TrialMessage(trial, None, f"{type(error).__name__}: {error}".splitlines()[0])
        if update.finished is None:
            slot.pending = [slot.actor.update.remote(slot.ticket, _UPDATE_S)]
        else:
            slot.trial, slot.pending = None, []
        return TrialMessage(trial, update)

    def _new_slot(self) -> _Slot:
        actor = _ACTOR.options(
            name=f"{self._name} worker {self._num_made}",
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus,
            # Threads: one runs the trial, one waits for an update, and one delivers a verdict or a stop.
            max_concurrency=4,
        ).remote(*self._arguments)
        self._num_made += 1
        return _Slot(actor, actor.ready.remote())

    def _slot(self, trial: int) -> _Slot:
        return next(slot for slot in self._slots if slot.trial == trial)
