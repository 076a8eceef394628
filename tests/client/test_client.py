"""The Python client against the real server."""

import hashlib
import itertools
import threading
from pathlib import Path

import pytest

from fgd_core.errors import AdmissionError, ConflictError, NotFoundError, SpecError, StorageError
from fgd_core.retrying import RetryPolicy
from fgd_core.spec.events import ArtifactSaved, RunFinished, StoredEvent, Warned
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.resources import Resources
from fgd_core.spec.results import ErrorReport
from service.client import streaming
from service.client.client import FgdClient
from service.client.errors import FailedJobError, UnreachableError
from tests.client.live_server import LiveServer, eventually
from tests.client.proxies import CuttingProxy
from tests.reports.recorded_jobs import STUDENT, train_spec


def spec(name: str = "student", **changes: object) -> TrainSpec:
    return train_spec(name, STUDENT).model_copy(update=changes)


class TestSubmit:
    def test_the_stored_spec_equals_the_submitted_one(self, client: FgdClient) -> None:
        job = client.submit(spec())
        assert client.job(job.job_id).spec == spec()

    def test_the_same_key_returns_the_same_job(self, client: FgdClient) -> None:
        first = client.submit(spec(), idempotency_key="once")
        assert client.submit(spec(), idempotency_key="once").job_id == first.job_id

    def test_the_same_key_with_another_job_is_refused(self, client: FgdClient) -> None:
        client.submit(spec(), idempotency_key="once")
        with pytest.raises(SpecError) as refused:
            client.submit(spec(seed=7), idempotency_key="once")
        assert refused.value.code == "idempotency_key_reused"

    def test_a_refusal_is_raised_as_its_class_with_every_reason(self, client: FgdClient, server: LiveServer) -> None:
        with pytest.raises(AdmissionError) as refused:
            client.submit(spec(resources=Resources(cpus=99, gpus=1)))
        reasons = refused.value.details["reasons"]
        assert {reason["loc"] for reason in reasons} == {"resources.cpus", "resources.gpus"}
        assert server.cluster.submissions == []

    def test_a_missing_server_is_an_error_with_url_and_cure(self) -> None:
        with FgdClient("http://127.0.0.1:9") as nowhere, pytest.raises(UnreachableError) as error:
            nowhere.submit(spec())
        assert "http://127.0.0.1:9" in error.value.message
        assert "fgd up" in error.value.message

    def test_a_wrong_path_in_the_url_is_an_error(self, server: LiveServer) -> None:
        with FgdClient(f"{server.url}/elsewhere") as wrong, pytest.raises(NotFoundError):
            wrong.job("x")


def shared_prefix(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=True))
    return "".join(character for character, _ in same)


class TestFind:
    def test_all_pages_are_listed_newest_first(self, client: FgdClient) -> None:
        submitted = [client.submit(spec(f"job {number}")).job_id for number in range(5)]
        assert [job.job_id for job in client.jobs(page_size=2)] == submitted[::-1]

    def test_jobs_are_listed_by_their_seed_group(self, client: FgdClient) -> None:
        first, _ = client.submit(spec("one")), client.submit(spec("another", resources=Resources(cpus=2)))
        again = client.submit(spec("again"))
        assert [job.job_id for job in client.jobs(seed_group=first.seed_group)] == [again.job_id, first.job_id]

    def test_a_unique_prefix_of_an_id_is_enough(self, client: FgdClient) -> None:
        job = client.submit(spec())
        assert client.find(job.job_id[:6]).job_id == job.job_id

    def test_an_ambiguous_prefix_is_refused_with_the_matching_ids(self, client: FgdClient) -> None:
        # Ids are hexadecimal: among seventeen, two have the same first digit. The error names five ids at most, so the
        # test takes the two with the longest common prefix.
        ids = sorted(client.submit(spec()).job_id for _ in range(17))
        prefix, one, other = max(
            ((shared_prefix(*pair), *pair) for pair in itertools.pairwise(ids)), key=lambda found: len(found[0])
        )
        with pytest.raises(NotFoundError) as error:
            client.find(prefix)
        assert one in error.value.message
        assert other in error.value.message

    @pytest.mark.parametrize("prefix", ["zzz", "", "../jobs", "a b?c#d"])
    def test_an_impossible_id_is_not_found(self, client: FgdClient, prefix: str) -> None:
        client.submit(spec())
        with pytest.raises(NotFoundError):
            client.find(prefix)


