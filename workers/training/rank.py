"""What each worker of a group does: it runs the spec, and rank 0 reports to the group's actor."""

import platform
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train
from ray.exceptions import RayActorError

from fgd_core.errors import FgdError
from fgd_core.spec.events import RunEvent, RunFinished, TrainingWorker
from fgd_core.spec.results import ErrorReport
from workers.files.scratch import Scratch
from workers.files.workspace import Workspace
from workers.remote.context import RemoteContext
from workers.remote.workspace import Node
from workers.training.ends import RankError, speaks_of_lost_peer
from workers.training.task import GroupTask

_POLL_S = 1.0
_NOTICE_S = 5.0
"""How long a worker that cannot reach another one waits before it fails too: Ray then first notices which one died."""


def work(task: GroupTask, actor: Any) -> None:
    """Run the task as one of its workers. Ray Train calls this in each, inside their process group.

    Args:
        actor: the handle of the group's `GroupActor`.
    Raises:
        RankError: the run failed.
    """
    rank = train.get_context().get_world_rank()
    ray.get(actor.join.remote(_describe(rank)))
    node = Node()
    try:
        finished = _lead(task, actor, node) if rank == 0 else _follow(task, node)
    except FgdError as error:
        finished = RunFinished(outcome="failed", error=ErrorReport.of(error))
    finally:
        node.close()
    if finished.error is not None:
        if speaks_of_lost_peer(finished.error):
            time.sleep(_NOTICE_S)
        raise RankError(finished.error)


def _describe(rank: int) -> TrainingWorker:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return TrainingWorker(rank=rank, host=socket.gethostname(), pid=getpid(), device=device)


def _lead(task: GroupTask, actor: Any, node: Node) -> RunFinished:
    context = task.context()
    try:
        with _reporting(context, actor):
            finished = _run_first(task, context, node)
            context.emit(finished)
        return finished
    finally:
        context.close()


def _run_first(task: GroupTask, context: RemoteContext, node: Node) -> RunFinished:
    try:
        if not context.open(node):
            return RunFinished(outcome="stopped")
    except FgdError as error:
        return RunFinished(outcome="failed", error=ErrorReport.of(error))
    return task.execute(task.spec, context)


@contextmanager
def _reporting(context: RemoteContext, actor: Any) -> Iterator[None]:
    """Send the context's updates and receive verdicts, in threads, until the final update was sent."""
    sender = threading.Thread(target=_send, args=(context, actor), name="fgd-updates", daemon=True)
    threading.Thread(target=_receive, args=(context, actor), name="fgd-verdicts", daemon=True).start()
    sender.start()
    yield
    sender.join()


def _send(context: RemoteContext, actor: Any) -> None:
    # Without the group's actor this process ends too: Ray ends what the actor has started.
    with suppress(RayActorError):
        while True:
            update = context.update(_POLL_S)
            if not update.is_empty:
                ray.get(actor.put.remote(update))
            if update.finished is not None:
                return


def _receive(context: RemoteContext, actor: Any) -> None:
    received = 0
    with suppress(RayActorError):
        while not context.is_finished:
            for verdict in ray.get(actor.verdicts.remote(received, _POLL_S)):
                context.set_verdict(verdict)
                received += 1


def _follow(task: GroupTask, node: Node) -> RunFinished:
    scratch = Scratch(task.name)
    workspace = task.workspace.open(node, warn=_ignore, on_stale=lambda: None)
    try:
        return task.execute(task.spec, _Follower(workspace, scratch.folder))
    finally:
        workspace.close()
        scratch.close()


class _Follower:
    """The context of a rank above 0: it reads checkpoints, and leaves all else to rank 0."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self._workspace, self.job_dir = workspace, folder

    def emit(self, event: RunEvent) -> None:
        return

    def should_stop(self) -> bool:
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return self._workspace.checkpoint(source)


def _ignore(event: RunEvent) -> None:
    return
