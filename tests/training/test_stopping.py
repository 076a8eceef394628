"""A run stops soon in every phase, and a kill during an evaluation costs no epoch."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fgd_core.data import image_headers, open_dataset
from fgd_core.data.image_headers import Headers, read_headers
from fgd_core.detectors import build_detector
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.errors import NetworkError
from fgd_core.evaluation import pycocotools_engine
from fgd_core.evaluation.columns import columns_of
from fgd_core.evaluation.device_lock import DeviceLock
from fgd_core.evaluation.samples import draw_annotations
from fgd_core.evaluation.speed import measure_speed
from fgd_core.runs import execute
from fgd_core.spec.data import Coco, CocoSplit, InputSpec, Shapes, Voc, Yolo
from fgd_core.spec.events import EpochFinished, Evaluated, Resumed, RunEvent, RunFinished
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.stopping import Stopped, checking_for_stop, run_in_thread, stoppable
from tests.library import RecordingContext, distill_spec, evaluate_spec, train_spec
from tests.tiers import slow
from workers.control_plane import retry_until_reachable
from workers.remote.workspace import SharedRemoteWorkspace
from workers.tuning.messages import TrialTask
from workers.tuning.trial_worker import TrialWorker

# Three batches per evaluation, so that a run can stop between them.
SPEC = train_spec(data={"num_val": 12})


class StopsAfter(RecordingContext):
    """Asks to stop after the first event of the given kinds; without kinds, from the start."""

    def __init__(self, job_dir: Path, *kind: str) -> None:
        super().__init__(job_dir)
        self._kind = kind

    def should_stop(self) -> bool:
        return not self._kind or any(event.kind in self._kind for event in self.events)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    """The same run without interruption."""
    context = RecordingContext(tmp_path_factory.mktemp("uninterrupted"))
    assert execute(SPEC, context).outcome == "succeeded"
    return context


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed in its first evaluation."""
    folder = tmp_path_factory.mktemp("killed")
    kill_in_first_evaluation(SPEC, folder)
    return folder


def assert_ends_as(uninterrupted: RecordingContext, folder: Path) -> None:
    """Check that the results are bit-identical: weights, best weights, optimiser, generators and epochs."""
    for name in ("last.pt", "best.pt"):
        expected, expected_training = read_checkpoint(uninterrupted.job_dir / "checkpoints" / name)
        found, training = read_checkpoint(folder / "checkpoints" / name)
        # The job may differ in settings that change no result.
        assert found.record.model_copy(update={"job": expected.record.job}) == expected.record
        assert all(torch.equal(found.state[key], value) for key, value in expected.state.items())
        if expected_training is None or training is None:
            continue
        for ours, theirs in (
            (training["generators"], expected_training["generators"]),
            *zip(
                training["optimizer"]["state"].values(), expected_training["optimizer"]["state"].values(), strict=True
            ),
        ):
            assert all(torch.equal(ours[key], value) for key, value in theirs.items())
        timed = {"train_s", "evaluation_s", "epoch_train_s", "wall_s", "gpu_s", "epoch_began_s", "next_s"}
        assert {k: v for k, v in training["place"].items() if k not in timed} == {
            k: v for k, v in expected_training["place"].items() if k not in timed
        }


def kill_in_first_evaluation(spec: TrainSpec, folder: Path, *options: str) -> None:
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_run", str(folder), *options],
        input=spec.model_dump_json(),
        text=True,
        cwd=root,
        capture_output=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


def scores_by_epoch(events: list[RunEvent]) -> list[tuple[int | None, Any]]:
    return [(event.epoch, event.scores) for event in events if isinstance(event, Evaluated)]


