"""The driver of a job with several workers: it starts the group, emits its events, and passes on requests to stop."""

import math
import time
from functools import partial
from typing import Protocol

from fgd_core.errors import LostRunError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunFinished, Warned
from fgd_core.spec.jobs import JobSpec
from fgd_core.training.context import RunContext
from workers.files.server_files import ServerFiles
from workers.remote import workspace
from workers.remote.connection import connected
from workers.remote.context import RemoteContext
from workers.remote.imported import Imported
from workers.remote.workspace import RemoteWorkspace, ServerRemoteWorkspace
from workers.training import sizes
from workers.training.ends import WorkerLostError
from workers.training.group import Group
from workers.training.task import GroupTask

_UPDATE_S = 1.0
"""So long a request to stop may wait."""
_PROBE_S = 1.0


class DriverContext(RunContext, Protocol):
    """The context of a driver: it also describes where the job's files are."""

    assignment: Assignment
    server_files: ServerFiles | None


def run(spec: JobSpec, context: DriverContext) -> RunFinished:
    """Run a job in several workers on the Ray cluster of which this process is a job.

    Raises:
        LostRunError: a worker died. The control plane starts the job again, from its newest checkpoint, as long as
            `retry.losses` allows; the new attempt has a folder of its own, in which no old worker can write.
        FgdError: a checkpoint that the spec names does not exist.
    """
    with connected(context.assignment.job_id):
        return drive(spec, context)


def drive(spec: JobSpec, context: DriverContext, *, grow_every_s: float = 60.0) -> RunFinished:
    """As `run`, from a process that is connected to Ray.

    Args:
        grow_every_s: how often a group that is smaller than it may be looks whether there is room for a larger one.
    """
    while (size := sizes.choose(spec, context.should_stop)) is not None:
        driver = _Driver(spec, context, size, grow_every_s)
        finished = driver.run()
        if finished is not None:
            return finished
    return RunFinished(outcome="stopped")


class _Driver:
    """Follows one group of workers to its end."""

    def __init__(self, spec: JobSpec, context: DriverContext, size: int, grow_every_s: float) -> None:
        self._spec, self._context, self._size, self._grow_every_s = spec, context, size, grow_every_s
        self._group = Group(_task(spec, context, size))
        self._is_stopping = self._grows = False
        self._look_s = math.inf

    def run(self) -> RunFinished | None:
        """Return the outcome; None if the group ended only so that a larger one can go on."""
        try:
            finished = self._follow()
            self._group.close()
        except WorkerLostError as error:
            raise LostRunError(f"the job has lost a worker: {error}") from error
        finally:
            self._group.kill()
        return None if self._grows and finished.outcome == "stopped" else finished

    def _follow(self) -> RunFinished:
        while True:
            if self._should_stop():
                self._stop()
            update = self._group.update(_UPDATE_S)
            for event in update.events:
                self._context.emit(event)
            if update.finished is not None:
                return update.finished

    def _should_stop(self) -> bool:
        if self._context.should_stop():
            self._grows = False
            return True
        return self._can_grow()

    def _stop(self) -> None:
        if not self._is_stopping:
            self._group.set_verdict("stop")
            self._is_stopping = True

    def _can_grow(self) -> bool:
        """Check, now and then, whether the cluster has room for more workers; the run then saves and stops."""
        if not self._group.has_started:
            # The room that is free may be that of this group.
            self._look_s = time.monotonic() + self._grow_every_s
        elif not self._grows and time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + self._grow_every_s
            self._grows = self._has_room_for_more()
        return self._grows

    def _has_room_for_more(self) -> bool:
        more = [size - self._size for size in sizes.sizes(self._spec) if size > self._size]
        if not any(sizes.has_room(self._spec.resources, each, _PROBE_S) for each in more):
            return False
        message = f"there is room for more than {self._size} workers; the run saves, and goes on with more"
        self._context.emit(Warned(code="group_grows", message=message))
        return True


def _task(spec: JobSpec, context: DriverContext, size: int) -> GroupTask:
    folder = _workspace(spec, context)
    return GroupTask(
        name=f"{spec.name} {context.assignment.job_id}",
        spec=spec,
        num_workers=size,
        workspace=folder,
        context=partial(RemoteContext, folder),
        execute=Imported("fgd_core.runs", "execute"),
    )


def _workspace(spec: JobSpec, context: DriverContext) -> RemoteWorkspace:
    assignment = context.assignment
    if context.server_files is None:
        return workspace.shared(context.job_dir, spec, context.resolve_checkpoint)
    return ServerRemoteWorkspace(context.server_files, assignment.job_id, assignment.number)
