"""The stream of all jobs' events is complete, ordered, and limited to what its reader may see."""

import asyncio
import json
from typing import Any

import pytest
from control_plane import ControlPlane, progress, train_spec
from httpx_sse import ServerSentEvent
from served import served_by

from service.settings.groups import StreamSettings
from service.store import all_events, events
from service.store.all_events import BEGINNING, EVERYTHING, Filter
from service.store.session import Database

pytestmark = pytest.mark.every_database

JSON = {"Accept": "application/json"}


async def page(plane: ControlPlane, query: str = "") -> dict[str, Any]:
    answer = await plane.http.get(f"/v1/events?{query}", headers=JSON)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def places(messages: list[ServerSentEvent]) -> list[tuple[str, int]]:
    found = [json.loads(message.data) for message in messages]
    return [(item["job_id"], item["sequence"]) for item in found]


async def stored(plane: ControlPlane, *job_ids: str) -> list[tuple[str, int]]:
    return sorted([(event.job_id, event.sequence) for job_id in job_ids for event in await plane.events(job_id)])


async def finished(plane: ControlPlane) -> str:
    job_id = await plane.submit(train_spec())
    await plane.http.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


class TestStream:
    async def test_it_starts_now_and_contains_every_job(self, plane: ControlPlane) -> None:
        async with served_by(plane) as served:
            await finished(plane)
            reading = asyncio.create_task(served.messages("/v1/events", at_most=6))
            await served.has_readers(1)
            jobs = [await finished(plane) for _ in range(2)]
            async with asyncio.timeout(60):
                assert sorted(places(await reading)) == await stored(plane, *jobs)

    async def test_it_continues_after_the_last_id_without_gaps_while_runs_write(self, plane: ControlPlane) -> None:
        async with served_by(plane) as served:
            runs = [await plane.started_job() for _ in range(2)]

            async def write() -> None:
                for n in range(15):
                    await asyncio.gather(*(run.reports(*(progress(5 * n + k) for k in range(5))) for _, run in runs))

            async def read() -> list[tuple[str, int]]:
                seen: list[tuple[str, int]] = []
                cursor = "0"
                want = 2 * 75 + len(before)
                while len(seen) < want:
                    at_most = min(17, want - len(seen))
                    messages = await served.messages("/v1/events", headers={"Last-Event-ID": cursor}, at_most=at_most)
                    seen += places(messages)
                    cursor = messages[-1].id
                return seen

            before = await stored(plane, *(job_id for job_id, _ in runs))
            async with asyncio.timeout(60):
                _, seen = await asyncio.gather(write(), read())
            assert len(seen) == len(set(seen))
            assert sorted(seen) == await stored(plane, *(job_id for job_id, _ in runs))
            for job_id, _ in runs:
                sequences = [sequence for id_, sequence in seen if id_ == job_id]
                assert sequences == sorted(sequences)

    async def test_filters_apply_to_live_and_to_past_events(self, plane: ControlPlane) -> None:
        async with served_by(plane) as served:
            first, _ = await finished(plane), await finished(plane)
            query = f"job_id={first}&kind=state_changed&after=0"
            assert places(await served.messages(f"/v1/events?{query}", at_most=1)) == [(first, 3)]
            reading = asyncio.create_task(served.messages("/v1/events?kind=cancel_requested", at_most=1))
            await served.has_readers(1)
            second = await finished(plane)
            async with asyncio.timeout(60):
                assert places(await reading) == [(second, 2)]

    async def test_a_stream_without_matches_still_sends_its_position(self, plane: ControlPlane) -> None:
        plane.services.streams._settings = plane.settings.model_copy(update={"sse": StreamSettings(keep_alive_s=0.05)})
        async with served_by(plane) as served, served.client.stream("GET", "/v1/events?kind=nothing") as response:
            async with asyncio.timeout(60):
                async for line in response.aiter_lines():
                    if line.startswith("id: "):
                        break
            assert (await page(plane, f"after={line.removeprefix('id: ')}"))["items"] == []


class TestPages:
    async def test_the_pages_together_contain_all_events(self, plane: ControlPlane) -> None:
        jobs = [await finished(plane) for _ in range(5)]
        seen: list[tuple[str, int]] = []
        cursor = "0"
        while found := (answer := await page(plane, f"after={cursor}&limit=4"))["items"]:
            seen += [(item["job_id"], item["sequence"]) for item in found]
            cursor = answer["next_cursor"]
        assert sorted(seen) == await stored(plane, *jobs)

    async def test_a_cursor_exists_before_the_first_event(self, plane: ControlPlane) -> None:
        cursor = (await page(plane))["next_cursor"]
        job_id = await finished(plane)
        assert {item["job_id"] for item in (await page(plane, f"after={cursor}"))["items"]} == {job_id}

    @pytest.mark.parametrize("cursor", ["x", "MSBhIDE", "OTk5OTk5OTk5OTk5OTk5OTk5OSBhIDE=", "LTEgJyAx"])
    async def test_an_invalid_cursor_is_rejected(self, plane: ControlPlane, cursor: str) -> None:
        answer = await plane.http.get(f"/v1/events?after={cursor}", headers=JSON)
        assert answer.status_code == 422
        assert answer.json()["reasons"][0]["code"] == "bad_cursor"

    async def test_a_reader_of_one_project_sees_no_other_project(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec(project="mine"))
        await plane.submit(train_spec(project="theirs"))
        async with plane.services.database.reading() as session:
            wanted = Filter(only_project="mine", projects=("mine", "theirs"))
            found = await all_events.since(session, BEGINNING, wanted, limit=100)
        assert {placed.event.job_id for placed in found.events} == {job_id}


class TestOrder:
    async def test_a_transaction_that_commits_late_is_not_skipped(self, plane: ControlPlane, database_url: str) -> None:
        if not database_url.startswith("postgresql"):
            pytest.skip("SQLite has one writer at a time")
        slow, fast = await plane.submit(train_spec()), await plane.submit(train_spec())
        other = Database(database_url)
        async with plane.services.database.reading() as session:
            begin = await all_events.now(session)

        async def look(position: all_events.Position) -> all_events.Slice:
            async with plane.services.database.reading() as session:
                return await all_events.since(session, position, EVERYTHING, limit=100)

        note = [(plane.clock(), {"kind": "noted"})]
        async with other.writing() as late:
            await events.append(late, slow, None, note)
            async with plane.services.database.writing() as early:
                await events.append(early, fast, None, note)
            meanwhile = await look(begin)
        after = await look(meanwhile.end)
        await other.close()
        seen = [placed.event.job_id for placed in (*meanwhile.events, *after.events)]
        assert seen == [slow, fast]
