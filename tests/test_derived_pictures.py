"""A job that derives adversarial pictures: what it writes, that it goes on where it stopped, and that IKD uses it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fgd_core.data import open_dataset
from fgd_core.data.loading import normalised
from fgd_core.data.targets import Targets
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.data import Shapes
from fgd_core.spec.events import DataSetChecked, EpochFinished, EvaluationProgress
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.training.adversarial import class_loss
from tests.library import TINY, RecordingContext, distill_spec, train_spec

DATA = TINY["data"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train for some epochs: the loss of a network that knows nothing hardly changes."""
    context = RecordingContext(tmp_path_factory.mktemp("teacher"))
    spec = train_spec(training={"epochs": 12, "evaluate_every": 12, "optimizer": {"learning_rate": 3e-3}})
    assert execute(spec, context).outcome == "succeeded"
    return context.job_dir / "checkpoints" / "best.pt"


def derive_spec(teacher: Path, folder: Path, **fields: Any) -> DeriveDataSpec:
    spec = JOB_SPEC.validate_python(
        {
            "kind": "derive_data",
            "name": "copies",
            "data": DATA,
            "teacher": {"checkpoint": str(teacher)},
            "dataset": "shapes-adversarial",
            "folder": str(folder),
            "input": TINY["input"],
            **fields,
        }
    )
    assert isinstance(spec, DeriveDataSpec)
    return spec


@pytest.fixture(scope="module")
def derived(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecordingContext]:
    root = tmp_path_factory.mktemp("derived")
    context = RecordingContext(root / "job")
    finished = execute(derive_spec(teacher, root / "pictures"), context)
    assert finished.outcome == "succeeded", finished.error
    return root / "pictures", context


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "train").iterdir())}


class StopsAfterPictures(RecordingContext):
    """Asks to stop when the folder holds a number of pictures."""

    def __init__(self, job_dir: Path, folder: Path, number: int) -> None:
        super().__init__(job_dir)
        self._folder, self._number = folder / "train", number

    def should_stop(self) -> bool:
        return self._folder.exists() and len([*self._folder.iterdir()]) >= self._number


class TestPictures:
    def test_raise_the_teachers_loss_by_a_fifth_within_the_largest_change(
        self, teacher: Path, derived: tuple[Path, RecordingContext]
    ) -> None:
        detector = read_checkpoint(teacher)[0].build("teacher", "t")[0].eval()
        dataset = open_dataset(Shapes.model_validate(DATA), "train")
        losses = []
        for index, sample in enumerate(dataset.samples):
            image = dataset.load_image(index)
            pixels = np.array(Image.open(derived[0] / "train" / sample.file_name))
            picture = torch.from_numpy(pixels).permute(2, 0, 1)
            both = normalised(image), normalised(picture)
            largest = (both[0].amax((1, 2)) - both[0].amin((1, 2))).max()
            # Files hold whole numbers of 0 to 255.
            assert (both[1] - both[0]).abs().max() <= 8 / 255 * largest + 0.5 / 57
            targets = Targets(
                [torch.from_numpy(sample.boxes_xyxy_px)], [torch.from_numpy(sample.labels)], [(64, 64)], None
            )
            with torch.no_grad():
                losses.append([class_loss(detector, each[None], targets).item() for each in both])
        before, after = np.sum(losses, axis=0)
        assert after >= 1.2 * before

    def test_are_counted_and_have_a_fingerprint(self, derived: tuple[Path, RecordingContext]) -> None:
        progress = derived[1].of(EvaluationProgress)[-1]
        assert (progress.what, progress.done, progress.total) == ("adversarial pictures of the train split", 8, 8)
        assert set(derived[1].of(DataSetChecked)[0].pictures) == {"adversarial.train"}

    def test_of_a_job_that_was_stopped_are_those_of_an_undisturbed_job(
        self, teacher: Path, derived: tuple[Path, RecordingContext], tmp_path: Path
    ) -> None:
        folder = tmp_path / "pictures"
        stopped = StopsAfterPictures(tmp_path / "job", folder, 3)
        assert execute(derive_spec(teacher, folder), stopped).outcome == "stopped"
        kept = {path.name: path.stat().st_mtime_ns for path in (folder / "train").iterdir()}
        assert 3 <= len(kept) < 8
        assert execute(derive_spec(teacher, folder), RecordingContext(tmp_path / "job")).outcome == "succeeded"
        assert {name: (folder / "train" / name).stat().st_mtime_ns for name in kept} == kept
        assert pictures(folder) == pictures(derived[0])

    def test_of_validation_images_can_be_added_later(
        self, teacher: Path, derived: tuple[Path, RecordingContext], tmp_path: Path
    ) -> None:
        before = pictures(derived[0])
        spec = derive_spec(teacher, derived[0], with_val=True)
        assert execute(spec, RecordingContext(tmp_path)).outcome == "succeeded"
        assert len([*(derived[0] / "val").iterdir()]) == 4 and pictures(derived[0]) == before


class TestFolder:
    @pytest.mark.parametrize("changes", [{"seed": 1}, {"derivation": {"steps": 2}}], ids=["seed", "steps"])
    def test_of_other_settings_is_refused(
        self, teacher: Path, derived: tuple[Path, RecordingContext], tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        finished = execute(derive_spec(teacher, derived[0], **changes), RecordingContext(tmp_path))
        assert finished.error is not None and "other settings" in finished.error.message

    def test_with_other_files_is_refused_and_unchanged(self, teacher: Path, tmp_path: Path) -> None:
        folder = tmp_path / "own"
        folder.mkdir()
        (folder / "thesis.txt").write_text("irreplaceable")
        finished = execute(derive_spec(teacher, folder), RecordingContext(tmp_path / "job"))
        assert finished.error is not None and "not empty" in finished.error.message
        assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_distillation_compares_the_pictures(
    teacher: Path, derived: tuple[Path, RecordingContext], tmp_path: Path
) -> None:
    data = derive_spec(teacher, derived[0]).derived()
    assert data is not None
    spec = distill_spec(
        teacher,
        teacher={"gate": "keys"},
        data=data.model_dump(mode="json"),
        method={"type": "ikd", "base": {"type": "fgd", "scale": 0.05}, "until_epoch": 1},
        input={"augment": [{"type": "gaussian_noise"}, {"type": "random_crop", "until_epoch": 1}]},
    )
    context = RecordingContext(tmp_path)
    finished = execute(spec, context)
    assert finished.outcome == "succeeded", finished.error
    assert ["distill/adversarial" in each.values for each in context.of(EpochFinished)] == [True, False]