class TestAnEvaluation:
    def test_that_was_killed_is_repeated_without_its_epoch(
        self, uninterrupted: RecordingContext, killed: Path, tmp_path: Path
    ) -> None:
        resumed = RecordingContext(shutil.copytree(killed, tmp_path / "copy"))
        assert execute(SPEC, resumed).outcome == "succeeded"
        assert [(event.epoch, event.awaits_evaluation) for event in resumed.of(Resumed)] == [(1, True)]
        assert [event.epoch for event in resumed.of(EpochFinished)] == [2]
        assert scores_by_epoch(resumed.events) == scores_by_epoch(uninterrupted.events)
        assert_ends_as(uninterrupted, resumed.job_dir)

    @slow("tests/training/test_stopping.py::TestAnEvaluation::test_that_was_killed_is_repeated")
    def test_that_was_killed_twice_succeeds_the_third_time(
        self, uninterrupted: RecordingContext, killed: Path, tmp_path: Path
    ) -> None:
        resumed = RecordingContext(shutil.copytree(killed, tmp_path / "copy"))
        kill_in_first_evaluation(SPEC, resumed.job_dir)
        assert execute(SPEC, resumed).outcome == "succeeded"
        assert scores_by_epoch(resumed.events) == scores_by_epoch(uninterrupted.events)
        assert_ends_as(uninterrupted, resumed.job_dir)

    def test_that_was_stopped_is_repeated_without_its_epoch(
        self, uninterrupted: RecordingContext, tmp_path: Path
    ) -> None:
        stopped = StopsAfter(tmp_path, "epoch_finished")
        assert execute(SPEC, stopped).outcome == "stopped"
        assert "evaluated" not in stopped.kinds
        resumed = RecordingContext(tmp_path)
        assert execute(SPEC, resumed).outcome == "succeeded"
        assert [event.epoch for event in resumed.of(EpochFinished)] == [2]
        assert scores_by_epoch(resumed.events) == scores_by_epoch(uninterrupted.events)
        assert_ends_as(uninterrupted, tmp_path)

    def test_that_is_done_is_not_repeated(self, uninterrupted: RecordingContext, tmp_path: Path) -> None:
        assert execute(SPEC, StopsAfter(tmp_path, "evaluated")).outcome == "stopped"
        resumed = RecordingContext(tmp_path)
        assert execute(SPEC, resumed).outcome == "succeeded"
        assert [(event.epoch, event.awaits_evaluation) for event in resumed.of(Resumed)] == [(1, False)]
        assert scores_by_epoch(resumed.events) == scores_by_epoch(uninterrupted.events)[1:]
        assert_ends_as(uninterrupted, tmp_path)

    def test_of_a_killed_trial_is_repeated_and_reported_once(
        self, uninterrupted: RecordingContext, tmp_path: Path
    ) -> None:
        kill_in_first_evaluation(SPEC, tmp_path, "--trial")
        worker = TrialWorker(execute)
        worker.begin(TrialTask(0, 0, SPEC, SharedRemoteWorkspace(tmp_path, {})))
        events: list[RunEvent] = []
        reports, finished = [], None
        while finished is None:
            update = worker.update(30)
            events += update.events
            finished = update.finished
            if update.report is not None:
                reports.append((update.report.epoch, update.report.scores))
                worker.set_verdict("continue")
        worker.end()
        assert finished.outcome == "succeeded"
        assert [event.epoch for event in events if isinstance(event, EpochFinished)] == [2]
        assert reports == scores_by_epoch(events) == scores_by_epoch(uninterrupted.events)
        assert_ends_as(uninterrupted, tmp_path)


class TestARunIsStopped:
    def stopped(self, context: StopsAfter, run: Callable[[StopsAfter], RunFinished]) -> StopsAfter:
        finished = run(context)
        assert (finished.outcome, finished.error) == ("stopped", None)
        assert context.kinds[-1] == "run_finished"
        return context

    def test_while_its_data_is_opened(self, tmp_path: Path) -> None:
        spec = train_spec(data={"num_train": 600})
        context = self.stopped(StopsAfter(tmp_path), lambda context: execute(spec, context))
        assert "data_checked" not in context.kinds

    def test_while_its_teacher_is_evaluated(self, uninterrupted: RecordingContext, tmp_path: Path) -> None:
        spec = distill_spec(uninterrupted.job_dir / "checkpoints/best.pt", data={"num_val": 12})
        context = self.stopped(StopsAfter(tmp_path, "weights_loaded"), lambda context: execute(spec, context))
        assert "teacher_checked" not in context.kinds

    def test_while_its_result_is_measured_and_measures_it_after_a_resume(
        self, uninterrupted: RecordingContext, tmp_path: Path
    ) -> None:
        class StopsAtTheEnd(StopsAfter):
            def should_stop(self) -> bool:
                return len(self.of(Evaluated)) == 2

        self.stopped(StopsAtTheEnd(tmp_path), lambda context: execute(SPEC, context))
        resumed = RecordingContext(tmp_path)
        finished = execute(SPEC, resumed)
        assert finished.result is not None
        assert resumed.of(EpochFinished) == resumed.of(Evaluated) == []
        assert finished.result.scores == max(
            (e.scores for e in uninterrupted.of(Evaluated)), key=lambda scores: scores.ap or 0
        )

    def test_while_it_evaluates_a_checkpoint(self, uninterrupted: RecordingContext, tmp_path: Path) -> None:
        spec = evaluate_spec(uninterrupted.job_dir / "checkpoints/best.pt", data={"num_val": 12}, batch_size=4)
        context = self.stopped(StopsAfter(tmp_path, "weights_loaded"), lambda context: execute(spec, context))
        assert "evaluated" not in context.kinds

    @pytest.mark.parametrize("after", [[], ["data_checked"]], ids=["counted", "drawn"])
    def test_while_its_data_is_checked(self, after: list[str], tmp_path: Path) -> None:
        spec = CheckDataSpec(name="check", data=Shapes(num_train=600, num_val=4, image_size_px=32))
        context = self.stopped(StopsAfter(tmp_path, *after), lambda context: execute(spec, context))
        assert context.kinds.count("data_checked") == len(after)
        assert "artifact_saved" not in context.kinds


