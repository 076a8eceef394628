"""One teacher for all trials of a node: its maps are computed once and bit-identical, and a failure stops no trial."""

import multiprocessing
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from fgd_core.data import open_dataset
from fgd_core.data.loading import TrainLoader
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.events import TeacherChecked, Warned
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.methods import Composed
from fgd_core.training.teacher_maps import OwnTeacher
from tests.library import RecordingContext, distill_spec, train_spec
from tests.tiers import slow
from workers.tuning.shared_teacher import SharedTeacher
from workers.tuning.teacher_batches import SharedMaps, SharingStats
from workers.tuning.teacher_store import TeacherStore, steps_until_needed
from workers.tuning.teacher_weights import share_weights

STEPS = 4
# A batch of TINY: 4 images of 64 px, 8 channels, 8 x 8 + 4 x 4 + 2 x 2 + 1 + 1 cells of 4 bytes.
BATCH_BYTES = 4 * 8 * 86 * 4


class SharingContext(RecordingContext):
    """The `RunContext` of a trial; it calls `at_step` with the number of each step, before the step."""

    def __init__(self, job_dir: Path, shared: SharedTeacher, *, at_step: Callable[[int], None] | None = None) -> None:
        super().__init__(job_dir)
        self.teacher_sharing = shared.source_for(3, self.emit)
        self._at_step, self._step = at_step, 0

    def should_stop(self) -> bool:
        if self._at_step is not None:
            self._at_step(self._step)
        self._step += 1
        return super().should_stop()

    @property
    def stats(self) -> SharingStats:
        return self.teacher_sharing.stats

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.of(Warned) if event.code == "shared_teacher_off"]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> DistillSpec:
    folder = tmp_path_factory.mktemp("teacher")
    execute(train_spec(), RecordingContext(folder))
    return distill_spec(folder / "checkpoints/last.pt", teacher={"gate": "keys"})


