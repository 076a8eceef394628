"""A training that is stopped, killed or runs out of disk."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.events import CheckpointSaved, EpochFinished, Evaluated, MetricsLogged, Progress, Resumed, Warned
from tests.library import RecordingContext, distill_spec, train_spec
from tests.tiers import slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    execute(train_spec(), RecordingContext(folder))
    return folder / "checkpoints/last.pt"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 200 kB, less than one checkpoint."""
    folder = Path(tempfile.mkdtemp())
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if not mounted or mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("a small file system cannot be mounted here, so a full disk cannot be tested")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


MID_EPOCH = slow(
    "tests/training/test_trainer.py::TestResume::test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_run[mid-epoch]"
)


class TestResume:
    @pytest.mark.parametrize(
        "steps",
        [
            pytest.param(1, id="mid-epoch"),
            pytest.param(2, id="at an epoch's end", marks=MID_EPOCH),
            pytest.param(3, id="in the second epoch", marks=MID_EPOCH),
        ],
    )
    def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_run(
        self, steps: int, tmp_path: Path, teacher: Path
    ) -> None:
        spec = distill_spec(teacher, teacher={"gate": "keys"})
        whole = RecordingContext(tmp_path / "whole")
        assert execute(spec, whole).outcome == "succeeded"
        stopped = RecordingContext(tmp_path / "stopped", stop_after_steps=steps)
        assert execute(spec, stopped).outcome == "stopped"
        resumed = RecordingContext(tmp_path / "stopped")
        assert execute(spec, resumed).outcome == "succeeded"
        assert [event.step for event in resumed.of(Resumed)] == [steps]
        expected, state = read_checkpoint(tmp_path / "whole/checkpoints/last.pt")
        found, other = read_checkpoint(tmp_path / "stopped/checkpoints/last.pt")
        assert all(torch.equal(expected.state[name], found.state[name]) for name in expected.state)
        assert state is not None and other is not None
        for name, value in state["distiller"].items():
            assert torch.equal(value, other["distiller"][name])
        last = [event.values["loss"] for event in resumed.of(EpochFinished)][-1]
        assert last == [event.values["loss"] for event in whole.of(EpochFinished)][-1]

    def test_a_damaged_checkpoint_falls_back_to_the_previous(self, tmp_path: Path) -> None:
        execute(train_spec(), RecordingContext(tmp_path))
        last = tmp_path / "checkpoints/last.pt"
        last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
        resumed = RecordingContext(tmp_path)
        assert execute(train_spec(), resumed).outcome == "succeeded"
        assert [(event.checkpoint, event.epoch) for event in resumed.of(Resumed)] == [("previous.pt", 1)]

    def test_steps_of_another_batch_size_are_not_resumed(self, tmp_path: Path) -> None:
        execute(train_spec(), RecordingContext(tmp_path, stop_after_steps=1))
        spec = train_spec()
        halved = spec.model_copy(update={"training": spec.training.model_copy(update={"batch_size": 1})})
        restarted = RecordingContext(tmp_path)
        assert execute(halved, restarted).outcome == "succeeded"
        assert restarted.of(Resumed) == []
        assert [warning.code for warning in restarted.of(Warned)] == ["checkpoint_unsuited"]


class TestCheckpoints:
    def test_best_holds_only_the_student_and_last_the_whole_state(self, tmp_path: Path, teacher: Path) -> None:
        context = RecordingContext(tmp_path)
        execute(distill_spec(teacher, teacher={"gate": "keys"}), context)
        best, nothing = read_checkpoint(tmp_path / "checkpoints/best.pt")
        _, training = read_checkpoint(tmp_path / "checkpoints/last.pt")
        assert nothing is None
        assert training is not None
        assert set(training) == {"batch_size", "place", "optimizer", "distiller", "generators"}
        assert not any("context" in name or "teacher" in name for name in best.state)
        assert best.record.scores is not None
        assert best.record.scores.ap == max(event.scores.ap or 0 for event in context.of(Evaluated))
        assert {event.name for event in context.of(CheckpointSaved)} == {"best", "last"}

    def test_a_full_disk_is_an_error_and_leaves_no_partial_file(self, small_disk: Path) -> None:
        context = RecordingContext(small_disk)
        finished = execute(train_spec(), context)
        assert finished.error is not None
        assert (finished.outcome, finished.error.code) == ("failed", "storage")
        assert "full" in finished.error.message
        for path in (path for path in small_disk.rglob("*") if path.is_file()):
            read_checkpoint(path)  # complete, or it would raise


class TestProgress:
    def test_reports_step_and_time_left(self, tmp_path: Path, teacher: Path) -> None:
        context = RecordingContext(tmp_path)
        execute(distill_spec(teacher, teacher={"gate": "keys"}), context)
        first = context.of(Progress)[0]
        assert (first.epoch, first.epochs, first.step, first.steps) == (1, 2, 1, 4)
        assert first.eta_s is not None and first.eta_s > 0
        assert {"loss", "task/classification", "task/box", "distill/foreground", "distill/P3"} <= set(first.values)
        assert [event.epoch for event in context.of(EpochFinished)] == [1, 2]

    def test_every_step_is_logged_with_its_own_values(self, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path)
        execute(train_spec(), context)
        logged = context.of(MetricsLogged)
        epochs = context.of(EpochFinished)
        assert [step for event in logged for step in event.steps] == list(range(1, epochs[-1].step + 1))
        losses = [loss for event in logged for loss in event.values["loss"] if loss is not None]
        num_steps = epochs[0].step
        assert sum(losses[:num_steps]) / num_steps == pytest.approx(epochs[0].values["loss"])

    def test_the_steps_before_a_stop_are_logged_too(self, tmp_path: Path) -> None:
        context = RecordingContext(tmp_path, stop_after_steps=3)
        execute(train_spec(), context)
        assert [step for event in context.of(MetricsLogged) for step in event.steps] == [1, 2, 3]
