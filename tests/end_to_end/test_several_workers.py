"""Jobs that train in two processes each, launched by Ray Train through the whole system.

`test_through_server` has a sweep whose trials do. `make test` runs none of them: `tests/cluster/test_group.py` has a
trial, an error and a growing training with two workers.
"""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from chain_runs import chain
from whole import (
    all_events,
    endless,
    succeeded,
    wait_for,
    wait_for_event,
)

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.ranks import rank
from fgd_core.runs import execute
from fgd_core.spec.events import RunFinished, StoredEvent
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.resources import Resources
from service.client.client import FgdClient
from tests.library import RecordingContext
from tests.ranks.processes import on_ranks
from tests.tiers import slow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

TWO = Resources(workers=2)
STAGES = ["1", "2", "control"]


def pids(started: StoredEvent) -> list[int]:
    return [each["pid"] for each in started.data["workers"]]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@slow("tests/cluster/test_group.py::test_a_group_passes_verdicts")
def test_a_chain_goes_on_after_a_worker_died_and_ends_as_the_same_ranks_do_without_ray(
    client: FgdClient, teacher: str, tmp_path: Path
) -> None:
    spec = chain(teacher, epochs=3).model_copy(update={"resources": TWO})
    job_id = client.submit(spec).job_id
    started = wait_for_event(client, job_id, "workers_started")
    assert len({*pids(started)}) == 2
    second = next(event for event in client.events(job_id) if event.data.get("stage") == "2")
    wait_for_event(client, job_id, "checkpoint_saved", after=second.sequence)
    os.kill(pids(started)[1], signal.SIGKILL)
    job = succeeded(client, job_id)
    [error] = [attempt.error for attempt in job.attempts if attempt.error is not None]
    assert error.code == "lost_run" and "lost a worker: worker 1: ActorDiedError" in error.message
    assert (job.failures, job.losses) == (0, 1)
    assert not any(map(is_running, pids(started))), "the other worker was ended with the group"
    assert [event.data["stage"] for event in all_events(client, job_id) if event.kind == "stage_finished"] == STAGES

    downloaded = tmp_path / "teacher.pt"
    client.download_artifact(teacher.removeprefix("job:").removesuffix("/best"), "best.pt", downloaded)
    assert [each.outcome for each in on_ranks(2, run_alone, spec, downloaded, tmp_path / "alone")] == ["succeeded"] * 2
    for stage in STAGES:
        client.download_artifact(job_id, f"stages/{stage}/best.pt", tmp_path / f"{stage}.pt")
        expected, found = (
            read_checkpoint(path)[0].state
            for path in (tmp_path / f"alone/stages/{stage}/checkpoints/best.pt", tmp_path / f"{stage}.pt")
        )
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def run_alone(spec: ChainSpec, teacher: Path, folder: Path) -> RunFinished:
    return execute(spec, WithTeacher(folder if rank() == 0 else folder / "of rank 1", teacher))


class WithTeacher(RecordingContext):
    """Has one checkpoint, whatever its name."""

    def __init__(self, job_dir: Path, teacher: Path) -> None:
        super().__init__(job_dir)
        self._teacher = teacher

    def resolve_checkpoint(self, source: str) -> Path:
        return self._teacher


@slow("tests/cluster/test_group.py::test_a_group_passes_verdicts")
def test_workers_end_with_their_killed_driver_and_a_cancelled_job_saves(client: FgdClient) -> None:
    job_id = client.submit(endless().model_copy(update={"resources": TWO})).job_id
    driver = wait_for_event(client, job_id, "run_started").data["pid"]
    started = wait_for_event(client, job_id, "workers_started")
    saved = wait_for_event(client, job_id, "checkpoint_saved")
    os.kill(driver, signal.SIGKILL)
    deadline_s = time.monotonic() + 120
    while any(map(is_running, pids(started))):
        assert time.monotonic() < deadline_s, "workers outlived their driver"
        time.sleep(0.2)
    resumed = wait_for_event(client, job_id, "resumed", after=saved.sequence)
    assert resumed.data["epoch"] >= saved.data["epoch"]
    client.cancel(job_id)
    job = wait_for(client, job_id, lambda job: job.state == "cancelled")
    assert [attempt.cause for attempt in job.attempts] == ["lost", "stopped"]
