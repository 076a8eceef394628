"""A run without a shared folder: it works on its node, and uploads the files that must outlive it."""

import errno
import hashlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_control_plane import TOKEN, SmallControlPlane
from test_entry_point import start

from fgd_core.errors import StaleAttemptError, WeightsError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import ArtifactSaved, CheckpointSaved, RunFinished
from fgd_core.stopping import Stopped, checking_for_stop
from workers.control_plane import ControlPlane
from workers.files.scratch import Scratch, remove_abandoned
from workers.run_context import HttpContext

MakeContext = Callable[[], HttpContext]
OF_FIRST = "attempts/1/checkpoints"
OF_SECOND = "attempts/2/checkpoints"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FGD_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture
def connect(control_plane: SmallControlPlane, assignment: Assignment) -> Iterator[MakeContext]:
    control_plane.assignment = assignment.model_copy(update={"job_uri": None, "number": 2})
    made: list[HttpContext] = []

    def make() -> HttpContext:
        made.append(HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN)))
        return made[-1]

    yield make
    control_plane.may_put.set()
    control_plane.may_send.set()
    for context in made:
        context.close(0.1)


def save(context: HttpContext, name: str, content: bytes) -> None:
    """Save as the library does: write a new file, move it into place, then emit an event."""
    path = context.job_dir / "checkpoints" / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
    assert name in ("best", "last")
    context.emit(
        CheckpointSaved(
            name="best" if name == "best" else "last",
            uri=path.resolve().as_uri(),
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            epoch=1,
            step=1,
        )
    )


def save_artifact(context: HttpContext, name: str, content: bytes) -> None:
    path = context.job_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    context.emit(
        ArtifactSaved(name=name, uri=path.as_uri(), media_type="image/png", sha256=sha256, size_bytes=len(content))
    )


def found(context: HttpContext) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (context.job_dir / "checkpoints").iterdir()}


def puts(control_plane: SmallControlPlane) -> list[str]:
    return [path.rpartition("/")[2] for path in control_plane.puts]


def names(control_plane: SmallControlPlane) -> list[str]:
    """Return the names in the events about files, in order."""
    return [str(each.event["name"]) for each in control_plane.events if each.event["kind"].endswith("_saved")]


