"""Trials of a sweep on nodes without a folder that they share with the control plane."""

import hashlib
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_control_plane import TOKEN, SmallControlPlane

from fgd_core.errors import StaleAttemptError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import CheckpointSaved, Evaluated, Resumed, RunFinished, Warned
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.results import Scores
from fgd_core.spec.trials import TrialStarted
from workers.control_plane import ControlPlane
from workers.files.server_files import ServerFiles
from workers.remote.messages import Update
from workers.remote.workspace import Node, ServerRemoteWorkspace
from workers.run_context import HttpContext
from workers.tuning.messages import TrialTask
from workers.tuning.trial_context import TrialContext
from workers.tuning.trial_files import ServerTrialFiles
from workers.tuning.trial_state import TrialState
from workers.tuning.trial_worker import TrialWorker

MakeTrial = Callable[..., TrialContext]
SEGMENT = "attempts/2/trials/3/1/checkpoints"


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FGD_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


@pytest.fixture
def task(control_plane: SmallControlPlane, assignment: Assignment) -> TrialTask:
    control_plane.assignment = assignment.model_copy(update={"job_uri": None, "number": 2})
    assert isinstance(assignment.spec, TrainSpec)
    files = ServerFiles(ControlPlane(control_plane.url, "job1-1", TOKEN))
    workspace = ServerRemoteWorkspace(files, "job1", 2, within="trials/3/1", goes_on_from="trials/3/0")
    # Pickled, as Ray sends it.
    sent: TrialTask = pickle.loads(pickle.dumps(TrialTask(3, 1, assignment.spec, workspace)))
    return sent


@pytest.fixture
def begin(control_plane: SmallControlPlane, task: TrialTask) -> Iterator[MakeTrial]:
    made: list[tuple[TrialContext, Node]] = []

    def make() -> TrialContext:
        """Open a context on a separate node."""
        made.append((TrialContext(task), Node()))
        assert made[-1][0].open(made[-1][1])
        return made[-1][0]

    yield make
    control_plane.may_put.set()
    for context, node in made:
        context.close()
        node.close()


def scores(ap: float) -> Scores:
    fields: dict[str, Any] = dict.fromkeys(Scores.model_fields) | {"per_class": {}, "ap": ap}
    return Scores(**fields)


def save(context: TrialContext, epoch: int) -> None:
    """Do what a run does after an epoch."""
    context.emit(Evaluated(epoch=epoch, step=epoch, scores=scores(0.1 * epoch)))
    for name in ("best", "last"):
        content = f"{name} of epoch {epoch}".encode()
        path = context.job_dir / "checkpoints" / f"{name}.pt"
        path.with_suffix(".partial").write_bytes(content)
        path.with_suffix(".partial").replace(path)
        context.emit(
            CheckpointSaved(
                name="best" if name == "best" else "last",
                uri=path.resolve().as_uri(),
                sha256=hashlib.sha256(content).hexdigest(),
                size_bytes=len(content),
                epoch=epoch,
                step=epoch,
            )
        )
    context.wait_for_verdict()


def next_update(context: TrialContext, timeout_s: float = 10.0) -> Update:
    """Collect updates until a report, an end or silence."""
    events = []
    while True:
        update = context.update(timeout_s)
        events += update.events
        if not update.events or update.report is not None or update.finished is not None:
            return Update(events, update.report, update.finished)


