"""Trials under Ray Tune on a real Ray: reports, a process that dies, and a sweep that is stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter
from runs import end_of, submission

from fgd_core.spec.events import RunEvent
from service.dispatcher.cluster import RayCluster
from service.dispatcher.local import LocalRay
from tests.tiers import slow

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
EVENT: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)


@dataclass(frozen=True)
class Ended:
    """A sweep that has ended, on the cluster of these tests."""

    submission_id: str
    log: str
    events: list[Any]

    def of(self, kind: str, trial: int) -> list[Any]:
        return [event for event in self.events if event.kind == kind and event.trial == trial]


async def run_sweep(cluster: RayCluster, folder: Path, options: str = "", *, outcome: str) -> Ended:
    """Run the sweep as a Ray job."""
    code = (
        f"from pathlib import Path; from tests.cluster import tune_sweep; tune_sweep.run(Path('{folder}'), {options})"
    )
    run = submission(code, cpus=0, PYTHONPATH=str(ROOT), FGD_SCRATCH=str(folder / "scratch"))
    await cluster.submit(run)
    ended = await end_of(cluster, run.submission_id)
    log = str(await cluster.logs(run.submission_id))
    assert ended.status == "SUCCEEDED", log
    assert f"outcome {outcome}" in log
    events = [EVENT.validate_json(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return Ended(run.submission_id, log, events)


async def shown(head: LocalRay, what: str, sweep: Ended) -> list[dict[str, Any]]:
    """Return the sweep's rows of one of the lists on Ray's dashboard."""
    headers = {"Authorization": f"Bearer {head.token}"}
    async with httpx.AsyncClient(base_url=await head.start(), headers=headers, timeout=60) as http:
        job = (await http.get(f"/api/jobs/{sweep.submission_id}")).json()
        answer = await http.get(f"/api/v0/{what}", params={"detail": 1, "limit": 10_000})
    rows: list[dict[str, Any]] = answer.json()["data"]["result"]["result"]
    return [row for row in rows if row["job_id"] == job["job_id"]]


async def test_a_trial_whose_process_dies_goes_on_in_another_one(
    cluster: RayCluster, head: LocalRay, tmp_path: Path
) -> None:
    abandoned = tmp_path / "scratch" / "fgd-tune-of-a-killed-driver"
    abandoned.mkdir(parents=True)
    (abandoned / "scratch.lock").touch()
    sweep = await run_sweep(cluster, tmp_path, outcome="succeeded")
    for trial in range(4):
        assert [event.epoch for event in sweep.of("trial_reported", trial)] == [1, 2, 3, 4]
        # Events reach the driver before the report that follows them.
        inner = [event.event["epoch"] for event in sweep.of("trial_event", trial)]
        assert inner == [1, 2, 3, 4]
    dying = next(
        event.trial for event in sweep.events if event.kind == "trial_started" and event.values["method.scale"] == 0.2
    )
    assert [event.cause for event in sweep.of("trial_ended", dying)] == ["lost", "completed"]
    assert "ActorDied" in sweep.of("trial_ended", dying)[0].error.message
    assert [event.is_resumed for event in sweep.of("trial_started", dying)] == [False, True]
    others = set(range(4)) - {dying}
    assert all([event.cause for event in sweep.of("trial_ended", trial)] == ["completed"] for trial in others)
    # A relative path in the spec means the same to the driver and to a trial.
    assert (tmp_path / "trials_ran_in").read_text() == (tmp_path / "driver_ran_in").read_text()
    assert list((tmp_path / "scratch").iterdir()) == []
    await check_names(head, sweep)


async def check_names(head: LocalRay, sweep: Ended) -> None:
    """Check that people who read Ray's dashboard find each trial, with its values."""
    titles = {
        f"trial {event.trial} (scale {event.values['method.scale']})"
        for event in sweep.events
        if event.kind == "trial_started"
    }
    actors = [actor for actor in await shown(head, "actors", sweep) if "later ones" in actor["repr_name"]]
    assert len(actors) >= 2 and {actor["class_name"] for actor in actors} == {"TrialActor"}
    assert {actor["repr_name"].removesuffix(" and later ones") for actor in actors} <= titles
    ids = {actor["actor_id"] for actor in actors}
    calls = [task for task in await shown(head, "tasks", sweep) if task["actor_id"] in ids]
    assert titles <= {call["name"] for call in calls}
    assert any(f"({title} pid=" in sweep.log for title in titles)


@slow("tests/cluster/test_tune_executor.py::test_a_trial_whose_process_dies")
async def test_a_stopped_sweep_ends_while_a_trial_waits_for_its_slot(cluster: RayCluster, tmp_path: Path) -> None:
    # Each trial needs both CPUs: the second one waits until the sweep is stopped.
    sweep = await run_sweep(cluster, tmp_path, "cpus=2, stop_after=4", outcome="stopped")
    started = [event.trial for event in sweep.events if event.kind == "trial_started"]
    assert started == [0, 1]
    assert not sweep.of("trial_reported", 1)
    # The next attempt resumes both.
    assert not [event for event in sweep.events if event.kind == "trial_ended"]
