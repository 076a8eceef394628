"""A run that shares no folder with the control plane: it works on its node, and what must outlive it is sent."""

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
    """As the library does: a new file, moved into place, then told of."""
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


def leave(context: HttpContext, name: str, content: bytes) -> None:
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
    """Of the files that events told of, in their order."""
    return [str(each.event["name"]) for each in control_plane.events if each.event["kind"].endswith("_saved")]


class TestAStopIsHeard:
    """While the control plane hangs in the midst of a file."""

    @pytest.fixture(autouse=True)
    def _hangs(self, control_plane: SmallControlPlane) -> None:
        control_plane.may_send.clear()
        control_plane.files[f"{OF_FIRST}/last.pt"] = b"last"
        control_plane.artifacts["other", "best"] = b"best"

    def test_by_one_that_fetches_what_it_goes_on_from(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        asking = threading.Thread(target=self.stop_once_it_hangs, args=(context, control_plane))
        asking.start()
        assert not context.fetch_checkpoints()
        asking.join()

    def test_by_one_that_fetches_a_checkpoint_of_another_job(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        asking = threading.Thread(target=self.stop_once_it_hangs, args=(context, control_plane))
        asking.start()
        with checking_for_stop(context.should_stop), pytest.raises(Stopped):
            context.resolve_checkpoint("job:other/best")
        asking.join()

    @staticmethod
    def stop_once_it_hangs(context: HttpContext, control_plane: SmallControlPlane) -> None:
        deadline = time.monotonic() + 30
        while not control_plane.fetches and time.monotonic() < deadline:
            time.sleep(0.01)
        context.ask_to_stop()


class TestUploads:
    def test_a_file_is_told_of_when_it_is_kept_and_as_it_is_kept(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.may_put.clear()
        leave(context, "samples.png", b"picture")
        context.emit(RunFinished(outcome="succeeded"))
        time.sleep(0.2)
        assert control_plane.events == []
        control_plane.may_put.set()
        assert context.close(10)
        assert control_plane.files == {"attempts/2/samples.png": b"picture"}
        assert control_plane.kinds == ["artifact_saved", "run_finished"]
        assert control_plane.events[0].event["uri"] == "store://job1/attempts/2/samples.png"

    def test_only_the_newest_version_is_sent_and_last_goes_after_best(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.may_put.clear()
        leave(context, "samples.png", b"picture")
        for epoch in range(100):
            save(context, "last", b"last %d" % epoch)
            save(context, "best", b"best %d" % epoch)
        # Training has gone on to its end, and the network has let nothing through so far.
        assert control_plane.puts == []
        control_plane.may_put.set()
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(10)
        first, *then = puts(control_plane)
        assert first == "samples.png"
        # Some, the first `last.pt` alone maybe, may have been under way when the others came.
        assert then[-2:] == ["best.pt", "last.pt"] and len(then) <= 4
        assert control_plane.files[f"{OF_SECOND}/last.pt"] == b"last 99"
        assert names(control_plane) == [name.removesuffix(".pt") for name in (first, *then)]

    def test_a_file_that_is_replaced_while_it_is_sent_arrives_whole(
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

    def test_they_wait_for_a_control_plane_that_restarts(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.stop()
        save(context, "best", b"best")
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        coming = threading.Timer(1.0, control_plane.start)
        coming.start()
        assert context.close(20)
        coming.join()
        assert puts(control_plane) == ["best.pt", "last.pt"]
        assert control_plane.kinds == ["checkpoint_saved", "checkpoint_saved", "run_finished"]

    def test_results_that_cannot_be_handed_over_in_time_are_no_success(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.statuses = [503] * 100
        context = connect()
        save(context, "best", b"best")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(2.0)
        last = control_plane.events[-1].event
        assert (last["outcome"], last["error"]["code"], last["error"]["retryable"]) == ("failed", "network", True)

    def test_a_full_storage_is_told_of_and_tried_again(
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

    def test_a_result_that_is_refused_is_a_failure(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.statuses = [422, 422, 422]
        context = connect()
        leave(context, "samples.png", b"picture")
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(20)
        assert control_plane.kinds == ["warned", "checkpoint_saved", "run_finished"]
        last = control_plane.events[-1].event
        assert (last["outcome"], last["error"]["code"]) == ("failed", "storage")
        assert "attempts/2/samples.png" in last["error"]["details"]["refused"]

    def test_one_torn_on_the_way_is_sent_again(self, connect: MakeContext, control_plane: SmallControlPlane) -> None:
        control_plane.statuses = [422]
        context = connect()
        save(context, "last", b"last")
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(20)
        assert control_plane.kinds == ["checkpoint_saved", "run_finished"]

    def test_a_refused_checkpoint_is_forgiven_when_the_next_one_is_kept(
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

    def test_a_stale_attempt_sends_nothing_more_and_ends(
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

    def test_a_run_about_to_be_killed_is_stopped_if_its_results_are_not_kept(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.may_put.clear()
        save(context, "best", b"best")
        context.emit(RunFinished(outcome="succeeded"))
        context.ask_to_stop()
        began = time.monotonic()
        context.close(600)
        # Far from the 600 s that a run that is not asked to stop would wait.
        assert time.monotonic() - began < 60
        assert control_plane.events[-1].event["outcome"] == "stopped"


class TestCheckpointsBefore:
    def test_a_run_goes_on_from_the_newest_of_each_name(
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
            "attempts/5/checkpoints/last.pt": b"of one that came after",
        }
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.fetch_checkpoints()
        assert found(context) == {"best.pt": b"best of 1", "last.pt": b"last of 2"}
        context.close(5)

    def test_what_came_from_there_does_not_go_there_again(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {f"{OF_FIRST}/best.pt": b"best", f"{OF_FIRST}/last.pt": b"last"}
        context = connect()
        assert context.fetch_checkpoints()
        # As a run does that goes on from there.
        save(context, "best", b"best")
        context.emit(RunFinished(outcome="stopped"))
        assert context.close(10)
        assert control_plane.puts == []
        assert control_plane.events[0].event["uri"] == f"store://job1/{OF_FIRST}/best.pt"

    def test_one_that_comes_torn_is_refused_with_all_that_may_rest_on_it(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.assignment = control_plane.assignment.model_copy(update={"number": 3})
        control_plane.files = {
            "attempts/1/checkpoints/best.pt": b"best of 1",
            "attempts/1/checkpoints/last.pt": b"last of 1",
            "attempts/2/checkpoints/torn.pt": b"torn",
            "attempts/2/checkpoints/last.pt": b"last of 2",
        }
        control_plane.torn = {"torn.pt"}
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.fetch_checkpoints()
        assert found(context) == {"best.pt": b"best of 1", "last.pt": b"last of 1"}
        context.emit(RunFinished(outcome="stopped"))
        assert context.close(5)
        assert control_plane.events[0].event["code"] == "checkpoint_torn"

    def test_one_that_breaks_off_on_its_way_is_asked_for_again_and_not_given_up(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {f"{OF_FIRST}/last.pt": b"last"}
        control_plane.cuts = 3
        context = connect()
        assert context.fetch_checkpoints()
        assert found(context) == {"last.pt": b"last"}

    def test_a_run_asked_to_stop_meanwhile_does_not_begin_without_them(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {f"{OF_FIRST}/last.pt": b"last"}
        context = connect()
        control_plane.stop()
        context.ask_to_stop()
        assert not context.fetch_checkpoints()


class TestOtherJobsCheckpoints:
    def test_one_is_fetched_once_for_all_runs_on_a_node(
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
        assert not [path for path in scratch.rglob("*") if path.is_file()], "something is left on the node"

    def test_one_that_was_cut_short_on_the_node_is_fetched_anew(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.artifacts = {("t", "best"): b"whole"}
        one, other = connect(), connect()
        one.resolve_checkpoint("job:t/best").write_bytes(b"who")
        assert other.resolve_checkpoint("job:t/best").read_bytes() == b"whole"

    def test_one_that_is_not_there_is_named(self, connect: MakeContext) -> None:
        with pytest.raises(WeightsError, match="left no such checkpoint") as caught:
            connect().resolve_checkpoint("job:t/best")
        assert caught.value.details["source"] == "job:t/best"


class TestScratch:
    def test_it_is_this_users_alone_and_gone_when_all_is_delivered(self, connect: MakeContext, scratch: Path) -> None:
        context = connect()
        [folder] = scratch.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert context.job_dir.is_relative_to(folder)
        context.emit(RunFinished(outcome="stopped"))
        assert context.close(5)
        assert [*scratch.iterdir()] == []

    def test_what_a_killed_run_left_goes_when_the_next_begins_and_a_living_one_keeps_its_own(
        self, connect: MakeContext, control_plane: SmallControlPlane, scratch: Path, assignment: Assignment
    ) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        control_plane.assignment = control_plane.assignment.model_copy(
            update={"spec": assignment.spec.model_copy(update={"training": training})}
        )
        (scratch / "fgd-somebody-elses").mkdir(parents=True)
        process = start(control_plane)
        control_plane.wait_for_put("last.pt", timeout_s=60)
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
        assert (scratch / "fgd-somebody-elses").is_dir()

    def test_what_the_dead_left_makes_room_where_there_is_none(
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

    def test_one_whose_removal_was_cut_off_is_removed_by_the_next(
        self, scratch: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dead = Scratch("dead")
        for number in range(20):
            (dead.folder / f"folder {number}").mkdir()
            (dead.folder / f"folder {number}/last.pt").write_bytes(b"x")
        unlink, removed = os.unlink, []

        def killed_in_the_middle(path: Any, **named: Any) -> None:
            if len(removed) == 10:
                raise SystemExit
            removed.append(path)
            unlink(path, **named)

        with monkeypatch.context() as dying, pytest.raises(SystemExit):
            dying.setattr(os, "unlink", killed_in_the_middle)
            dead.close()
        os.close(dead._lock)
        assert dead.folder.exists()
        remove_abandoned()
        assert [*scratch.iterdir()] == []


class TestRun:
    @pytest.mark.timeout(120)
    def test_one_that_is_killed_and_loses_its_node_is_gone_on_with(
        self, connect: MakeContext, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        endless = assignment.spec.model_copy(update={"training": training})
        control_plane.assignment = control_plane.assignment.model_copy(update={"spec": endless, "number": 1})
        first = start(control_plane)
        control_plane.wait_for_put("last.pt", timeout_s=60)
        first.kill()
        first.communicate()
        sent = len(control_plane.puts)
        # Another attempt, whose events are counted anew.
        control_plane.events = []
        control_plane.claims = []
        control_plane.assignment = control_plane.assignment.model_copy(update={"number": 2})
        second = start(control_plane)
        deadline = time.monotonic() + 60
        while "epoch_finished" not in control_plane.kinds:
            assert time.monotonic() < deadline, control_plane.kinds
            time.sleep(0.05)
        second.send_signal(signal.SIGTERM)
        output, _ = second.communicate(timeout=30)
        assert second.returncode == 0, output
        assert "resumed" in control_plane.kinds
        resumed = next(each.event for each in control_plane.events if each.event["kind"] == "resumed")
        assert resumed["epoch"] >= 1
        assert all(path.startswith("attempts/2/") for path in control_plane.puts[sent:])
        assert control_plane.kinds[-1] == "run_finished"
        assert control_plane.events[-1].event["outcome"] == "stopped"