class TestEvents:
    def test_each_arrives_once_and_in_order_across_a_restart_of_the_server(
        self, client: FgdClient, server: LiveServer
    ) -> None:
        job = client.submit(spec())
        seen: list[StoredEvent] = []
        drops: list[float] = []
        reader = threading.Thread(
            target=lambda: seen.extend(client.events(job.job_id, on_drop=drops.append)), daemon=True
        )
        run = server.run_of(job.job_id)
        run.start()
        reader.start()
        run.report(*(Warned(code="test", message=str(n)) for n in range(20)))
        eventually(lambda: client.job(job.job_id).last_sequence >= 20)
        server.stop()
        eventually(lambda: len(drops) > 1)
        server.start()
        run.report(*(Warned(code="test", message=str(n)) for n in range(20, 40)))
        run.succeed()
        reader.join(timeout=240)
        assert not reader.is_alive()
        assert [event.sequence for event in seen] == list(range(1, client.job(job.job_id).last_sequence + 1))
        assert [e.data["message"] for e in seen if e.kind == "warned"] == [str(n) for n in range(40)]

    @pytest.mark.parametrize("cut_after_bytes", [700, 1300, 2900])
    def test_each_arrives_once_when_connections_are_cut(
        self, client: FgdClient, server: LiveServer, cut_after_bytes: int
    ) -> None:
        job = client.submit(spec())
        run = server.run_of(job.job_id)
        run.start()
        run.report(*(Warned(code="test", message=f"{n} " * 30) for n in range(30)))
        run.succeed()
        proxy = CuttingProxy(server.port, cut_after_bytes=cut_after_bytes, num_cuts=3)
        with FgdClient(proxy.url) as through_proxy:
            seen = [event.sequence for event in through_proxy.events(job.job_id)]
        proxy.close()
        assert proxy.cuts_left == 0
        assert seen == list(range(1, client.job(job.job_id).last_sequence + 1))

    def test_a_server_that_stays_away_is_an_error(
        self, client: FgdClient, server: LiveServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streaming, "_RECONNECT", RetryPolicy(first_pause_s=0.01, max_tries=3))
        events = client.events(client.submit(spec()).job_id)
        next(events)
        server.stop()
        with pytest.raises(UnreachableError):
            list(events)

    def test_reading_can_begin_after_a_sequence_number(self, client: FgdClient, server: LiveServer) -> None:
        job = client.submit(spec())
        run = server.run_of(job.job_id)
        run.start()
        run.succeed()
        everything = [event.sequence for event in client.events(job.job_id)]
        assert [event.sequence for event in client.events(job.job_id, after=2)] == everything[2:]
        assert [event.sequence for event in client.stored_events(job.job_id)] == everything

    def test_an_unknown_job_is_not_found(self, client: FgdClient) -> None:
        with pytest.raises(NotFoundError):
            next(client.events("nobody"))


class TestWait:
    def test_it_returns_the_job_that_succeeded(self, client: FgdClient, server: LiveServer) -> None:
        job = client.submit(spec())
        run = server.run_of(job.job_id)
        run.start()
        threading.Thread(target=run.succeed).start()
        assert client.wait(job.job_id).state == "succeeded"

    def test_it_raises_the_cause_of_a_failed_job(self, client: FgdClient, server: LiveServer) -> None:
        job = client.submit(spec())
        run = server.run_of(job.job_id)
        run.start()
        run.report(RunFinished(outcome="failed", error=ErrorReport(code="data", message="no boxes at all")))
        with pytest.raises(FailedJobError, match="no boxes at all"):
            client.wait(job.job_id)

    def test_a_job_that_is_over_cannot_be_cancelled(self, client: FgdClient, server: LiveServer) -> None:
        job = client.submit(spec())
        run = server.run_of(job.job_id)
        run.start()
        run.succeed()
        with pytest.raises(ConflictError, match="succeeded"):
            client.cancel(job.job_id)


class TestArtifacts:
    def leave_artifact(self, server: LiveServer, client: FgdClient, content: bytes, sha256: str) -> str:
        job = client.submit(spec())
        path = server.settings.storage.dir / "jobs" / job.job_id / "best.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        run = server.run_of(job.job_id)
        run.start()
        run.report(
            ArtifactSaved(
                name="best.bin",
                uri=path.as_uri(),
                media_type="application/octet-stream",
                sha256=sha256,
                size_bytes=len(content),
            )
        )
        return job.job_id

    def test_a_file_arrives_complete(self, client: FgdClient, server: LiveServer, tmp_path: Path) -> None:
        content = bytes(range(256)) * 4000
        job_id = self.leave_artifact(server, client, content, hashlib.sha256(content).hexdigest())
        assert client.download_artifact(job_id, "best.bin", tmp_path / "mine.bin").read_bytes() == content

    def test_a_damaged_file_is_refused_and_removed(self, client: FgdClient, server: LiveServer, tmp_path: Path) -> None:
        job_id = self.leave_artifact(server, client, b"damaged", hashlib.sha256(b"whole").hexdigest())
        folder = tmp_path / "to"
        folder.mkdir()
        with pytest.raises(StorageError, match="damaged"):
            client.download_artifact(job_id, "best.bin", folder / "mine.bin")
        assert list(folder.iterdir()) == []

    def test_an_unknown_artifact_is_refused_with_the_existing_ones(
        self, client: FgdClient, server: LiveServer, tmp_path: Path
    ) -> None:
        job_id = self.leave_artifact(server, client, b"x", hashlib.sha256(b"x").hexdigest())
        with pytest.raises(NotFoundError, match=r"best\.bin"):
            client.download_artifact(job_id, "worst.bin", tmp_path / "mine.bin")
