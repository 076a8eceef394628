"""Jobs and trials that train in two processes each, launched by Ray Train through the whole system."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from whole import (
    Whole,
    all_events,
    distill,
    endless,
    last_weights,
    succeeded,
    train,
    wait_for,
    wait_for_event,
)

from fgd_core.spec.dimensions import Choice
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.search import Budget, Grid, RunAll
from service.client.client import FgdClient

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]

TWO = Resources(workers=2)


def by_two(spec: TrainSpec, name: str) -> TrainSpec:
    return spec.model_copy(update={"resources": TWO, "name": name})


def pids(started: StoredEvent) -> list[int]:
    return [each["pid"] for each in started.data["workers"]]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_job_goes_on_after_a_worker_died_and_ends_as_an_undisturbed_one(whole: Whole, client: FgdClient) -> None:
    calm = client.submit(by_two(train(epochs=30), "calm")).job_id
    disturbed = client.submit(by_two(train(epochs=30), "disturbed")).job_id
    started = wait_for_event(client, disturbed, "workers_started")
    assert len({*pids(started)}) == 2
    wait_for_event(client, disturbed, "checkpoint_saved")
    os.kill(pids(started)[1], signal.SIGKILL)
    one, other = succeeded(client, calm), succeeded(client, disturbed)
    assert [(attempt.cause, attempt.error.code) for attempt in other.attempts[:-1] if attempt.error] == [
        ("failed", "lost_run")
    ]
    assert (other.failures, other.losses) == (0, 1)
    assert not any(map(is_running, pids(started))), "the other worker was ended with the group"
    resumed = [event for event in all_events(client, disturbed) if event.kind == "resumed"]
    assert len(resumed) == 1
    expected, found = last_weights(whole, one), last_weights(whole, other)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_workers_end_with_their_killed_driver_and_a_cancelled_job_saves(client: FgdClient) -> None:
    job_id = client.submit(by_two(endless(), "endless")).job_id
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


def test_each_trial_of_a_sweep_trains_in_two_processes(apart: Whole, apart_teacher: str) -> None:
    """Its files go through the control plane."""
    spec = SweepSpec(
        name="by two",
        base=distill(apart_teacher),
        space={"method.scale": Choice(values=(0.05, 0.1))},
        searcher=Grid(),
        scheduler=RunAll(),
        budget=Budget(trials=2),
        resources=TWO,
        baselines=False,
    )
    with apart.client() as client:
        sweep = succeeded(client, client.submit(spec).job_id)
        events = all_events(client, sweep.job_id)
    ends = [event.data["cause"] for event in events if event.kind == "trial_ended"]
    assert ends == ["completed", "completed"]
    inner = [event.data["event"] for event in events if event.kind == "trial_event"]
    assert [len(event["workers"]) for event in inner if event["kind"] == "workers_started"] == [2, 2]
    assert "best.pt" in {artifact.name for artifact in sweep.artifacts}
