"""Lists of jobs, audit entries and events: complete over all pages, whatever a page examines."""

from typing import Any

import pytest
from control_plane import ControlPlane, train_spec
from sqlalchemy import select, text

from service.store import all_events, newest_first
from service.store.all_events import BEGINNING, Filter
from service.store.tables import Job

NAMES = ["Street Signs 1", "street signs 2", "cells", "Zellkerne", "a_b", "axb", "and OR not", "v1.5"]


@pytest.fixture(params=[2, 5_000], ids=["few are examined", "all are examined"])
def examined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """With few, later jobs are found through the index or on later pages."""
    monkeypatch.setattr(newest_first, "EXAMINED", request.param)
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
        monkeypatch.setattr(newest_first, "EXAMINED", 2)
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

    async def test_audit_entries_are_complete_over_all_pages(self, named: ControlPlane, examined: int) -> None:
        for query in ({"action": "submit_job", "project": "other"}, {"target": "jobs", "project": "other"}):
            found = [entry for page in await pages(named, "/v1/audit", **query, limit=1) for entry in page]
            assert len(found) == len(NAMES) // 2
            assert [entry["entry_id"] for entry in found] == sorted((each["entry_id"] for each in found), reverse=True)


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