@pytest.fixture(scope="module")
def alone(spec: DistillSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The final weights of a run that shares nothing."""
    return weights_after(spec, RecordingContext(tmp_path_factory.mktemp("alone")))


@pytest.fixture
def shared(tmp_path: Path) -> SharedTeacher:
    return SharedTeacher("sweep", parent=tmp_path)


def weights_after(spec: DistillSpec, context: RecordingContext) -> dict[str, Tensor]:
    finished = execute(spec, context)
    if isinstance(context, SharingContext):
        context.teacher_sharing.close()
    assert finished.error is None, finished.error.traceback
    return read_checkpoint(context.job_dir / "checkpoints/last.pt")[0].state


def are_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(found[name], value) for name, value in expected.items())


OTHER_BATCHES = slow("tests/workers/test_shared_teacher.py::TestSharing::test_trials_with_other_batches_share_nothing")
RESUMES = slow("tests/workers/test_shared_teacher.py::TestSharing::test_a_stopped_trial_resumes_with_identical_bits")
SHARING = slow("tests/workers/test_shared_teacher.py::TestSharing::test_trials_compute_each_batch_once")


class TestSharing:
    def test_trials_compute_each_batch_once_and_get_the_weights_of_a_trial_alone(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path
    ) -> None:
        first, second = SharingContext(tmp_path / "1", shared), SharingContext(tmp_path / "2", shared)
        assert are_equal(weights_after(spec, first), alone)
        assert are_equal(weights_after(spec, second), alone)
        # One batch more is needed before training, for the advice on the temperature.
        assert first.stats == SharingStats(shared=1, computed=STEPS)
        assert second.stats == SharingStats(shared=STEPS + 1)
        assert first.warnings == second.warnings == []

    def test_trials_with_other_weights_of_the_loss_share(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        other = spec.model_copy(update={"method": spec.method.model_copy(update={"scale": 1.0})})
        context = SharingContext(tmp_path / "2", shared)
        found = weights_after(other, context)
        assert context.stats.computed == 0
        assert are_equal(found, weights_after(other, RecordingContext(tmp_path / "3")))
        assert not are_equal(found, alone)

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 1},
            pytest.param({"training": {"batch_size": 2}}, marks=OTHER_BATCHES),
            pytest.param({"input": {"flip_probability": 0.0}}, marks=OTHER_BATCHES),
        ],
        ids=str,
    )
    def test_trials_with_other_batches_share_nothing(
        self, spec: DistillSpec, shared: SharedTeacher, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        other = distill_spec(spec.teacher.checkpoint, teacher={"gate": "keys"}, **change)
        context = SharingContext(tmp_path / "2", shared)
        weights_after(other, context)
        assert context.stats.shared == 1  # its own batch, of the advice
        assert context.warnings == []

    @SHARING
    def test_trials_that_compare_the_backbone_share_its_maps_among_themselves(
        self, spec: DistillSpec, shared: SharedTeacher, tmp_path: Path
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        below = spec.model_copy(update={"method": Composed(of="backbone")})
        first, second = SharingContext(tmp_path / "2", shared), SharingContext(tmp_path / "3", shared)
        expected = weights_after(below, RecordingContext(tmp_path / "4"))
        assert are_equal(weights_after(below, first), expected)
        assert are_equal(weights_after(below, second), expected)
        assert first.stats == SharingStats(computed=STEPS) and second.stats == SharingStats(shared=STEPS)

    def test_trials_with_another_input_scale_share_only_among_themselves(
        self, spec: DistillSpec, shared: SharedTeacher, tmp_path: Path
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        closer = spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"input_scale": 2.0})})
        first, second = SharingContext(tmp_path / "2", shared), SharingContext(tmp_path / "3", shared)
        expected = weights_after(closer, RecordingContext(tmp_path / "4"))
        assert are_equal(weights_after(closer, first), expected)
        assert are_equal(weights_after(closer, second), expected)
        assert first.stats == SharingStats(shared=1, computed=STEPS)
        assert second.stats == SharingStats(shared=STEPS + 1)
        assert first.warnings == second.warnings == []

    def test_trials_share_the_maps_of_each_picture_and_of_each_teacher(
        self, spec: DistillSpec, shared: SharedTeacher, tmp_path: Path
    ) -> None:
        dataset = open_dataset(spec.data, "train")
        (tmp_path / "copies").mkdir()
        for index, sample in enumerate(dataset.samples):
            pixels = 255 - dataset.load_image(index).permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / "copies" / sample.file_name)
        several = distill_spec(
            spec.teacher.checkpoint,
            teacher={"gate": "keys"},
            more_teachers=[{"checkpoint": spec.teacher.checkpoint, "gate": "keys", "input_scale": 2}],
            method={"type": "ikd", "base": {"type": "pkd"}, "until_epoch": 1},
            data={"pictures": {"adversarial": {"train": str(tmp_path / "copies")}}},
        )
        first, second = SharingContext(tmp_path / "1", shared), SharingContext(tmp_path / "2", shared)
        expected = weights_after(several, RecordingContext(tmp_path / "3"))
        assert are_equal(weights_after(several, first), expected)
        assert are_equal(weights_after(several, second), expected)
        # Two teachers on the images of all steps, and on the copies of the first of two epochs.
        assert first.stats.computed == second.stats.shared == 2 * (STEPS + STEPS // 2)
        assert second.stats.computed == 0
        assert first.warnings == second.warnings == []

    def test_trials_without_distillation_need_no_maps(
        self, spec: DistillSpec, shared: SharedTeacher, tmp_path: Path
    ) -> None:
        plain = spec.model_copy(update={"method": spec.method.model_copy(update={"scale": 0.0})})
        context = SharingContext(tmp_path / "1", shared)
        weights_after(plain, context)
        assert context.stats == SharingStats()

    @pytest.mark.parametrize(
        "steps", [pytest.param(1, id="mid-epoch", marks=RESUMES), pytest.param(3, id="in the second epoch")]
    )
    def test_a_stopped_trial_resumes_with_identical_bits(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path, steps: int
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        stopped = SharingContext(tmp_path / "2", shared)
        stopped._stop_after_steps = steps
        assert execute(spec, stopped).outcome == "stopped"
        resumed = SharingContext(tmp_path / "2", shared)
        assert are_equal(weights_after(spec, resumed), alone)
        assert resumed.stats == SharingStats(shared=1 + STEPS - steps)

    @SHARING
    def test_trials_in_bfloat16_share(self, shared: SharedTeacher, spec: DistillSpec, tmp_path: Path) -> None:
        changed = distill_spec(spec.teacher.checkpoint, teacher={"gate": "keys"}, training={"precision": "bfloat16"})
        weights_after(changed, SharingContext(tmp_path / "1", shared))
        context = SharingContext(tmp_path / "2", shared)
        found = weights_after(changed, context)
        assert are_equal(found, weights_after(changed, RecordingContext(tmp_path / "3")))
        assert context.stats.computed == 0


class TestFolder:
    def test_a_link_in_place_of_the_folder_is_refused(self, tmp_path: Path) -> None:
        """Every user can write to the node's shared memory, and can guess the folder's name."""
        mine = tmp_path / "mine"
        mine.mkdir(mode=0o700)
        (tmp_path / "fgd-teacher-sweep").symlink_to(mine)
        with pytest.raises(PermissionError, match="fgd-teacher-sweep"):
            TeacherStore("sweep", 0, tmp_path)
        assert list(mine.iterdir()) == []

    def test_a_folder_that_others_can_write_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "fgd-teacher-sweep").mkdir()
        (tmp_path / "fgd-teacher-sweep").chmod(0o777)
        with pytest.raises(PermissionError, match="open to others"):
            TeacherStore("sweep", 0, tmp_path)


class TestTeacherWeights:
    def test_equal_weights_are_in_memory_once(self, spec: DistillSpec, tmp_path: Path) -> None:
        store = TeacherStore("sweep", 0, tmp_path)
        teachers = [read_checkpoint(Path(spec.teacher.checkpoint))[0].build("teacher", "")[0] for _ in range(2)]
        before = {name: tensor.clone() for name, tensor in teachers[0].state_dict().items()}
        for teacher in teachers:
            share_weights(teacher, store, patience_s=1)
            assert are_equal(teacher.state_dict(), before)
        (file,) = store.folder.glob("*.weights")
        maps = Path("/proc/self/smaps").read_text()
        assert maps.count(str(file)) == 2
        file.unlink()
        assert are_equal(teachers[1].state_dict(), before)

    def test_different_weights_stay_separate(self, spec: DistillSpec, tmp_path: Path) -> None:
        store = TeacherStore("sweep", 0, tmp_path)
        teachers = [read_checkpoint(Path(spec.teacher.checkpoint))[0].build("teacher", "")[0] for _ in range(2)]
        with torch.no_grad():
            next(teachers[1].parameters()).add_(1)
        before = [{name: tensor.clone() for name, tensor in each.state_dict().items()} for each in teachers]
        for teacher, expected in zip(teachers, before, strict=True):
            share_weights(teacher, store, patience_s=1)
            assert are_equal(teacher.state_dict(), expected)


class TestTeacherAp:
    def test_the_ap_is_measured_once(self, shared: SharedTeacher) -> None:
        first, second = (shared.source_for(trial, print) for trial in (0, 1))
        assert first.ap("key", lambda: 0.25) == 0.25
        assert second.ap("key", lambda: pytest.fail("measured again")) == 0.25
        assert second.ap("another key", lambda: None) is None
        assert first.ap("another key", lambda: pytest.fail("measured again")) is None

    def test_each_trial_reports_the_ap(self, spec: DistillSpec, shared: SharedTeacher, tmp_path: Path) -> None:
        gated = spec.model_copy(update={"teacher": spec.teacher.model_copy(update={"gate": "ap"})})
        context = SharingContext(tmp_path / "1", shared)
        context.teacher_sharing.ap = lambda key, measure: 0.75  # type: ignore[method-assign]
        execute(gated, context)
        assert [event.ap for event in context.of(TeacherChecked)] == [0.75]

    def test_another_trial_measures_it_after_the_first_was_killed(self, shared: SharedTeacher) -> None:
        def measure() -> float:
            os.kill(os.getpid(), signal.SIGKILL)
            return 0.0

        source = shared.source_for(0, print)
        _forked(lambda: shared.source_for(1, print).ap("key", measure))
        assert source.ap("key", lambda: 0.5) == 0.5


class TestFallback:
    """In each case the trial gets the weights of a trial alone, and warns once that it does not share any more."""

    def test_a_limit_below_one_batch_turns_sharing_off(
        self, spec: DistillSpec, alone: dict[str, Tensor], tmp_path: Path
    ) -> None:
        context = SharingContext(tmp_path / "1", SharedTeacher("sweep", max_bytes=1000, parent=tmp_path))
        assert are_equal(weights_after(spec, context), alone)
        assert context.stats.alone == STEPS + 1
        assert len(context.warnings) == 1 and "1,000" in context.warnings[0]

    def test_a_limit_of_one_batch_needs_no_fallback(
        self, spec: DistillSpec, alone: dict[str, Tensor], tmp_path: Path
    ) -> None:
        shared = SharedTeacher("sweep", max_bytes=BATCH_BYTES + 20_000, parent=tmp_path)
        sizes: list[int] = []
        store = TeacherStore("sweep", 0, tmp_path)
        for name in ("1", "2"):
            context = SharingContext(tmp_path / name, shared, at_step=lambda _: sizes.append(store.num_bytes()))
            assert are_equal(weights_after(spec, context), alone)
            assert context.stats.computed >= STEPS - 1
            assert context.warnings == []
        assert 0 < max(sizes) <= shared.max_bytes

    def test_removing_the_memory_turns_sharing_off(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path
    ) -> None:
        def remove(step: int) -> None:
            if step == 1:
                shutil.rmtree(tmp_path / "fgd-teacher-sweep")

        context = SharingContext(tmp_path / "1", shared, at_step=remove)
        assert are_equal(weights_after(spec, context), alone)
        assert context.stats.alone == STEPS - 1
        assert len(context.warnings) == 1

    def test_a_folder_that_cannot_be_made_turns_sharing_off(
        self, spec: DistillSpec, alone: dict[str, Tensor], tmp_path: Path
    ) -> None:
        context = SharingContext(tmp_path / "1", SharedTeacher("sweep", parent=tmp_path / "nowhere"))
        assert are_equal(weights_after(spec, context), alone)
        assert len(context.warnings) == 1

    def test_a_batch_that_another_run_does_not_finish_is_computed_alone(
        self, spec: DistillSpec, alone: dict[str, Tensor], tmp_path: Path
    ) -> None:
        shared = SharedTeacher("sweep", parent=tmp_path, patience_s=0.05)
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        store = TeacherStore("sweep", 0, tmp_path)
        entry = next(path for path in sorted(store.folder.glob("*.maps")) if ".2." in path.name)
        entry.unlink()
        with store.claim(entry.name.removesuffix(".maps")) as is_ours:
            context = SharingContext(tmp_path / "2", shared)
            assert is_ours and are_equal(weights_after(spec, context), alone)
        # Only that batch; the other batches are still shared.
        assert (context.stats.shared, context.stats.alone) == (STEPS, 1)
        assert len(context.warnings) == 1 and "batch 2" in context.warnings[0]

    def test_maps_of_other_images_turn_sharing_off(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        entries = sorted((tmp_path / "fgd-teacher-sweep").glob("*.maps"))
        entries[1].replace(entries[2])
        context = SharingContext(tmp_path / "2", shared)
        assert are_equal(weights_after(spec, context), alone)
        assert "other images" in context.warnings[0]

    def test_a_damaged_entry_turns_sharing_off(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path
    ) -> None:
        weights_after(spec, SharingContext(tmp_path / "1", shared))
        for entry in (tmp_path / "fgd-teacher-sweep").glob("*.maps"):
            entry.write_bytes(entry.read_bytes()[:500])
        context = SharingContext(tmp_path / "2", shared)
        assert are_equal(weights_after(spec, context), alone)
        assert len(context.warnings) == 1


class TestConcurrentRuns:
    def test_a_run_continues_when_another_run_is_killed(
        self, spec: DistillSpec, alone: dict[str, Tensor], shared: SharedTeacher, tmp_path: Path
    ) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        other = spawn.Process(target=run_and_hang, args=(spec, tmp_path / "other", shared, theirs))
        other.start()

        def kill(step: int) -> None:
            if step == 1:
                assert other.pid is not None
                os.kill(other.pid, signal.SIGKILL)
                other.join()

        try:
            assert ours.poll(60), "the other run did not reach its second step"
            context = SharingContext(tmp_path / "1", shared, at_step=kill)
            # The other run holds the claim on batch 2, which it never computes.
            assert are_equal(weights_after(spec, context), alone)
        finally:
            other.kill()
            other.join()
        assert context.stats.alone == 0
        assert context.stats.shared >= 3
        assert context.warnings == []


def run_and_hang(spec: DistillSpec, folder: Path, shared: SharedTeacher, pipe: Connection) -> None:
    def hang(step: int) -> None:
        if step == 2:
            store = TeacherStore(shared.sweep_id, 0, shared.parent)
            group = next(store.folder.glob("*.0.maps")).name.split(".")[0]
            with store.claim(f"{group}.2"):
                pipe.send("holding")
                signal.pause()

    execute(spec, SharingContext(folder, shared, at_step=hang))


class TestWaiting:
    GROUP = f"{'k' * 32}-float32"

    @pytest.mark.parametrize(
        ("num_train", "ahead"), [(40, [*range(1, 9)]), (8, [1])], ids=["in mid-epoch", "at an epoch's end"]
    )
    def test_a_waiting_run_computes_the_next_batches(
        self, spec: DistillSpec, tmp_path: Path, num_train: int, ahead: list[int]
    ) -> None:
        data = spec.data.model_copy(update={"num_train": num_train})
        loader = TrainLoader(open_dataset(data, "train"), spec.input, batch_size=4, seed=0, workers=0)
        teacher, _ = read_checkpoint(Path(spec.teacher.checkpoint))[0].build("teacher", "")
        own = OwnTeacher(teacher.eval())
        store, stats = TeacherStore("sweep", 10**7, tmp_path), SharingStats()
        with store.register_run() as position:
            maps = SharedMaps("k" * 64, own, loader, store=store, position=position, stats=stats, patience_s=1)
            batches = (batch.to("cpu") for batch in loader.epoch(0))
            with store.claim(f"{self.GROUP}.0"), pytest.raises(TimeoutError):
                maps.maps(next(batches).to("cpu"))
            assert [number for number in range(12) if store.has(self.GROUP, number)] == ahead
            assert (stats.ahead, stats.shared) == (len(ahead), 0)
            # They are the maps of the next batches.
            for batch in (each.to("cpu") for each in batches):
                assert all(map(torch.equal, maps.maps(batch), own.maps(batch)))
        assert stats.shared == len(ahead)

    def test_after_its_last_batch_a_run_needs_none(self, spec: DistillSpec, tmp_path: Path) -> None:
        loader = TrainLoader(open_dataset(spec.data, "train"), spec.input, batch_size=4, seed=0, workers=0)
        teacher, _ = read_checkpoint(Path(spec.teacher.checkpoint))[0].build("teacher", "")
        own = OwnTeacher(teacher.eval())
        store, stats = TeacherStore("sweep", 10**7, tmp_path), SharingStats()
        options: dict[str, Any] = {"store": store, "stats": stats, "patience_s": 1, "num_batches": 2}
        with store.register_run() as position:
            maps = SharedMaps("k" * 64, own, loader, position=position, **options)
            first, second = next(loader.epoch(0)).to("cpu"), next(loader.epoch(0, 1)).to("cpu")
            maps.maps(first)
            assert store._positions() == {self.GROUP: [1]}
            maps.maps(second)
            assert store._positions() == {}


class TestTeacherStore:
    def test_an_entry_keeps_layout_type_and_bits(self, tmp_path: Path) -> None:
        store = TeacherStore("sweep", 10**6, tmp_path)
        maps = [
            torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
            torch.randn(2, 3, 4, 5).bfloat16(),
        ]
        assert store.put("group", 0, {"maps": maps}, 1000)
        found = store.get("group", 0)
        assert found is not None
        for expected, each in zip(maps, found["maps"], strict=True):
            assert torch.equal(each, expected)
            assert (each.dtype, each.stride()) == (expected.dtype, expected.stride())
            assert each.data_ptr() % 64 == 0  # as PyTorch's own tensors; the order of sums may depend on it

    def test_views_of_a_removed_entry_stay_valid(self, tmp_path: Path) -> None:
        store = TeacherStore("sweep", 10**6, tmp_path)
        store.put("group", 0, {"maps": torch.ones(1000)}, 4000)
        found = store.get("group", 0)
        store.folder.joinpath("group.0.maps").unlink()
        assert found is not None and found["maps"].sum() == 1000
        assert store.get("group", 0) is None

    def test_the_entry_that_is_needed_last_is_removed_first(self, tmp_path: Path) -> None:
        store = self.full_store(tmp_path, numbers=[3, 5, 9])
        with store.register_run() as slow, store.register_run() as fast:
            slow.move("group", 4)
            fast.move("group", 9)
            # Both runs have passed batch 3. Batch 5 is needed in one step.
            assert self.put(store, 6)
            assert self.numbers(store) == [5, 6, 9]
            # Batch 8 is needed in four steps, all the others sooner.
            assert not self.put(store, 8)
            assert self.numbers(store) == [5, 6, 9]

    def test_without_runs_the_first_batches_stay_for_later_runs(self, tmp_path: Path) -> None:
        store = self.full_store(tmp_path, numbers=[0, 1, 7])
        assert self.put(store, 2)
        assert not self.put(store, 8)
        assert self.numbers(store) == [0, 1, 2]

    def test_a_dead_run_does_not_count(self, tmp_path: Path) -> None:
        store = self.full_store(tmp_path, numbers=[0, 1, 7])

        def register_and_die() -> None:
            with TeacherStore("sweep", 0, tmp_path).register_run() as position:
                position.move("group", 7)
                os.kill(os.getpid(), signal.SIGKILL)

        _forked(register_and_die)
        assert self.put(store, 2)
        assert self.numbers(store) == [0, 1, 2]
        assert list(store.folder.glob("*.run")) == []

    def test_half_of_the_free_memory_stays_free(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = TeacherStore("sweep", 10**9, tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=80_000))
        assert self.put(store, 0)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=58_000))
        assert not self.put(store, 1)
        store.folder.joinpath("group.0.maps").unlink()
        with pytest.raises(OSError, match="36,384 bytes of shared memory, of 29,000"):
            self.put(store, 1)

    def test_a_partial_entry_is_ignored_and_removed(self, tmp_path: Path) -> None:
        store = TeacherStore("sweep", 10**6, tmp_path)
        store.folder.joinpath("group.0.part").write_bytes(b"partial")
        assert store.get("group", 0) is None
        assert self.put(store, 1)
        assert not store.folder.joinpath("group.0.part").exists()

    def test_only_folders_of_dead_sweeps_are_removed(self, tmp_path: Path) -> None:
        _forked(lambda: TeacherStore("dead", 0, tmp_path))
        living = TeacherStore("living", 0, tmp_path)
        assert (tmp_path / "fgd-teacher-dead").exists() is False
        TeacherStore("another", 0, tmp_path)
        assert living.folder.exists()

    def full_store(self, tmp_path: Path, *, numbers: list[int]) -> TeacherStore:
        store = TeacherStore("sweep", 82_000, tmp_path)
        assert all(self.put(store, number) for number in numbers)
        return store

    def put(self, store: TeacherStore, number: int) -> bool:
        return store.put("group", number, {"maps": torch.zeros(5000)}, 20_000)

    def numbers(self, store: TeacherStore) -> list[int]:
        return sorted(int(path.name.split(".")[1]) for path in store.folder.glob("*.maps"))


def _forked(action: Callable[[], object]) -> None:
    """Call `action` in a forked process, which ends without closing anything."""
    pid = os.fork()
    if pid == 0:
        action()
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("number", "positions", "steps"), [(5, [5], 0), (5, [3, 4, 9], 1), (5, [6], 1e12 + 5), (5, [], 1e12 + 5)]
)
def test_a_batch_is_needed_when_the_nearest_run_before_it_arrives(
    number: int, positions: list[int], steps: float
) -> None:
    assert steps_until_needed(number, positions) == steps


class TestSharedTeacher:
    def test_a_worker_that_ends_frees_nothing_that_another_trial_uses(
        self, shared: SharedTeacher, tmp_path: Path
    ) -> None:
        folder = tmp_path / "fgd-teacher-sweep"
        trial = shared.source_for(1, print)
        shared.clear()
        assert folder.exists()
        trial.close()
        shared.clear()
        assert not folder.exists()

    def test_it_can_be_pickled(self) -> None:
        shared = SharedTeacher("s", max_bytes=5)
        assert pickle.loads(pickle.dumps(shared)) == shared
