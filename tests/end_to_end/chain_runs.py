"""Runs chains through the whole system, and kills them."""

import os
import shutil
import signal
from pathlib import Path

from whole import distill, wait_for, wait_for_event

from fgd_core.spec.kinds.chain import ChainSpec, Stage
from service.client.client import FgdClient

EPOCHS = 6
"""Of each stage: enough that the kill comes before the stage ends."""
TRACE_ID, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
"""The trace within which the tests of traces request a chain, and the span of the caller."""


def chain(teacher: str, epochs: int = EPOCHS) -> ChainSpec:
    """Return a chain of two stages, whose teachers are the same."""
    alone = distill(teacher, epochs)
    return ChainSpec(
        name="tiny chain",
        student=alone.student,
        stages=(Stage(teacher=alone.teacher), Stage(teacher=alone.teacher)),
        method=alone.method,
        inherit="nothing",
        data=alone.data,
        input=alone.input,
        # `last.pt` after each step: a kill within an epoch must go on within it, too.
        training=alone.training.model_copy(update={"checkpoint_every_s": 0.0}),
    )


def run(client: FgdClient, spec: ChainSpec, folder: Path, *, kill_in: str = "", node: Path | None = None) -> str:
    """Run a chain, kill it in a stage, and download its files; returns the id of the job.

    Args:
        node: folder with the scratch folders of runs; a killed run loses its own.
    """
    job_id = client.submit(spec).job_id
    if kill_in:
        pid = wait_for_event(client, job_id, "run_started").data["pid"]
        started = next(event for event in client.events(job_id) if event.data.get("stage") == kill_in)
        wait_for_event(client, job_id, "epoch_finished", after=started.sequence)
        os.kill(pid, signal.SIGKILL)
        for scratch in [*node.glob(f"fgd-{job_id}-*")] if node is not None else []:
            shutil.rmtree(scratch)
    job = wait_for(client, job_id, lambda job: job.ended_at is not None, timeout_s=400)
    assert job.state == "succeeded", job.error
    assert len(job.attempts) == (2 if kill_in else 1)
    for artifact in job.artifacts:
        target = folder / artifact.name
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_artifact(job_id, artifact.name, target)
    return job_id
