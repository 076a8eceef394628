"""Lists of jobs, audit entries and events: complete over all pages, whatever a page examines."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
from control_plane import ControlPlane, scores, train_spec
from sqlalchemy import select, text, update
from test_studies import gain_spec

from fgd_core.spec.views import JobSort
from service.store import all_events, bounded_lists
from service.store.all_events import BEGINNING, Filter
from service.store.job_filter import ORDERS
from service.store.tables import Job

NAMES = ["Street Signs 1", "street signs 2", "cells", "Zellkerne", "a_b", "axb", "and OR not", "v1.5"]


@pytest.fixture(params=[2, 5_000], ids=["few are examined", "all are examined"])
def examined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """With few, later jobs are found through the index or on later pages."""
    monkeypatch.setattr(bounded_lists, "EXAMINED", request.param)
    return int(request.param)


async def pages(plane: ControlPlane, path: str, **query: Any) -> list[list[dict[str, Any]]]:
    """Return the items of each page."""
    found, cursor = [], None
    while not found or cursor is not None:
        answer = await plane.http.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["next_cursor"]
    return found


async def names(plane: ControlPlane, **query: Any) -> list[str]:
    return [item["name"] for page in await pages(plane, "/v1/jobs", **query) for item in page]


@pytest.fixture
async def named(plane: ControlPlane) -> ControlPlane:
    """Jobs with `NAMES`, the last one the newest; each second one is of the project `other`."""
    for number, name in enumerate(NAMES):
        await plane.submit(train_spec(name=name, project=("default", "other")[number % 2]))
    return plane


FOUND = {
    "STREET": ["street signs 2", "Street Signs 1"],
    "signs 1": ["Street Signs 1"],
    "ell": ["Zellkerne", "cells"],
    "a_b": ["a_b"],
    " OR ": ["and OR not"],
    "1.5": ["v1.5"],
    'cells" OR "street': [],
    "no job has this name": [],
    "s": ["cells", "street signs 2", "Street Signs 1"],
}
"""Texts, and the names that have them, newest first."""


class TestSearch:
    async def test_finds_all_names_with_the_text(self, named: ControlPlane, examined: int) -> None:
        assert {wanted: await names(named, q=wanted) for wanted in FOUND} == FOUND
        assert {wanted: await names(named, q=wanted, limit=1) for wanted in FOUND} == FOUND

    async def test_a_text_without_a_hit_is_answered_by_the_first_page(self, named: ControlPlane) -> None:
        assert len(await pages(named, "/v1/jobs", q="no job has this name")) == 1

    async def test_finds_the_beginning_of_an_id_and_forgets_deleted_jobs(
        self, named: ControlPlane, examined: int
    ) -> None:
        async with named.services.database.reading() as session:
            job_id = await session.scalar(select(Job.id).where(Job.name == NAMES[0]))
        assert job_id is not None
        assert NAMES[0] in await names(named, q=job_id[:5])
        assert NAMES[0] not in await names(named, q=job_id[1:])
        await named.http.post(f"/v1/jobs/{job_id}/cancel")
        assert (await named.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        assert await names(named, q="street") == ["street signs 2"]

    async def test_without_the_index_all_pages_together_have_the_same_jobs(
        self, named: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not named.services.database.has_one_writer:
            pytest.skip("PostgreSQL always has the index")
        monkeypatch.setattr(bounded_lists, "EXAMINED", 2)
        async with named.services.database.writing() as session:
            for statement in ("DROP TRIGGER job_search_insert", "DROP TRIGGER job_search_delete"):
                await session.execute(text(statement))
            await session.execute(text("DROP TABLE job_search"))
        assert await names(named, q="street") == ["street signs 2", "Street Signs 1"]


QUERIES: list[dict[str, Any]] = [
    {"project": ["default", "other"]},
    {"project": "other", "state": "queued"},
    {"project": "other", "state": ["queued", "failed"], "kind": ["train", "export"]},
    {"project": "other", "q": "ell"},
    {"state": "queued", "q": "cells"},
    {"created_after": "2020-01-01T00:00:00Z", "kind": "train"},
    {"created_before": "2020-01-01T00:00:00Z", "kind": "train"},
    {"project": [f"p{n}" for n in range(20)] + ["other"], "kind": "train"},
]


class TestFilters:
    async def test_pages_have_each_job_once_newest_first(self, named: ControlPlane, examined: int) -> None:
        for query in QUERIES:
            projects = query.get("project", ["default", "other"])
            wanted = [
                name
                for number, name in reversed(list(enumerate(NAMES)))
                if ("default", "other")[number % 2] in projects and query.get("q", "") in name
                if "created_before" not in query
            ]
            assert await names(named, **query, limit=3) == wanted, query
            assert await names(named, **query, limit=100) == wanted, query

    async def test_a_parent_selects_the_runs_of_a_study_and_jobs_made_from_its_spec(
        self, plane: ControlPlane, examined: int
    ) -> None:
        teacher = await plane.submit(train_spec(name="teacher"))
        study = await plane.submit(gain_spec(teacher=teacher, inherit="nothing"))
        copy = await plane.http.post("/v1/jobs", json=train_spec(name="made from it"), params={"parent": study})
        assert copy.status_code == 202
        runs = [f"does it help - {arm} {seed}" for seed in (1, 0) for arm in ("distilled", "plain")]
        assert await names(plane, parent=study, limit=2) == ["made from it", *runs]
        assert await names(plane, parent=study, sort="name") == [*sorted(runs), "made from it"]
        assert await names(plane, parent=study, kind="train") == ["made from it", *runs[1::2]]
        assert await names(plane, parent=teacher) == await names(plane, parent="nobody") == []

    async def test_audit_entries_are_complete_over_all_pages(self, named: ControlPlane, examined: int) -> None:
        for query in ({"action": "submit_job", "project": "other"}, {"target": "jobs", "project": "other"}):
            found = [entry for page in await pages(named, "/v1/audit", **query, limit=1) for entry in page]
            assert len(found) == len(NAMES) // 2
            assert [entry["entry_id"] for entry in found] == sorted((each["entry_id"] for each in found), reverse=True)


SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "created": lambda job: 0,
    "name": lambda job: job["name"].lower(),
    "state": lambda job: job["state"],
    "priority": lambda job: job["priority"],
    "project": lambda job: job["project"],
}
"""What each order compares before the age; names without regard to case."""


@pytest.fixture
async def various(named: ControlPlane) -> list[dict[str, Any]]:
    """The jobs of `named`, oldest first: two are cancelled, some have other priorities, and three have an AP."""
    found = list(reversed(await one_page(named)))
    for number in (1, 4):
        await named.http.post(f"/v1/jobs/{found[number]['job_id']}/cancel")
    for number in (2, 3, 4):
        await named.http.patch(f"/v1/jobs/{found[number]['job_id']}", json={"priority": 7 - number})
    async with named.services.database.writing() as session:
        for number, ap in ((1, 0.25), (5, 0.5), (6, 0.25)):
            job_id = found[number]["job_id"]
            await session.execute(update(Job).where(Job.id == job_id).values(best_ap=ap))
            found[number]["best_ap"] = ap
    changed = {job["job_id"]: job for job in await one_page(named)}
    return [{**changed[job["job_id"]], "best_ap": job.get("best_ap")} for job in found]


async def one_page(plane: ControlPlane) -> list[dict[str, Any]]:
    answer = await plane.http.get("/v1/jobs", params={"limit": 100})
    return list(answer.json()["items"])


class TestOrders:
    async def test_pages_of_each_order_have_each_job_once(
        self, named: ControlPlane, various: list[dict[str, Any]], examined: int
    ) -> None:
        ages = {job["job_id"]: age for age, job in enumerate(various)}
        projects = ({"project": "other"}, {"project": ["other", "default"]}, {"project": "other", "q": "s"})
        for filtered in ({}, {"state": ["queued", "cancelled"]}, {"q": "s"}, *projects):
            wanted = [job["job_id"] for page in await pages(named, "/v1/jobs", **filtered) for job in page]
            jobs = [job for job in various if job["job_id"] in wanted]
            for sort, key in SORTS.items():
                ascending = [job["name"] for job in sorted(jobs, key=lambda job: (key(job), ages[job["job_id"]]))]
                assert await names(named, sort=sort, limit=3, **filtered) == ascending, (sort, filtered)
                assert await names(named, sort=f"-{sort}", limit=3, **filtered) == ascending[::-1], (sort, filtered)

    async def test_jobs_without_an_ap_come_last_in_both_directions(
        self, named: ControlPlane, various: list[dict[str, Any]], examined: int
    ) -> None:
        scored = [NAMES[1], NAMES[6], NAMES[5]]
        others = [name for name in NAMES if name not in scored]
        project_of = {job["name"]: job["project"] for job in various}
        all_projects = list(dict.fromkeys(project_of.values()))
        for filtered in ({}, {"kind": "train"}, *({"project": part} for part in ("other", "none", all_projects))):
            projects = filtered.get("project", all_projects)
            first, last = ([name for name in part if project_of[name] in projects] for part in (scored, others))
            assert await names(named, sort="best_ap", limit=2, **filtered) == first + last
            assert await names(named, sort="-best_ap", limit=2, **filtered) == first[::-1] + last[::-1]
        assert 1 < len(all_projects) < len(various)

    @pytest.mark.parametrize("sort", ["best_ap", "-best_ap"])
    async def test_a_page_has_jobs_with_an_ap_and_others_behind_them(
        self, named: ControlPlane, various: list[dict[str, Any]], sort: str
    ) -> None:
        for limit, sizes in ((2, [2, 2, 2, 2]), (3, [3, 3, 2]), (8, [8])):
            assert [len(page) for page in await pages(named, "/v1/jobs", sort=sort, limit=limit)] == sizes
        # One of two has an AP, and the only one.
        for query, sizes in (("street", [1, 1]), ("or not", [1])):
            assert [len(page) for page in await pages(named, "/v1/jobs", sort=sort, q=query, limit=1)] == sizes

    async def test_the_first_page_has_jobs_if_none_has_an_ap(self, named: ControlPlane) -> None:
        found = await pages(named, "/v1/jobs", sort="best_ap", limit=5)
        assert [job["name"] for page in found for job in page] == NAMES
        assert [len(page) for page in found] == [5, 3]

    async def test_an_evaluation_moves_a_job(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        other = await plane.submit(train_spec())
        await run.reports({"kind": "evaluated", "epoch": 1, "step": 10, "scores": scores(0.5)})
        found = await pages(plane, "/v1/jobs", sort="-best_ap")
        assert [job["job_id"] for page in found for job in page] == [job_id, other]

    async def test_a_cursor_of_another_order_is_refused(self, named: ControlPlane) -> None:
        cursor = (await named.http.get("/v1/jobs?limit=1&sort=name")).json()["next_cursor"]
        for sort in ("-name", "priority", "created"):
            answer = await named.http.get("/v1/jobs", params={"sort": sort, "cursor": cursor})
            assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (422, "bad_cursor")

    def test_the_api_names_all_of_them(self) -> None:
        assert set(get_args(JobSort)) == ORDERS.keys()


class TestAllEvents:
    async def test_a_read_that_examines_few_events_continues_where_it_stopped(
        self, named: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(all_events, "EXAMINED", 3)
        position, found, has_more = BEGINNING, [], True
        async with named.services.database.reading() as session:
            while has_more:
                read = await all_events.since(session, position, Filter(projects=["other"]), limit=100)
                position, has_more = read.end, read.has_more
                found += [placed.event.data["name"] for placed in read.events]
        assert found == NAMES[1::2]

    async def test_events_of_one_job_are_found_among_all(self, named: ControlPlane) -> None:
        job_id = (await pages(named, "/v1/jobs", q="cells"))[0][0]["job_id"]
        wanted = Filter(job_ids=[job_id], kinds=["submitted"])
        async with named.services.database.reading() as session:
            (placed,) = (await all_events.since(session, BEGINNING, wanted, limit=100)).events
        assert placed.event.job_id == job_id
