"""Trials under Ray Tune on a real Ray: reports, a process that dies, and a sweep that is stopped."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from runs import end_of, submission

from fgd_core.spec.events import RunEvent
from service.dispatcher.cluster import RayCluster

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)


async def events_of(cluster: RayCluster, folder: Path, options: str = "", *, outcome: str) -> list[Any]:
    """Run the sweep as a Ray job, and return its events."""
    code = (
        f"from pathlib import Path; from tests.cluster import tune_sweep; tune_sweep.run(Path('{folder}'), {options})"
    )
    run = submission(code, cpus=0, PYTHONPATH=str(ROOT))
    await cluster.submit(run)
    ended = await end_of(cluster, run.submission_id)
    logs = str(await cluster.logs(run.submission_id))
    assert ended.status == "SUCCEEDED", logs
    assert f"outcome {outcome}" in logs
    return [EVENT.validate_json(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def of(events: list[Any], kind: str, trial: int) -> list[Any]:
    return [event for event in events if event.kind == kind and event.trial == trial]


async def test_a_trial_whose_process_dies_goes_on_in_another_one(cluster: RayCluster, tmp_path: Path) -> None:
    events = await events_of(cluster, tmp_path, outcome="succeeded")
    for trial in range(4):
        assert [event.epoch for event in of(events, "trial_reported", trial)] == [1, 2, 3, 4]
        # Events reach the driver before the report that follows them.
        inner = [event.event["epoch"] for event in of(events, "trial_event", trial)]
        assert inner == [1, 2, 3, 4]
    dying = next(
        event.trial for event in events if event.kind == "trial_started" and event.values["method.scale"] == 0.2
    )
    assert [event.cause for event in of(events, "trial_ended", dying)] == ["lost", "completed"]
    assert "ActorDied" in of(events, "trial_ended", dying)[0].error.message
    assert [event.is_resumed for event in of(events, "trial_started", dying)] == [False, True]
    others = set(range(4)) - {dying}
    assert all([event.cause for event in of(events, "trial_ended", trial)] == ["completed"] for trial in others)


async def test_a_stopped_sweep_ends_while_a_trial_waits_for_its_slot(cluster: RayCluster, tmp_path: Path) -> None:
    # Each trial needs both CPUs: the second one waits until the sweep is stopped.
    events = await events_of(cluster, tmp_path, "cpus=2, stop_after=4", outcome="stopped")
    started = [event.trial for event in events if event.kind == "trial_started"]
    assert started == [0, 1]
    assert not of(events, "trial_reported", 1)
    # The next attempt resumes both.
    assert not [event for event in events if event.kind == "trial_ended"]
