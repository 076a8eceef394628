"""Jobs that differ only in the seed: which they are, and their mean with its interval."""

import math
from typing import Any

import pytest
from control_plane import ControlPlane, train_spec
from scipy.stats import t
from sqlalchemy import update

from fgd_core.spec.seed_groups import seed_group
from service.jobs.seed_scores import summarize, t_quantile
from service.store import seed_groups
from service.store.tables import Job


class TestScores:
    def test_the_quantile_is_that_of_student(self) -> None:
        for degrees in (1, 2, 3, 4, 19, 30, 199):
            assert t_quantile(degrees) == pytest.approx(t.ppf(0.975, degrees), rel=1e-12)

    def test_the_interval_is_that_of_the_mean(self) -> None:
        found = summarize([0.1, 0.2, 0.4])
        assert found is not None
        low, high = t.interval(0.95, 2, loc=found.mean, scale=math.sqrt(0.07 / 3 / 3))
        assert (found.n, found.mean, found.std) == (3, pytest.approx(0.7 / 3), pytest.approx(math.sqrt(0.07 / 3)))
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))

    def test_one_run_has_no_interval(self) -> None:
        found = summarize([0.5])
        assert found is not None
        assert (found.n, found.mean, found.std, found.low, found.high) == (1, 0.5, None, None, None)
        assert summarize([]) is None


class TestDigest:
    def test_only_the_seed_the_name_and_the_scheduling_may_differ(self) -> None:
        spec = train_spec(seed=1) | {"resources": {"cpus": 1}}
        for same in (
            {"seed": 2},
            {"name": "other"},
            {"priority": 3},
            {"preemptible": True},
            {"retry": {"failures": 2}},
        ):
            assert seed_group(spec | same) == seed_group(spec)
        for other in ({"training": {"batch_size": 4}}, {"project": "other"}, {"data": {"type": "shapes", "seed": 2}}):
            assert seed_group(spec | other) != seed_group(spec)

    def test_a_check_of_the_data_between_two_runs_changes_nothing(self) -> None:
        resolved = {"dataset_id": "1", "fingerprints": None}
        first = {"data": {"type": "registered", "resolved": resolved}}
        second = {"data": {"type": "registered", "resolved": resolved | {"fingerprints": {"train": "a"}}}}
        assert seed_group(first) == seed_group(second)


async def groups(plane: ControlPlane, **query: Any) -> list[dict[str, Any]]:
    """Return the groups of all pages."""
    found: list[dict[str, Any]] = []
    while query.get("cursor", "") is not None:
        answer = await plane.http.get("/v1/seed-groups", params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        query["cursor"] = answer.json()["next_cursor"]
    return found


@pytest.fixture
async def runs(plane: ControlPlane) -> list[str]:
    """Ids: seeds 0, 1 and 2 of a configuration, between them another one, and at last seed 3 of the first."""
    specs = [*(train_spec(seed=seed) for seed in (0, 1)), train_spec(name="other", training={"batch_size": 2})]
    job_ids = []
    for spec in (*specs, train_spec(seed=2), train_spec(seed=3, name="again")):
        job_ids.append(await plane.submit(spec))
        plane.clock.forward(1)
    for job_id, ap in zip(job_ids, (0.1, 0.2, 0.9, 0.4), strict=False):
        await set_columns(plane, job_id, state="succeeded", best_ap=ap)
    await set_columns(plane, job_ids[4], state="running", best_ap=0.7)
    return job_ids


async def set_columns(plane: ControlPlane, job_id: str, **values: Any) -> None:
    async with plane.services.database.writing() as session:
        await session.execute(update(Job).where(Job.id == job_id).values(values))


class TestGroups:
    async def test_a_group_has_its_runs_and_the_mean_of_those_that_succeeded(
        self, plane: ControlPlane, runs: list[str]
    ) -> None:
        first, other = await groups(plane)
        assert (first["name"], first["num_jobs"], first["seeds"]) == ("again", 4, [0, 1, 2, 3])
        assert first["job_ids"] == [runs[number] for number in (4, 3, 1, 0)]
        assert first["states"] == {"succeeded": 3, "running": 1}
        assert (first["best_ap"]["n"], first["best_ap"]["mean"]) == (3, pytest.approx(0.7 / 3))
        assert (other["name"], other["best_ap"]["n"], other["best_ap"]["low"]) == ("other", 1, None)

    async def test_each_group_is_on_one_page_only(
        self, plane: ControlPlane, runs: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = await groups(plane)
        assert await groups(plane, limit=1) == whole
        monkeypatch.setattr(seed_groups, "_EXAMINED", 1)
        assert await groups(plane) == whole

    async def test_only_the_selected_jobs_count(self, plane: ControlPlane, runs: list[str]) -> None:
        assert [group["num_jobs"] for group in await groups(plane, state="running")] == [1]
        assert await groups(plane, project="nobody") == []

    async def test_the_jobs_of_a_group_are_a_list(self, plane: ControlPlane, runs: list[str]) -> None:
        group = (await groups(plane))[0]["group"]
        answer = await plane.http.get("/v1/jobs", params={"seed_group": group, "sort": "-best_ap"})
        items = answer.json()["items"]
        assert [job["job_id"] for job in items] == [runs[number] for number in (4, 3, 1, 0)]
        assert [(job["seed"], job["seed_group"]) for job in items] == [(seed, group) for seed in (3, 2, 1, 0)]

    async def test_a_job_of_an_older_server_is_a_group_of_its_own(self, plane: ControlPlane, runs: list[str]) -> None:
        for job_id in runs[:2]:
            await set_columns(plane, job_id, seed_group=None)
        assert [(group["group"] is None, group["num_jobs"]) for group in await groups(plane)] == [
            *((False, 2), (False, 1)),
            *((True, 1), (True, 1)),
        ]
