"""Runs upload files to the server by HTTP, into each kind of storage."""

import asyncio
import base64
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_plane import ControlPlane, Run, evaluate_spec, train_spec
from served import served_by

from service.settings import Settings
from service.settings.groups import StorageSettings

WEIGHTS = os.urandom(300_000)
LAST = "attempts/1/checkpoints/last.pt"


@pytest.fixture
def settings(settings: Settings, stored: dict[str, Any]) -> Settings:
    return settings.model_copy(update=stored | {"run_files": "through_server"})


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def url(run: Run, path: str = "") -> str:
    return f"/v1/attempts/{run.attempt_id}/files" + (f"/{path}" if path else "")


async def put(plane: ControlPlane, run: Run, path: str, content: bytes = WEIGHTS, **headers: str) -> httpx.Response:
    sent = run.headers | {"Repr-Digest": digest(content)} | headers
    return await plane.http.put(url(run, path), content=content, headers=sent)


async def stored_files(plane: ControlPlane, run: Run) -> dict[str, int]:
    answer = await plane.http.get(url(run), headers=run.headers)
    assert answer.status_code == 200, answer.text
    return {file["path"]: file["size_bytes"] for file in answer.json()["files"]}


async def lost_and_started_again(plane: ControlPlane, run: Run) -> Run:
    await run.fails("lost_run", retryable=True)
    await plane.tick()
    plane.clock.forward(100)
    await plane.tick()
    again = plane.run()
    await again.starts()
    return again