class TestTrial:
    def test_only_a_later_segment_may_change_its_method(self, task: TrialTask) -> None:
        assert TrialContext(task).may_change == {"method"}
        assert TrialContext(replace(task, segment=0)).may_change == frozenset()

    @pytest.mark.parametrize("awaits_evaluation", [False, True])
    def test_a_resumed_trial_reports_its_saved_scores_unless_it_evaluates_again(
        self, begin: MakeTrial, awaits_evaluation: bool
    ) -> None:
        context = begin()
        context.emit(Evaluated(epoch=1, step=1, scores=scores(0.1)))  # scores saved, but no checkpoint yet
        resumed = Resumed(checkpoint="last.pt", epoch=1, step=1, awaits_evaluation=awaits_evaluation)
        context.emit(resumed)
        training = threading.Thread(target=context.wait_for_verdict, daemon=True)
        training.start()
        report = next_update(context, 0.3).report
        assert (report is None) == awaits_evaluation
        context.set_verdict("continue")
        training.join(10)

    def test_scores_are_reported_after_the_checkpoints_are_stored(
        self, begin: MakeTrial, control_plane: SmallControlPlane
    ) -> None:
        context = begin()
        control_plane.may_put.clear()
        training = threading.Thread(target=save, args=(context, 1), daemon=True)
        training.start()
        early = next_update(context, 0.3)
        assert (early.report, [event.kind for event in early.events]) == (None, ["evaluated"])
        control_plane.may_put.set()
        update = next_update(context)
        assert update.report is not None and update.report.epoch == 1
        assert [path.removeprefix(SEGMENT) for path in control_plane.puts] == ["/report.json", "/best.pt", "/last.pt"]
        uris = [event.uri for event in update.events if isinstance(event, CheckpointSaved)]
        assert uris == [f"store://job1/{SEGMENT}/best.pt", f"store://job1/{SEGMENT}/last.pt"]
        context.set_verdict("continue")
        training.join(10)

    def test_a_trial_that_lost_its_node_continues_on_another_node(
        self, begin: MakeTrial, control_plane: SmallControlPlane
    ) -> None:
        context = begin()
        training = threading.Thread(target=save, args=(context, 1), daemon=True)
        training.start()
        assert next_update(context).report is not None
        elsewhere = begin()
        folder = elsewhere.job_dir / "checkpoints"
        assert folder != context.job_dir / "checkpoints"
        assert (folder / "last.pt").read_bytes() == b"last of epoch 1"
        assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "last.pt", "report.json"]
        context.set_verdict("continue")
        training.join(10)

    @pytest.mark.parametrize(
        ("left", "expected"),
        [
            ({"attempts/1/trials/3/0": b"paused"}, b"paused"),
            ({"attempts/2/trials/3/0": b"paused in this attempt"}, b"paused in this attempt"),
            ({"attempts/1/trials/3/0": b"paused", "attempts/1/trials/3/1": b"its own"}, b"its own"),
        ],
    )
    def test_a_segment_continues_from_its_own_checkpoint_or_the_segment_before(
        self, begin: MakeTrial, control_plane: SmallControlPlane, left: dict[str, bytes], expected: bytes
    ) -> None:
        control_plane.files = {f"{folder}/checkpoints/last.pt": content for folder, content in left.items()}
        assert (begin().job_dir / "checkpoints/last.pt").read_bytes() == expected

    def test_a_trial_whose_files_are_refused_fails(self, begin: MakeTrial, control_plane: SmallControlPlane) -> None:
        context = begin()
        control_plane.statuses = [422, 422, 422]
        context.emit(Warned(code="a", message="b"))
        path = context.job_dir / "checkpoints" / "best.pt"
        path.write_bytes(b"best")
        context.emit(
            CheckpointSaved(
                name="best",
                uri=path.resolve().as_uri(),
                sha256=hashlib.sha256(b"best").hexdigest(),
                size_bytes=4,
                epoch=1,
                step=1,
            )
        )
        context.emit(RunFinished(outcome="succeeded"))
        update = next_update(context)
        while update.finished is None:
            update = next_update(context)
        assert update.finished.outcome == "failed"
        assert update.finished.error is not None and update.finished.error.code == "storage"

    def test_a_trial_of_a_stale_attempt_ends(self, begin: MakeTrial, control_plane: SmallControlPlane) -> None:
        context = begin()
        control_plane.is_stale = True
        save(context, 1)
        with pytest.raises(StaleAttemptError):
            context.should_stop()

    def test_a_trial_on_a_full_node_fails_with_the_cure(
        self, task: TrialTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("FGD_SCRATCH", str(tmp_path / "file"))
        worker = TrialWorker(lambda spec, context: RunFinished(outcome="succeeded"))
        worker.begin(task)
        update = worker.update(30.0)
        assert update.finished is not None and update.finished.error is not None
        assert "FGD_SCRATCH" in update.finished.error.message

    def test_a_trials_folder_is_removed_at_its_end_and_the_scratch_folder_with_the_sweep(
        self, task: TrialTask, scratch: Path
    ) -> None:
        seen: list[Path] = []

        def execute(spec: object, context: Any) -> RunFinished:
            seen.append(context.job_dir)
            assert seen[-1].is_dir()
            return RunFinished(outcome="succeeded")

        worker = TrialWorker(execute)
        for _ in range(2):
            worker.begin(task)
            while worker.update(30.0).finished is None:
                pass
        worker.end()
        assert seen[0].parents[4] == seen[1].parents[4], "all trials of a process use one scratch folder"
        assert not seen[1].exists()
        worker.close()
        assert [*scratch.iterdir()] == []


class TestServerTrialFiles:
    def test_flush_waits_until_the_control_plane_has_all_events(
        self, task: TrialTask, control_plane: SmallControlPlane
    ) -> None:
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.server_files is not None
        files = ServerTrialFiles(context, context.server_files, job_id="job1", number=2)
        control_plane.stop()
        context.emit(Warned(code="decided", message="something"))
        flushing = threading.Thread(target=files.flush, daemon=True)
        flushing.start()
        flushing.join(0.7)
        assert flushing.is_alive()
        control_plane.start()
        flushing.join(10)
        assert not flushing.is_alive()
        assert control_plane.kinds == ["warned"]
        context.close(5)

    def test_the_best_checkpoint_becomes_an_artifact_without_a_copy(
        self, task: TrialTask, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {"attempts/1/trials/0/0/checkpoints/best.pt": b"best"}
        uri = "store://job1/attempts/1/trials/0/0/checkpoints/best.pt"
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.server_files is not None
        # A trial reported it to an earlier attempt, so only the control plane knows its digest.
        artifact = ServerTrialFiles(context, context.server_files, job_id="job1", number=2).artifact(uri)
        context.emit(artifact)
        context.emit(RunFinished(outcome="succeeded"))
        assert context.close(5)
        assert control_plane.puts == []
        assert control_plane.events[0].event | {"kind": ""} == artifact.model_dump() | {"kind": ""}
        assert artifact.sha256 == hashlib.sha256(b"best").hexdigest()

    def test_the_best_checkpoint_is_found_if_the_trials_end_was_not_reported(
        self, task: TrialTask, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {
            "attempts/1/trials/3/1/checkpoints/best.pt": b"best",
            "attempts/1/trials/3/1/checkpoints/last.pt": b"last",
            "attempts/1/trials/3/0/checkpoints/best.pt": b"of the segment before",
        }
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.server_files is not None
        files = ServerTrialFiles(context, context.server_files, job_id="job1", number=2)
        for segment, expected in ((1, "1/best"), (2, "1/best"), (0, "0/best")):
            started = TrialStarted.model_construct(trial=3, segment=segment, goes_on_from=(3, 1) if segment else None)
            found = files.find_best(TrialState(3, "searcher", {}, seed=0, repeats=None, started=started))
            assert found == f"store://job1/attempts/1/trials/3/{expected.replace('/', '/checkpoints/')}.pt"
        context.close(1)

    def test_a_finished_trial_keeps_its_best_checkpoint_only(
        self, task: TrialTask, control_plane: SmallControlPlane
    ) -> None:
        control_plane.files = {f"{SEGMENT}/best.pt": b"best", f"{SEGMENT}/last.pt": b"last"}
        context = HttpContext(control_plane.assignment, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.server_files is not None
        files = ServerTrialFiles(context, context.server_files, job_id="job1", number=2)
        started = TrialStarted.model_construct(trial=3, segment=1)
        files.free(TrialState(3, "searcher", {}, seed=0, repeats=None, started=started))
        assert [*control_plane.files] == [f"{SEGMENT}/best.pt"]
        context.close(1)
