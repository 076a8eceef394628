"""Logs of runs, while they run and afterwards."""

import asyncio
import json
from typing import Any

import pytest
from control_plane import ControlPlane, ManualClock, Run, train_spec
from memory_cluster import MemoryCluster
from served import Served, served_by, until

from service.dispatcher import driver_log
from service.dispatcher.excerpts import Excerpt
from service.settings import Settings


@pytest.fixture
def settings(settings: Settings, stored: dict[str, Any]) -> Settings:
    return settings.model_copy(update=stored | {"log_poll_s": 0.02})


async def log_of(plane: ControlPlane, job_id: str, query: str = "") -> str:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/logs?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.text


async def snapshot(plane: ControlPlane) -> None:
    await copy_logs(plane, at_most=4)


async def copy_logs(plane: ControlPlane, *, at_most: int) -> None:
    now, database = plane.clock(), plane.services.database
    for attempt in await driver_log.due(database, plane.storage, now, at_most=at_most):
        await driver_log.copy(database, plane.cluster, plane.storage, attempt, now)


async def fail_and_start_again(plane: ControlPlane, run: Run) -> Run:
    await run.fails("lost_run", retryable=True)
    await plane.tick()
    plane.clock.forward(100)
    await plane.tick()
    again = plane.run()
    assert again.submission_id != run.submission_id
    plane.cluster.say(again.submission_id, "RUNNING")
    await again.starts()
    return again


