"""The driver of a job with several workers: it starts the group, emits its events, and passes on requests to stop."""

import time
from functools import partial

from fgd_core.errors import LostRunError
from fgd_core.spec.events import RunFinished, Warned
from fgd_core.spec.jobs import JobSpec
from workers.remote import workspace
from workers.remote.connection import connected
from workers.remote.context import RemoteContext
from workers.remote.imported import Imported
from workers.remote.workspace import RemoteWorkspace, ServerRemoteWorkspace
from workers.run_context import HttpContext
from workers.training import sizes
from workers.training.ends import WorkerLostError
from workers.training.group import Group
from workers.training.task import GroupTask

_UPDATE_S = 1.0
"""So long a request to stop may wait."""
_GROW_EVERY_S = 60.0


def run(spec: JobSpec, context: HttpContext) -> RunFinished:
    """Run a job in several workers on the Ray cluster of which this process is a job.

    Raises:
        LostRunError: a worker died. The control plane starts the job again, from its newest checkpoint, as long as
            `retry.losses` allows; the new attempt has a folder of its own, in which no old worker can write.
        FgdError: a checkpoint that the spec names does not exist.
    """
    with connected(context.assignment.job_id):
        return _run(spec, context)


def _run(spec: JobSpec, context: HttpContext) -> RunFinished:
    while (size := sizes.choose(spec, context.should_stop)) is not None:
        driver = _Driver(spec, context, size)
        finished = driver.run()
        if finished is not None:
            return finished
    return RunFinished(outcome="stopped")


class _Driver:
    """Follows one group of workers to its end."""

    def __init__(self, spec: JobSpec, context: HttpContext, size: int) -> None:
        self._spec, self._context, self._size = spec, context, size
        self._group = Group(_task(spec, context, size))
        self._is_stopping = self._grows = False
        self._grow_s = time.monotonic()

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
        larger = [size for size in sizes.sizes(self._spec) if size > self._size]
        if larger and not self._grows and time.monotonic() - self._grow_s >= _GROW_EVERY_S:
            self._grow_s = time.monotonic()
            self._grows = any(sizes.has_room(self._spec.resources, size - self._size, 1.0) for size in larger)
            if self._grows:
                message = f"there is room for more than {self._size} workers; the run saves, and goes on with more"
                self._context.emit(Warned(code="group_grows", message=message))
        return self._grows


def _task(spec: JobSpec, context: HttpContext, size: int) -> GroupTask:
    folder = _workspace(spec, context)
    return GroupTask(
        name=f"{spec.name} {context.assignment.job_id}",
        spec=spec,
        num_workers=size,
        workspace=folder,
        context=partial(RemoteContext, folder),
        execute=Imported("fgd_core.runs", "execute"),
    )


def _workspace(spec: JobSpec, context: HttpContext) -> RemoteWorkspace:
    assignment = context.assignment
    if context.server_files is None:
        return workspace.shared(context.job_dir, spec, context.resolve_checkpoint)
    return ServerRemoteWorkspace(context.server_files, assignment.job_id, assignment.number)