class TestTheCheckForAStop:
    """Each kind of long work checks whether its run should stop."""

    @pytest.fixture(autouse=True)
    def _must_stop(self) -> Any:
        with checking_for_stop(lambda: True):
            yield

    def test_between_chunks_of_image_files(self, tmp_path: Path) -> None:
        with pytest.raises(Stopped):
            read_headers([str(tmp_path / "missing.png")] * 600)

    def test_in_readers_of_image_files_before_they_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        begun = []

        def read(paths: Sequence[str]) -> Headers:
            begun.append(paths)
            time.sleep(0.01)  # a slow disk
            return image_headers.joined([])

        monkeypatch.setattr(image_headers, "read_part", read)
        with pytest.raises(Stopped):
            read_headers([str(tmp_path / "missing.png")] * 256 * 1000)
        assert len(begun) < 500

    def test_between_annotations_of_coco(self, tmp_path: Path) -> None:
        rows: list[dict[str, Any]] = [{"id": number, "image_id": 1, "category_id": 1} for number in range(10_000)]
        content = {"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": rows}
        (tmp_path / "annotations.json").write_text(json.dumps(content))
        split = CocoSplit(images=str(tmp_path), annotations=str(tmp_path / "annotations.json"))
        with pytest.raises(Stopped):
            open_dataset(Coco(train=split, val=split), "train")

    def test_between_annotation_files_of_voc(self, tmp_path: Path) -> None:
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (tmp_path / name).mkdir(parents=True)
        for split in ("train", "val"):
            (tmp_path / f"ImageSets/Main/{split}.txt").write_text("\n".join(map(str, range(256))))
        with pytest.raises(Stopped):
            open_dataset(Voc(folder=str(tmp_path), classes=("a",)), "train")

    def test_between_label_files_of_yolo(self, tmp_path: Path) -> None:
        (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
        (tmp_path / "images").mkdir()
        for number in range(256):
            (tmp_path / f"images/{number}.png").touch()
        with pytest.raises(Stopped):
            open_dataset(Yolo(data_yaml=str(tmp_path / "data.yaml")), "train")

    def test_between_pictures_of_samples(self) -> None:
        dataset = open_dataset(Shapes(num_train=8, num_val=4, image_size_px=32), "val")
        with pytest.raises(Stopped):
            draw_annotations(dataset, 4)

    def test_between_measurements_of_latency(self) -> None:
        detector = build_detector(SPEC.detector, 5).eval()
        dataset = open_dataset(Shapes(num_train=8, num_val=4, image_size_px=32), "val")
        with pytest.raises(Stopped):
            measure_speed(detector, dataset, InputSpec(shorter_px=32), device=torch.device("cpu"))

    def test_while_another_run_measures(self, tmp_path: Path) -> None:
        mine, measuring, third = (DeviceLock(tmp_path / "devices", "cpu") for _ in range(3))
        mine.acquire()
        with measuring.exclusive(wait_s=0) as is_alone:
            assert not is_alone  # it waits for the other run
            with pytest.raises(Stopped):
                mine.yield_device()
        measuring.release()
        # A stopped run holds no lock.
        with third.exclusive(wait_s=0) as is_alone:
            assert is_alone

    def test_while_pycocotools_scores_detections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pycocotools_engine, "_CALLS_PER_STOP_CHECK", 10)
        dataset = open_dataset(Shapes(num_train=8, num_val=4, image_size_px=32), "val")
        with pytest.raises(Stopped):
            pycocotools_engine.curves(columns_of(dataset, {}, "bbox"))

    def test_while_a_download_hangs(self) -> None:
        hangs = threading.Event()
        with pytest.raises(Stopped):
            run_in_thread(hangs.wait)
        hangs.set()

    def test_while_the_control_plane_is_away(self) -> None:
        def ask() -> None:
            raise NetworkError("no answer")

        with pytest.raises(Stopped):
            retry_until_reachable(ask)

    def test_after_every_item_but_the_first(self) -> None:
        items = stoppable([1, 2, 3])
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(Stopped):
            next(items)

    def test_does_nothing_if_the_run_may_continue(self) -> None:
        with checking_for_stop(lambda: False):
            assert list(stoppable([1, 2, 3])) == [1, 2, 3]
            assert run_in_thread(lambda: "there") == "there"


def test_an_error_of_the_work_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        run_in_thread(lambda: 1 // 0)