@pytest.mark.one_database
class TestText:
    async def test_it_comes_from_the_cluster_while_the_run_is_active(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "one\ntwo\nthr"
        assert await log_of(plane, job_id) == "one\ntwo\nthr"
        assert await log_of(plane, job_id, "offset=4") == "two\nthr"

    async def test_it_comes_from_the_storage_after_the_attempt(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "all of it\n"
        await run.succeeds()
        await plane.tick()
        plane.cluster.is_reachable = False
        assert await log_of(plane, job_id) == "all of it\n"
        assert await log_of(plane, job_id, "offset=7") == "it\n"

    async def test_each_attempt_has_a_log_and_the_newest_is_the_default(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "first\n"
        again = await fail_and_start_again(plane, run)
        plane.cluster.output[again.submission_id] = "second\n"
        assert await log_of(plane, job_id) == "second\n"
        assert await log_of(plane, job_id, "attempt=1") == "first\n"
        answer = await plane.http.get(f"/v1/jobs/{job_id}/logs?attempt=3")
        assert answer.status_code == 404
        assert "1, 2" in answer.json()["detail"]

    async def test_the_log_of_a_waiting_job_is_empty(self, plane: ControlPlane) -> None:
        assert await log_of(plane, await plane.submit(train_spec())) == ""


class TestCopies:
    async def test_a_log_survives_the_death_of_the_cluster(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "before the end\n"
        await snapshot(plane)
        plane.cluster.is_reachable = False
        assert await log_of(plane, job_id) == "before the end\n"
        plane.cluster.is_reachable = True
        plane.cluster.forget(run.submission_id)
        del plane.cluster.output[run.submission_id]
        plane.clock.forward(1000)
        for _ in range(3):
            await plane.tick()
        assert [item["name"] for item in (await plane.job(job_id))["artifacts"]] == ["attempt-1.log"]
        assert await log_of(plane, job_id, "attempt=1") == "before the end\n"

    async def test_a_copy_is_made_each_minute_within_the_limit(
        self, plane: ControlPlane, cluster: MemoryCluster, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetched: list[str] = []
        logs = cluster.logs

        async def counted(submission_id: str) -> Excerpt:
            fetched.append(submission_id)
            return await logs(submission_id)

        monkeypatch.setattr(cluster, "logs", counted)
        runs = [(await plane.started_job(train_spec(resources={"cpus": 1})))[1] for _ in range(2)]
        both = {run.submission_id for run in runs}

        async def copies(at_most: int) -> set[str]:
            fetched.clear()
            await copy_logs(plane, at_most=at_most)
            return set(fetched)

        clock.forward(61)
        first = await copies(1)
        assert len(first) == 1
        assert await copies(1) == both - first
        assert await copies(2) == set()
        clock.forward(61)
        assert await copies(2) == both


@pytest.mark.one_database
class TestFollowing:
    async def test_every_line_is_sent_once_until_the_attempt_ends(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        lines = [f"line {n} — ü\n" for n in range(20)]
        async with served_by(plane) as served:
            following = asyncio.create_task(served.client.get(f"/v1/jobs/{job_id}/logs?follow=true&attempt=1"))
            for n in range(20):
                # As Ray returns it while the run has written half of a character.
                torn = "".join(lines[: n + 1])[:-2] + "\ufffd"
                plane.cluster.output[run.submission_id] = torn if n < 19 else "".join(lines)
                await asyncio.sleep(0.03)
            assert not following.done()
            await run.succeeds()
            await plane.tick()
            async with asyncio.timeout(60):
                assert (await following).text == "".join(lines)

    async def test_it_continues_with_the_next_attempt_until_the_job_is_over(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "first\n"
        async with served_by(plane) as served:
            following = asyncio.create_task(served.messages(f"/v1/jobs/{job_id}/logs?follow=true"))
            await has_follower(plane, job_id)
            again = await fail_and_start_again(plane, run)
            plane.cluster.output[again.submission_id] = "second\n"
            await again.succeeds()
            await plane.tick()
            async with asyncio.timeout(60):
                received = [(message.event, json.loads(message.data)) for message in await following]
        assert received.pop() == ("end", {})
        assert [data["text"] for _, data in received] == ["first\n", "attempt 2", "second\n"]
        assert received[0] == ("log", {"attempt": 1, "offset": 0, "text": "first\n"})
        assert received[1][0] == "note"

    async def test_a_reconnecting_reader_misses_and_repeats_nothing(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "one\n"
        async with served_by(plane) as served:
            path = f"/v1/jobs/{job_id}/logs?follow=true"
            (first,) = await served.messages(path, at_most=1)
            plane.cluster.output[run.submission_id] = "one\ntwo\n"
            (second,) = await served.messages(path, headers={"Last-Event-ID": first.id}, at_most=1)
        assert json.loads(second.data) == {"attempt": 1, "offset": 4, "text": "two\n"}

    async def test_an_unreachable_cluster_is_noted_after_the_stored_copy(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        plane.cluster.output[run.submission_id] = "kept\n"
        await snapshot(plane)
        plane.cluster.is_reachable = False
        async with served_by(plane) as served:
            log, note = await served.messages(f"/v1/jobs/{job_id}/logs?follow=true", at_most=2)
        assert (log.event, json.loads(log.data)["text"]) == ("log", "kept\n")
        assert (note.event, "cannot be reached" in note.data) == ("note", True)

    async def test_many_followers_share_one_snapshot(
        self, plane: ControlPlane, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job_id, run = await plane.started_job()
        plane.services.logs._settings = plane.settings.model_copy(update={"log_poll_s": 1000.0})
        cluster.output[run.submission_id] = "one\n"
        num_fetched = 0
        logs = cluster.logs

        async def counted(submission_id: str) -> Excerpt:
            nonlocal num_fetched
            num_fetched += 1
            return await logs(submission_id)

        async with served_by(plane) as served:
            holding = asyncio.create_task(follow_lines(served, job_id, 2))
            await has_follower(plane, job_id)
            monkeypatch.setattr(cluster, "logs", counted)
            # Each follower is authorised, but all of them share the content.
            before = plane.services.logs._shared[job_id, 1].snapshot
            others = [asyncio.create_task(follow_lines(served, job_id, 1)) for _ in range(5)]
            async with asyncio.timeout(60):
                await asyncio.gather(*others)
            assert plane.services.logs._shared[job_id, 1].snapshot is before
            assert num_fetched == 0
            holding.cancel()


async def has_follower(plane: ControlPlane, job_id: str) -> None:
    """Wait until a follower has a snapshot of the first attempt's log."""
    shared = plane.services.logs._shared
    await until(lambda: (job_id, 1) in shared and shared[job_id, 1].snapshot is not None)


async def follow_lines(served: Served, job_id: str, num: int) -> None:
    await served.messages(f"/v1/jobs/{job_id}/logs?follow=true", at_most=num)