class TestStop:
    """The control plane hangs in the middle of a file."""

    @pytest.fixture(autouse=True)
    def _hangs(self, control_plane: SmallControlPlane) -> None:
        control_plane.may_send.clear()
        control_plane.files[f"{OF_FIRST}/last.pt"] = b"last"
        control_plane.artifacts["other", "best"] = b"best"

    def test_a_stop_ends_the_fetch_of_the_runs_own_checkpoints(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        stopper = threading.Thread(target=self.stop_when_it_hangs, args=(context, control_plane))
        stopper.start()
        assert not context.fetch_checkpoints()
        stopper.join()

    def test_a_stop_ends_the_fetch_of_another_jobs_checkpoint(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        stopper = threading.Thread(target=self.stop_when_it_hangs, args=(context, control_plane))
        stopper.start()
        with checking_for_stop(context.should_stop), pytest.raises(Stopped):
            context.resolve_checkpoint("job:other/best")
        stopper.join()

    @staticmethod
    def stop_when_it_hangs(context: HttpContext, control_plane: SmallControlPlane) -> None:
        deadline = time.monotonic() + 240
        while not control_plane.fetches and time.monotonic() < deadline:
            time.sleep(0.01)
        context.ask_to_stop()


class TestUploads:
    def test_a_file_is_reported_after_its_upload_with_its_new_uri(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.may_put.clear()
        save_artifact(context, "samples.png", b"picture")
        context.emit(RunFinished(outcome="succeeded"))
        time.sleep(0.2)
        assert control_plane.events == []
        control_plane.may_put.set()
        assert context.close(10)
        assert control_plane.files == {"attempts/2/samples.png": b"picture"}
        assert control_plane.kinds == ["artifact_saved", "run_finished"]
        assert control_plane.events[0].event["uri"] == "store://job1/attempts/2/samples.png"

    def test_only_the_newest_version_is_sent_and_last_after_best(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.may_put.clear()
        save_artifact(context, "samples.png", b"picture")
        for epoch in range(100):
            save(context, "last", b"last %d" % epoch)
            save(context, "best", b"best %d" % epoch)
        # The training has ended, and no upload has finished yet.
        assert control_plane.puts == []
        control_plane.may_put.set()
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(10)
        first, *then = puts(control_plane)
        assert first == "samples.png"
        # An upload, for example of the first `last.pt`, may have been running when the others were queued.
        assert then[-2:] == ["best.pt", "last.pt"] and len(then) <= 4
        assert control_plane.files[f"{OF_SECOND}/last.pt"] == b"last 99"
        assert names(control_plane) == [name.removesuffix(".pt") for name in (first, *then)]

    def test_a_file_that_is_replaced_during_its_upload_arrives_intact(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        old, new = os.urandom(30_000_000), os.urandom(30_000_000)
        control_plane.may_put.clear()
        save(context, "last", old)
        save(context, "last", new)
        context.emit(RunFinished(outcome="stopped"))
        control_plane.may_put.set()
        assert context.close(20)
        assert control_plane.files[f"{OF_SECOND}/last.pt"] == new
        assert control_plane.kinds[-1] == "run_finished"

    def test_uploads_wait_for_a_control_plane_that_restarts(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.stop()
        save(context, "best", b"best")
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        restart = threading.Timer(1.0, control_plane.start)
        restart.start()
        assert context.close(20)
        restart.join()
        assert puts(control_plane) == ["best.pt", "last.pt"]
        assert control_plane.kinds == ["checkpoint_saved", "checkpoint_saved", "run_finished"]

    def test_a_run_fails_if_its_results_cannot_be_uploaded_in_time(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.statuses = [503] * 100
        context = connect()
        save(context, "best", b"best")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(2.0)
        last = control_plane.events[-1].event
        assert (last["outcome"], last["error"]["code"], last["error"]["retryable"]) == ("failed", "network", True)

    def test_a_full_storage_is_reported_and_the_upload_retried(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.statuses = [507, 507, 503]
        context = connect()
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(20)
        assert control_plane.kinds == ["warned", "checkpoint_saved", "run_finished"]
        assert control_plane.events[0].event["code"] == "files_wait"
        assert control_plane.events[-1].event["outcome"] == "succeeded"

    def test_a_run_fails_if_a_result_is_refused(self, connect: MakeContext, control_plane: SmallControlPlane) -> None:
        control_plane.statuses = [422, 422, 422]
        context = connect()
        save_artifact(context, "samples.png", b"picture")
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(20)
        assert control_plane.kinds == ["warned", "checkpoint_saved", "run_finished"]
        last = control_plane.events[-1].event
        assert (last["outcome"], last["error"]["code"]) == ("failed", "storage")
        assert "attempts/2/samples.png" in last["error"]["details"]["refused"]

    def test_a_corrupt_upload_is_retried(self, connect: MakeContext, control_plane: SmallControlPlane) -> None:
        control_plane.statuses = [422]
        context = connect()
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(20)
        assert control_plane.kinds == ["checkpoint_saved", "run_finished"]

    def test_a_refused_checkpoint_does_not_matter_once_a_newer_one_is_stored(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.statuses = [422, 422, 422]
        context = connect()
        save(context, "last", b"step 1")
        control_plane.wait_for_events(1)
        save(context, "last", b"step 2")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(20)
        assert control_plane.events[-1].event["outcome"] == "succeeded"

    def test_a_stale_attempt_uploads_nothing_and_ends(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.is_stale = True
        save(context, "last", b"last")
        deadline = time.monotonic() + 10
        with pytest.raises(StaleAttemptError):
            while time.monotonic() < deadline:
                context.should_stop()
                time.sleep(0.01)
        assert control_plane.files == {}

    def test_a_run_that_is_about_to_be_killed_reports_stopped_without_its_results(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.may_put.clear()
        save(context, "best", b"best")
        context.emit(RunFinished(outcome="succeeded"))
        context.ask_to_stop()
        began = time.monotonic()
        context.close(600)
        # A run that is not asked to stop waits up to 600 s.
        assert time.monotonic() - began < 60
        assert control_plane.events[-1].event["outcome"] == "stopped"


class TestOwnCheckpoints:
    def test_a_run_continues_from_the_newest_checkpoint_of_each_name(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.assignment = control_plane.assignment.model_copy(update={"number": 4})
        control_plane.files = {
            "attempts/1/checkpoints/best.pt": b"best of 1",
            "attempts/1/checkpoints/last.pt": b"last of 1",
            "attempts/1/samples.png": b"picture",
            "attempts/1/trials/0/0/checkpoints/last.pt": b"a trial's",
            "attempts/2/checkpoints/last.pt": b"last of 2",
            "attempts/3/trials/0/0/checkpoints/best.pt": b"a trial's",
            "attempts/5/checkpoints/last.pt": b"of a later attempt",
        }
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.fetch_checkpoints()
        assert found(context) == {"best.pt": b"best of 1", "last.pt": b"last of 2"}
        context.close(5)

    def test_a_chain_continues_from_its_record_and_the_newest_checkpoints_of_each_stage(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        stages = "attempts/1/stages"
        control_plane.files |= {
            f"{OF_FIRST}/chain.json": b"stage 1 is done",
            f"{stages}/1/checkpoints/best.pt": b"first student",
            f"{stages}/2/checkpoints/last.pt": b"step 5",
        }
        context = connect()
        assert context.fetch_checkpoints()
        assert found(context) == {"chain.json": b"stage 1 is done"}
        fetched = {
            path.parent.parent.name: path.read_bytes() for path in context.job_dir.glob("stages/*/checkpoints/*")
        }
        assert fetched == {"1": b"first student", "2": b"step 5"}

    def test_a_file_without_an_event_is_stored_before_the_flush_ends(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        path = context.job_dir / "stages/1/checkpoints/last.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"step 5")
        context.store_file(path)
        context.flush_files()
        assert control_plane.files["attempts/2/stages/1/checkpoints/last.pt"] == b"step 5"

    def test_a_fetched_file_is_not_uploaded_again(self, connect: MakeContext, control_plane: SmallControlPlane) -> None:
        control_plane.files = {f"{OF_FIRST}/best.pt": b"best", f"{OF_FIRST}/last.pt": b"last"}
        context = connect()
        assert context.fetch_checkpoints()
        # As a run does that continues from these checkpoints.
        save(context, "best", b"best")
        context.emit(RunFinished(outcome="stopped"))
        assert context.close(10)
        assert control_plane.puts == []
        assert control_plane.events[0].event["uri"] == f"store://job1/{OF_FIRST}/best.pt"

    def test_a_corrupt_checkpoint_is_refused_with_all_newer_ones(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.assignment = control_plane.assignment.model_copy(update={"number": 3})
        control_plane.files = {
            "attempts/1/checkpoints/best.pt": b"best of 1",
            "attempts/1/checkpoints/last.pt": b"last of 1",
            "attempts/2/checkpoints/corrupt.pt": b"corrupt",
            "attempts/2/checkpoints/last.pt": b"last of 2",
        }
        control_plane.corrupt = {"corrupt.pt"}
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.fetch_checkpoints()
        assert found(context) == {"best.pt": b"best of 1", "last.pt": b"last of 1"}
        context.emit(RunFinished(outcome="stopped"))
        assert context.close(5)
        assert control_plane.events[0].event["code"] == "checkpoint_torn"

    def test_a_download_that_breaks_off_is_retried(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {f"{OF_FIRST}/last.pt": b"last"}
        control_plane.cuts = 3
        context = connect()
        assert context.fetch_checkpoints()
        assert found(context) == {"last.pt": b"last"}

    def test_a_stopped_run_does_not_start_without_its_checkpoints(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {f"{OF_FIRST}/last.pt": b"last"}
        context = connect()
        control_plane.stop()
        context.ask_to_stop()
        assert not context.fetch_checkpoints()


class TestOtherJobsCheckpoints:
    def test_a_checkpoint_is_fetched_once_for_all_runs_on_a_node(
        self, connect: MakeContext, control_plane: SmallControlPlane, scratch: Path
    ) -> None:
        control_plane.artifacts = {("t", "best"): os.urandom(3_000_000)}
        one, other = connect(), connect()
        path = one.resolve_checkpoint("job:t/best")
        assert path.read_bytes() == control_plane.artifacts["t", "best"]
        assert one.resolve_checkpoint("job:t/best") == path
        assert control_plane.fetches == ["t/best"]
        assert other.resolve_checkpoint("job:t/best").stat().st_ino == path.stat().st_ino
        one.close(5)
        assert other.resolve_checkpoint("job:t/best").is_file()
        other.close(5)
        assert not [path for path in scratch.rglob("*") if path.is_file()], "files remain on the node"

    def test_a_damaged_file_in_the_cache_is_fetched_again(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.artifacts = {("t", "best"): b"intact"}
        one, other = connect(), connect()
        one.resolve_checkpoint("job:t/best").write_bytes(b"int")
        assert other.resolve_checkpoint("job:t/best").read_bytes() == b"intact"

    def test_an_error_names_the_missing_checkpoint(self, connect: MakeContext) -> None:
        with pytest.raises(WeightsError, match="left no such checkpoint") as caught:
            connect().resolve_checkpoint("job:t/best")
        assert caught.value.details["source"] == "job:t/best"


class TestScratch:
    def test_the_folder_is_private_and_removed_after_delivery(self, connect: MakeContext, scratch: Path) -> None:
        context = connect()
        [folder] = scratch.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert context.job_dir.is_relative_to(folder)
        context.emit(RunFinished(outcome="stopped"))
        assert context.close(5)
        assert [*scratch.iterdir()] == []

    def test_the_next_run_removes_the_folder_of_a_killed_run_only(
        self, connect: MakeContext, control_plane: SmallControlPlane, scratch: Path, assignment: Assignment
    ) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        control_plane.assignment = control_plane.assignment.model_copy(
            update={"spec": assignment.spec.model_copy(update={"training": training})}
        )
        (scratch / "fgd-unrelated").mkdir(parents=True)
        process = start(control_plane)
        control_plane.wait_for_put("last.pt", timeout_s=240)
        [dead] = scratch.glob("fgd-job1-2-*")
        living = connect()
        assert living.fetch_checkpoints()
        assert dead.is_dir()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert dead.is_dir()
        control_plane.is_stale = False
        assert connect().fetch_checkpoints()
        assert not dead.exists()
        assert living.job_dir.is_dir()
        assert (scratch / "fgd-unrelated").is_dir()

    def test_folders_of_dead_runs_are_removed_when_the_disk_is_full(
        self, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dead = Scratch("dead")
        os.close(dead._lock)  # as the kernel does
        make = tempfile.mkdtemp

        def on_a_full_disk(**named: Any) -> str:
            if dead.folder.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return make(**named)

        monkeypatch.setattr(tempfile, "mkdtemp", on_a_full_disk)
        living = Scratch("living")
        assert [*scratch.iterdir()] == [living.folder]
        living.close()

    def test_an_interrupted_removal_is_completed_by_the_next_run(
        self, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dead = Scratch("dead")
        for number in range(20):
            (dead.folder / f"folder {number}").mkdir()
            (dead.folder / f"folder {number}/last.pt").write_bytes(b"x")
        unlink, removed = os.unlink, []

        def unlink_until_killed(path: Any, **named: Any) -> None:
            if len(removed) == 10:
                raise SystemExit
            removed.append(path)
            unlink(path, **named)

        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(os, "unlink", unlink_until_killed)
            dead.close()
        os.close(dead._lock)
        assert dead.folder.exists()
        remove_abandoned()
        assert [*scratch.iterdir()] == []


class TestRun:
    @pytest.mark.timeout(900)
    def test_the_next_attempt_continues_a_run_that_lost_its_node(
        self, connect: MakeContext, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        long_spec = assignment.spec.model_copy(update={"training": training})
        control_plane.assignment = control_plane.assignment.model_copy(update={"spec": long_spec, "number": 1})
        first = start(control_plane)
        control_plane.wait_for_put("last.pt", timeout_s=240)
        first.kill()
        first.communicate()
        sent = len(control_plane.puts)
        # Another attempt, whose events are numbered from 1.
        control_plane.events = []
        control_plane.claims = []
        control_plane.assignment = control_plane.assignment.model_copy(update={"number": 2})
        second = start(control_plane)
        deadline = time.monotonic() + 240
        while "epoch_finished" not in control_plane.kinds:
            assert time.monotonic() < deadline, control_plane.kinds
            time.sleep(0.05)
        second.send_signal(signal.SIGTERM)
        output, _ = second.communicate(timeout=240)
        assert second.returncode == 0, output
        assert "resumed" in control_plane.kinds
        resumed = next(each.event for each in control_plane.events if each.event["kind"] == "resumed")
        assert resumed["epoch"] >= 1
        assert all(path.startswith("attempts/2/") for path in control_plane.puts[sent:])
        assert control_plane.kinds[-1] == "run_finished"
        assert control_plane.events[-1].event["outcome"] == "stopped"
