"""Event streams over a real server and real sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, ManualClock, progress, train_spec
from httpx_sse import ServerSentEvent
from memory_cluster import MemoryCluster
from served import Served, served_by, until

from fgd_core.spec.events import StoredEvent
from service.settings import Settings
from service.settings.groups import StreamSettings
from service.store import events


@pytest.fixture
async def served(plane: ControlPlane) -> AsyncIterator[Served]:
    async with served_by(plane) as served:
        yield served


async def finish(plane: ControlPlane, job_id: str) -> None:
    await plane.http.post(f"/v1/jobs/{job_id}/cancel")


def ids(messages: list[ServerSentEvent]) -> list[int]:
    return [int(message.id) for message in messages]


async def test_a_message_carries_the_stored_event(served: Served) -> None:
    job_id = await served.plane.submit(train_spec())
    await finish(served.plane, job_id)
    first, *_ = await served.read(job_id)
    assert (first.id, first.event) == ("1", "submitted")
    assert json.loads(first.data) == (await served.plane.events(job_id))[0].model_dump(mode="json")


async def test_a_stream_ends_when_the_job_is_over_and_all_events_are_sent(served: Served) -> None:
    job_id = await served.plane.submit(train_spec())
    reading = asyncio.create_task(served.read(job_id))
    await served.has_readers(1)
    assert not reading.done()
    await finish(served.plane, job_id)
    assert ids(await reading) == [1, 2, 3]
    assert ids(await served.read(job_id, after=1)) == [2, 3]
    assert ids(await served.read(job_id, after=3)) == []


async def test_reconnecting_readers_get_every_event_once_while_a_run_writes(served: Served) -> None:
    plane = served.plane
    job_id, run = await plane.started_job()
    batches = [run.batch(*(progress(step) for step in range(n * 5, n * 5 + 5))) for n in range(40)]

    async def write() -> None:
        for batch in batches:
            await asyncio.gather(run.post(batch), run.post(batch))
        await finish(plane, job_id)
        await run.reports({"kind": "run_finished", "outcome": "stopped"})

    async def read_in_parts(size: int) -> list[int]:
        seen: list[int] = []
        while True:
            found = ids(await served.read(job_id, after=seen[-1] if seen else 0, at_most=size))
            seen.extend(found)
            if len(found) < size:
                return seen

    _, *readers = await asyncio.gather(write(), read_in_parts(7), read_in_parts(31), read_in_parts(10**6))
    everything = [event.sequence for event in await plane.events(job_id)]
    assert everything == list(range(1, 5 + 200 + 2 + 2 + 1))
    for seen in readers:
        assert seen == everything


async def test_an_event_is_sent_at_once(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> None:
    plane = ControlPlane(settings.model_copy(update={"sse": StreamSettings(poll_s=1000.0)}), cluster, clock)
    async with served_by(plane) as served:
        job_id, run = await plane.started_job()
        last = (await plane.job(job_id))["last_sequence"]
        reading = asyncio.create_task(served.read(job_id, after=last, at_most=1))
        await served.has_readers(1)
        await run.reports(progress(1))
        # Without a notification, the stream would look again only after sse.poll_s.
        async with asyncio.timeout(60):
            assert ids(await reading) == [last + 1]
    await plane.close()


async def test_a_finished_job_with_many_events_is_sent_completely(served: Served) -> None:
    job_id, run = await served.plane.started_job()
    await run.reports(*(progress(step) for step in range(900)))
    await run.succeeds()
    last = (await served.plane.job(job_id))["last_sequence"]
    assert ids(await served.read(job_id)) == list(range(1, last + 1))


async def test_a_quiet_stream_does_not_poll_the_database(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = ControlPlane(settings.model_copy(update={"sse": StreamSettings(poll_s=1000.0)}), cluster, clock)
    polls = 0
    after = events.after

    async def counted(*args: Any, **options: Any) -> list[StoredEvent]:
        nonlocal polls
        polls += 1
        return await after(*args, **options)

    monkeypatch.setattr(events, "after", counted)
    async with served_by(plane) as served:
        job_id, run = await plane.started_job()
        reading = asyncio.create_task(served.read(job_id))
        await served.has_readers(1)
        await run.reports(progress(1))
        await until(lambda: polls >= 2)
        await asyncio.sleep(0.3)
        assert polls <= 3
        await finish(plane, job_id)
        await run.reports({"kind": "run_finished", "outcome": "stopped"})
        await reading
    await plane.close()


async def raw_lines(served: Served, job_id: str) -> list[str]:
    async with served.client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        return [line async for line in response.aiter_lines()]


async def test_a_quiet_stream_is_kept_alive_and_ends_with_its_lifetime(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock
) -> None:
    sse = StreamSettings(keep_alive_s=0.05, lifetime_s=3.0)
    plane = ControlPlane(settings.model_copy(update={"sse": sse}), cluster, clock)
    async with served_by(plane) as served:
        job_id = await plane.submit(train_spec())
        async with asyncio.timeout(60):
            lines = await raw_lines(served, job_id)
        assert lines.count(": ping") >= 2
        assert lines[0].startswith("retry: ")
    await plane.close()


async def test_a_shutdown_does_not_wait_for_readers(plane: ControlPlane) -> None:
    # A stream would otherwise last an hour.
    async with asyncio.timeout(60), served_by(plane) as served:
        job_id = await plane.submit(train_spec())
        reading = asyncio.create_task(served.read(job_id))
        await served.has_readers(1)
        served.client = httpx.AsyncClient()
    assert ids(await reading) == [1]


async def test_accept_json_returns_pages(plane: ControlPlane) -> None:
    job_id, run = await plane.started_job()
    await run.reports(*(progress(step) for step in range(20)))
    accept = {"Accept": "application/json"}
    seen: list[int] = []
    while True:
        query = f"after={seen[-1] if seen else 0}&limit=7"
        page = (await plane.http.get(f"/v1/jobs/{job_id}/events?{query}", headers=accept)).json()
        seen.extend(item["sequence"] for item in page["items"])
        if not page["items"]:
            break
    assert seen == list(range(1, page["last_sequence"] + 1))


async def test_a_stalled_reader_is_cut_off_and_the_others_continue(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock
) -> None:
    plane = ControlPlane(settings.model_copy(update={"slow_reader_s": 0.3}), cluster, clock)
    async with served_by(plane, send_buffer_bytes=4096) as served:
        job_id, run = await plane.started_job()
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", served.port))
        slow.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        reading = asyncio.create_task(served.read(job_id))
        for n in range(10):
            await run.reports(*(progress(step) for step in range(n * 100, n * 100 + 100)))
            await asyncio.sleep(0.06)
        await run.succeeds()
        last = (await plane.job(job_id))["last_sequence"]
        assert ids(await reading) == list(range(1, last + 1))
        await asyncio.sleep(0.4)

        def remaining() -> bytes:
            received = b""
            with slow, contextlib.suppress(ConnectionResetError):
                while block := slow.recv(65536):
                    received += block
            return received

        async with asyncio.timeout(60):
            received = await asyncio.to_thread(remaining)
        seen = [int(line.removeprefix("id: ")) for line in received.decode().splitlines() if line.startswith("id: ")]
        assert 0 < seen[-1] < last
        assert ids(await served.read(job_id, after=seen[-1])) == list(range(seen[-1] + 1, last + 1))
    await plane.close()


async def test_many_simultaneous_readers_catch_up_in_few_reads(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, run = await served.plane.started_job()
    await run.reports(*(progress(step) for step in range(900)))
    await run.succeeds()
    last = (await served.plane.job(job_id))["last_sequence"]
    reads = 0
    after = events.after

    async def counted(*args: Any, **options: Any) -> list[StoredEvent]:
        nonlocal reads
        reads += 1
        return await after(*args, **options)

    monkeypatch.setattr(events, "after", counted)
    starts = [0] * 10 + [3] * 10
    for start, found in zip(starts, await asyncio.gather(*(served.read(job_id, after=n) for n in starts)), strict=True):
        assert ids(found) == list(range(start + 1, last + 1))
    assert reads <= 5


async def test_many_readers_of_one_job_share_each_read(
    settings: Settings, cluster: MemoryCluster, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = ControlPlane(settings.model_copy(update={"sse": StreamSettings(poll_s=1000.0)}), cluster, clock)
    async with served_by(plane) as served:
        job_id, run = await plane.started_job()
        last = (await plane.job(job_id))["last_sequence"]
        reading = [asyncio.create_task(served.read(job_id, after=last, at_most=20)) for _ in range(20)]
        await served.has_readers(20)
        reads = 0
        after = events.after

        async def counted(*args: Any, **options: Any) -> list[StoredEvent]:
            nonlocal reads
            reads += 1
            return await after(*args, **options)

        monkeypatch.setattr(events, "after", counted)
        for step in range(20):
            await run.reports(progress(step))
        async with asyncio.timeout(60):
            for found in await asyncio.gather(*reading):
                assert ids(found) == list(range(last + 1, last + 21))
        assert reads < 20
    await plane.close()
