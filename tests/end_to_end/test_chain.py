"""A chain through the whole system: one job, which a kill does not change, with one report."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from whole import Whole, all_events, distill, running, train, wait_for, wait_for_event

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.spec.kinds.chain import ChainSpec, Stage
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from service.client.client import FgdClient

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

EPOCHS = 12
"""Of each stage: enough that the kill comes before the stage ends."""


def chain(*teachers: str) -> ChainSpec:
    alone = distill(teachers[0], epochs=EPOCHS)
    return ChainSpec(
        name="tiny chain",
        student=alone.student,
        stages=tuple(Stage(teacher=alone.teacher.model_copy(update={"checkpoint": each})) for each in teachers),
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


@pytest.fixture(scope="module")
def apart() -> Iterator[Whole]:
    with running(FGD_RUN_FILES="through_server") as whole:
        yield whole


class TestChain:
    def test_a_chain_that_is_killed_in_its_second_stage_ends_as_an_undisturbed_one(
        self, client: FgdClient, tmp_path: Path
    ) -> None:
        spec = chain(*(f"job:{client.submit(train()).job_id}/best" for _ in range(2)))
        killed = run(client, spec, tmp_path / "killed", kill_in="2")
        undisturbed = run(client, spec, tmp_path / "undisturbed")
        for name in ("best.pt", "stages/1/best.pt", "stages/2/best.pt", "stages/control/best.pt"):
            ours, theirs = (read_checkpoint(tmp_path / each / name)[0] for each in ("killed", "undisturbed"))
            assert ours.record == theirs.record
            assert all(torch.equal(ours.state[key], theirs.state[key]) for key in ours.state)

        events = all_events(client, killed)
        assert [event.sequence for event in events] == [*range(1, len(events) + 1)]
        finished = [event.data["stage"] for event in events if event.kind == "stage_finished"]
        assert finished == ["1", "2", "control"]
        report = client.report(killed).jobs[0]
        assert [stage.stage for stage in report.stages] == finished
        assert report.result is not None
        assert b"Stages of tiny chain" in client.report_as("html", killed)

        best = EvaluateSpec(name="scored", checkpoint=f"job:{undisturbed}/best", data=spec.data)
        scored = wait_for(client, client.submit(best).job_id, lambda job: job.ended_at is not None)
        assert scored.result is not None and report.result.scores == scored.result.scores

    def test_a_chain_that_lost_its_node_goes_on_from_its_uploads(self, apart: Whole, tmp_path: Path) -> None:
        with apart.client() as client:
            spec = chain(*(f"job:{client.submit(train()).job_id}/best" for _ in range(2)))
            job_id = run(client, spec, tmp_path, kill_in="2", node=apart.home / "scratch")
            finished = [event.data["stage"] for event in all_events(client, job_id) if event.kind == "stage_finished"]
        assert finished == ["1", "2", "control"]
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.pt")}
        assert names == {"best.pt", "stages/1/best.pt", "stages/2/best.pt", "stages/control/best.pt"}