class TestUploads:
    async def test_an_uploaded_file_can_be_listed_and_read(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        answer = await put(plane, run, LAST)
        assert answer.status_code == 200, answer.text
        uri = plane.storage.uri_of(f"jobs/{job_id}/{LAST}")
        sha256 = hashlib.sha256(WEIGHTS).hexdigest()
        assert answer.json() == {"path": LAST, "uri": uri, "size_bytes": len(WEIGHTS), "sha256": sha256}
        listed = (await plane.http.get(url(run), headers=run.headers)).json()["files"]
        assert listed == [{"path": LAST, "uri": uri, "size_bytes": len(WEIGHTS), "sha256": None}]
        read = await plane.http.get(url(run, LAST), headers=run.headers)
        assert (read.status_code, read.content) == (200, WEIGHTS)
        assert read.headers["Repr-Digest"] == digest(WEIGHTS)
        assert read.headers["Content-Length"] == str(len(WEIGHTS))

    @pytest.mark.one_database
    async def test_an_empty_file_can_be_uploaded(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        assert (await put(plane, run, "attempts/1/empty", b"")).status_code == 200
        read = await plane.http.get(url(run, "attempts/1/empty"), headers=run.headers)
        assert (read.status_code, read.content, read.headers["Repr-Digest"]) == (200, b"", digest(b""))

    async def test_a_second_upload_replaces_the_first(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await put(plane, run, LAST)
        await put(plane, run, LAST, b"newer")
        assert (await plane.http.get(url(run, LAST), headers=run.headers)).content == b"newer"

    @pytest.mark.one_database
    async def test_a_range_can_be_read_alone(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await put(plane, run, LAST)
        for wanted, part in (("bytes=5-9", WEIGHTS[5:10]), ("bytes=-4", WEIGHTS[-4:]), ("bytes=7-", WEIGHTS[7:])):
            read = await plane.http.get(url(run, LAST), headers=run.headers | {"Range": wanted})
            assert (read.status_code, read.content) == (206, part)

    async def test_a_deleted_file_is_gone_and_deleting_it_again_is_no_error(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await put(plane, run, LAST)
        for _ in range(2):
            assert (await plane.http.delete(url(run, LAST), headers=run.headers)).status_code == 204
        assert await stored_files(plane, run) == {}
        assert (await plane.http.get(url(run, LAST), headers=run.headers)).status_code == 404

    async def test_the_next_attempt_reads_earlier_files_and_writes_its_own(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await put(plane, run, LAST)
        again = await lost_and_started_again(plane, run)
        assert (await plane.http.get(url(again, LAST), headers=again.headers)).content == WEIGHTS
        assert (await put(plane, again, LAST, b"mine")).status_code == 403
        assert (await plane.http.delete(url(again, LAST), headers=again.headers)).status_code == 403
        assert (await put(plane, again, "attempts/2/checkpoints/last.pt")).status_code == 200
        assert set(await stored_files(plane, again)) >= {LAST, "attempts/2/checkpoints/last.pt"}

    async def test_the_assignment_tells_a_run_to_upload_its_files(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        assignment = (await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)).json()
        assert assignment["job_uri"] is None

    async def test_an_uploaded_file_becomes_an_artifact_when_the_run_reports_it(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        sent = (await put(plane, run, "attempts/1/checkpoints/best.pt")).json()
        await run.saves_checkpoint(sent["uri"])
        answer = await plane.http.get(f"/v1/jobs/{job_id}/artifacts/best.pt")
        assert (answer.status_code, answer.content) == (200, WEIGHTS)

    async def test_an_uploaded_picture_appears_in_the_report(self, plane: ControlPlane) -> None:
        job_id, run = await plane.started_job()
        uri = (await put(plane, run, "attempts/1/samples.png", b"png")).json()["uri"]
        event = {"name": "samples.png", "uri": uri, "media_type": "image/png", "sha256": "0" * 64, "size_bytes": 3}
        await run.reports({"kind": "artifact_saved"} | event)
        page = (await plane.http.get(f"/v1/jobs/{job_id}/report?format=html")).text
        assert page.count("data:image/png;base64,cG5n") == 1


class TestRefusals:
    @pytest.mark.one_database
    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("attempts/2/checkpoints/last.pt", 403),
            ("attempts/1", 403),
            ("logs/attempt-1.log", 403),
            ("attempts/10/x", 403),
            ("attempts/1/.x.partial", 403),
            ("attempts/1/%2E%2E/2/x", 422),
            ("attempts/1/%2E%2E/%2E%2E/%2E%2E/%2E%2E/x", 422),
            ("attempts/1//x", 422),
            ("attempts/1/x/", 422),
            ("attempts/1/a%09b", 422),
            ("attempts/1/a%5Cb", 422),
            ("attempts/1/" + "x" * 201, 422),
            ("attempts/1/" + "x/" * 500 + "x", 422),
        ],
    )
    async def test_a_run_writes_below_its_own_attempt_only(self, plane: ControlPlane, path: str, status: int) -> None:
        _, run = await plane.started_job()
        assert (await put(plane, run, path)).status_code == status
        assert (await plane.http.delete(url(run, path), headers=run.headers)).status_code == status
        assert plane.storage.listing("jobs") == []

    @pytest.mark.one_database
    async def test_a_run_reads_its_own_job_only(self, plane: ControlPlane) -> None:
        other, its_run = await plane.started_job()
        await put(plane, its_run, LAST)
        _, run = await plane.started_job(train_spec(name="curious"))
        for path in (f"%2E%2E/{other}/{LAST}", f"attempts/%2E%2E/%2E%2E/{other}/{LAST}", f"{other}/{LAST}"):
            answer = await plane.http.get(url(run, path), headers=run.headers)
            assert answer.status_code in (404, 422)
        assert await stored_files(plane, run) == {}

    @pytest.mark.one_database
    async def test_content_with_another_digest_is_rejected_with_both_digests(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        answer = await put(plane, run, LAST, **{"Repr-Digest": digest(b"something else")})
        assert answer.status_code == 422
        for content in (WEIGHTS, b"something else"):
            assert hashlib.sha256(content).hexdigest() in answer.json()["detail"]
        assert plane.storage.listing("jobs") == []

    @pytest.mark.one_database
    @pytest.mark.parametrize("header", ["", "sha-256=abc", "sha-256=:YWJj:", "md5=:YWJj:"])
    async def test_an_upload_needs_a_valid_digest(self, plane: ControlPlane, header: str) -> None:
        _, run = await plane.started_job()
        answer = await put(plane, run, LAST, **{"Repr-Digest": header})
        assert answer.status_code == 422
        assert "Repr-Digest: sha-256=:<base64>:" in answer.json()["detail"]

    @pytest.mark.one_database
    async def test_a_wrong_size_is_rejected(self, plane: ControlPlane) -> None:
        # Over a socket the HTTP server checks the size; this tests the route itself.
        _, run = await plane.started_job()
        for length in (len(WEIGHTS) - 1, len(WEIGHTS) + 1):
            answer = await put(plane, run, LAST, **{"Content-Length": str(length)})
            assert answer.status_code == 422, answer.text
            assert str(length) in answer.json()["detail"]
        assert plane.storage.listing("jobs") == []

    @pytest.mark.one_database
    async def test_a_wrong_token_is_rejected_before_the_body_is_read(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        _, other = await plane.started_job(train_spec(name="another"))
        for headers in ({}, other.headers, {"Authorization": "Bearer x"}):
            for method, path in (("GET", ""), ("GET", LAST), ("DELETE", LAST)):
                assert (await plane.http.request(method, url(run, path), headers=headers)).status_code == 401

            async def never() -> AsyncIterator[bytes]:
                raise AssertionError("the body was read")
                yield b""

            sent = headers | {"Content-Length": "5", "Repr-Digest": digest(b"hello")}
            assert (await plane.http.put(url(run, LAST), content=never(), headers=sent)).status_code == 401

    async def test_a_stale_attempt_cannot_upload(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        await lost_and_started_again(plane, run)
        for answer in (
            await put(plane, run, LAST),
            await plane.http.get(url(run), headers=run.headers),
            await plane.http.get(url(run, LAST), headers=run.headers),
            await plane.http.delete(url(run, LAST), headers=run.headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")

    async def test_an_attempt_replaced_during_its_upload_stores_nothing(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()

        async def slowly() -> AsyncIterator[bytes]:
            yield WEIGHTS[:1000]
            await lost_and_started_again(plane, run)
            yield WEIGHTS[1000:]

        sent = run.headers | {"Content-Length": str(len(WEIGHTS)), "Repr-Digest": digest(WEIGHTS)}
        answer = await plane.http.put(url(run, LAST), content=slowly(), headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_attempt")
        assert [file.path for file in plane.storage.listing("jobs") if "attempts" in file.path] == []

    @pytest.mark.one_database
    async def test_a_file_above_the_size_limit_is_rejected(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        too_large = str(plane.settings.max_file_bytes + 1)
        answer = await put(plane, run, LAST, **{"Content-Length": too_large})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert (await put(plane, run, LAST, bytes(17_000_000))).status_code == 200


class TestCheckpoints:
    async def test_a_run_reads_the_checkpoints_of_its_spec_by_either_name(self, plane: ControlPlane) -> None:
        teacher, teaching = await plane.started_job()
        sent = (await put(plane, teaching, "attempts/1/checkpoints/best.pt")).json()
        await teaching.saves_checkpoint(sent["uri"])
        await teaching.succeeds()
        await plane.tick()
        _, run = await plane.started_job(evaluate_spec(f"job:{teacher}/best"))
        assignment = (await plane.http.get(f"/v1/attempts/{run.attempt_id}", headers=run.headers)).json()
        assert assignment["checkpoints"] == {f"job:{teacher}/best": sent["uri"]}
        at = f"/v1/attempts/{run.attempt_id}/checkpoints/{teacher}"
        for name in ("best", "best.pt"):
            read = await plane.http.get(f"{at}/{name}", headers=run.headers)
            assert (read.status_code, read.content, read.headers["Repr-Digest"]) == (200, WEIGHTS, digest(WEIGHTS))
        for name in ("last", "best/x", "attempts/1/checkpoints/best.pt"):
            assert (await plane.http.get(f"{at}/{name}", headers=run.headers)).status_code == 404

    async def test_a_run_reads_no_other_checkpoints(self, plane: ControlPlane) -> None:
        other, its_run = await plane.started_job()
        sent = (await put(plane, its_run, "attempts/1/checkpoints/best.pt")).json()
        await its_run.saves_checkpoint(sent["uri"])
        _, run = await plane.started_job(train_spec(name="curious"))
        answer = await plane.http.get(f"/v1/attempts/{run.attempt_id}/checkpoints/{other}/best", headers=run.headers)
        assert answer.status_code == 404

    async def test_a_run_cannot_report_another_jobs_file_as_its_own(self, plane: ControlPlane) -> None:
        _, its_run = await plane.started_job()
        secret = (await put(plane, its_run, "attempts/1/checkpoints/best.pt")).json()["uri"]
        thief, run = await plane.started_job(train_spec(name="thief"))
        await run.saves_checkpoint(secret)
        await run.succeeds()
        await plane.tick()
        assert (await plane.http.get(f"/v1/jobs/{thief}/artifacts/best.pt")).status_code == 404
        _, reader = await plane.started_job(evaluate_spec(f"job:{thief}/best"))
        at = f"/v1/attempts/{reader.attempt_id}"
        assert (await plane.http.get(at, headers=reader.headers)).json()["checkpoints"] == {}
        assert (await plane.http.get(f"{at}/checkpoints/{thief}/best", headers=reader.headers)).status_code == 404


class TestOverSocket:
    @pytest.mark.one_database
    async def test_a_large_file_needs_little_memory(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        is_folder = plane.storage.folder is not None
        block, num_blocks = os.urandom(1 << 20), 64 if is_folder else 20
        sha = hashlib.sha256()
        for _ in range(num_blocks):
            sha.update(block)
        sent_digest = f"sha-256=:{base64.b64encode(sha.digest()).decode()}:"

        async def content() -> AsyncIterator[bytes]:
            for _ in range(num_blocks):
                yield block

        headers = run.headers | {"Content-Length": str(num_blocks << 20), "Repr-Digest": sent_digest}
        async with served_by(plane) as served:
            if is_folder:
                # The S3 service of the tests runs in this process and keeps all content in memory.
                tracemalloc.start()
            answer = await served.client.put(url(run, LAST), content=content(), headers=headers)
            assert answer.status_code == 200, answer.text
            received = hashlib.sha256()
            async with served.client.stream("GET", url(run, LAST), headers=run.headers) as reading:
                async for part in reading.aiter_bytes(1 << 20):
                    received.update(part)
            if is_folder:
                _, peak_bytes = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak_bytes < 30 << 20
        assert received.digest() == sha.digest()

    async def test_a_client_that_disconnects_leaves_nothing(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        async with served_by(plane) as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            head = [
                f"PUT {url(run, LAST)} HTTP/1.1",
                "Host: 127.0.0.1",
                "Content-Length: 20000000",
                f"Repr-Digest: {digest(b'x')}",
                f"Authorization: {run.headers['Authorization']}",
            ]
            writer.write("\r\n".join([*head, "", ""]).encode() + bytes(10_000_000))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        # The server has stopped, and with it the upload.
        assert plane.storage.listing("jobs") == []

    async def test_an_upload_holds_no_database_connection(self, plane: ControlPlane) -> None:
        _, run = await plane.started_job()
        database = plane.services.database
        held: list[int] = []

        async def content() -> AsyncIterator[bytes]:
            yield b"he"
            await asyncio.sleep(0.05)
            held.append(database._engine.pool.checkedout())
            yield b"llo"

        sent = run.headers | {"Content-Length": "5", "Repr-Digest": digest(b"hello")}
        assert (await plane.http.put(url(run, LAST), content=content(), headers=sent)).status_code == 200
        assert held == [0]


@pytest.mark.one_database
class TestSharedFolder:
    """The routes also work if runs share the folder, and return what the runs wrote."""

    @pytest.fixture
    def stored(self, tmp_path: Path) -> dict[str, Any]:
        return {"storage": StorageSettings(dir=tmp_path / "storage")}

    async def test_a_link_created_by_a_run_is_not_followed(self, plane: ControlPlane, tmp_path: Path) -> None:
        job_id, run = await plane.started_job()
        outside = tmp_path / "outside"
        outside.mkdir()
        own = tmp_path / f"storage/jobs/{job_id}/attempts/1"
        own.mkdir(parents=True)
        (own / "way").symlink_to(outside)
        assert (await put(plane, run, "attempts/1/way/x")).status_code == 404
        assert list(outside.iterdir()) == []
