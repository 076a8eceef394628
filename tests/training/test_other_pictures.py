"""A teacher that sees another picture than the student, and lessons on other pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.data.samples import Split
from fgd_core.data.shapes import ShapesDataset
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.methods.base import Moment
from fgd_core.runs import execute
from fgd_core.spec.data import Registered, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import EpochFinished, TeacherChecked, Warned
from fgd_core.spec.methods import Pkd
from fgd_core.training.distiller import Distiller
from tests.library import TINY, TINY_DETECTOR, RecordingContext, distill_spec, train_spec

SPLITS: tuple[Split, ...] = ("train", "val")


def detector(seed: int) -> Detector:
    torch.manual_seed(seed)
    return build_detector(RetinaNet.model_validate(TINY_DETECTOR), 3).eval()


def batch(images: Tensor, depth: Tensor) -> Batch:
    empty = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    return Batch(images, [(64, 64)] * 2, *empty, [1, 2], [(64, 64)] * 2, pictures={"depth": depth})


class Given:
    """A source of maps that are given."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        self._maps = maps

    def maps(self, batch: Batch) -> Sequence[Tensor]:
        return self._maps


def test_a_teacher_sees_its_picture_and_the_student_the_image() -> None:
    images, depth = torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    student, teacher = detector(1), detector(2)
    features, given = student.features(images), batch(images, depth)
    seen, _ = Distiller(Pkd(), student, teacher, picture="depth")(features, given, Moment())
    expected, _ = Distiller(Pkd(), student, teacher, {"image": Given(teacher.features(depth))})(
        features, given, Moment()
    )
    otherwise, _ = Distiller(Pkd(), student, teacher)(features, given, Moment())
    assert seen == expected != otherwise


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    context = RecordingContext(tmp_path_factory.mktemp("teacher"))
    assert execute(train_spec(training={"epochs": 1}), context).outcome == "succeeded"
    return context.job_dir / "checkpoints" / "best.pt"


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    """Return data whose pictures `depth` are its images in grey."""
    for split in SPLITS:
        dataset = ShapesDataset(Shapes.model_validate(TINY["data"]), split)
        (tmp_path / split).mkdir()
        for index, sample in enumerate(dataset.samples):
            image = Image.fromarray(dataset.load_image(index).permute(1, 2, 0).numpy())
            image.convert("L").save(tmp_path / split / sample.file_name)
    folders = {split: str(tmp_path / split) for split in SPLITS}
    return TINY["data"] | {"pictures": {"depth": folders}}


class TestRun:
    def test_measures_the_teachers_ap_on_its_picture(self, teacher: Path, data: dict[str, Any], tmp_path: Path) -> None:
        seen = {"picture": "depth", "max_ap_drop": 1}
        (tmp_path / "val" / "val_00003.png").unlink()
        finished = execute(distill_spec(teacher, teacher=seen, data=data), RecordingContext(tmp_path / "job"))
        assert finished.error is not None and "val_00003.png" in finished.error.message

        whole = RecordingContext(tmp_path / "again")
        data["pictures"]["depth"]["val"] = data["pictures"]["depth"]["train"].replace("train", "all")
        (tmp_path / "val").rename(tmp_path / "all")
        (tmp_path / "all" / "val_00003.png").write_bytes((tmp_path / "all" / "val_00001.png").read_bytes())
        execute(distill_spec(teacher, teacher=seen, data=data), whole)
        assert len(whole.of(TeacherChecked)) == 1

    def test_trains_with_a_teacher_on_another_picture(
        self, teacher: Path, data: dict[str, Any], tmp_path: Path
    ) -> None:
        values = []
        for picture in ("depth", None):
            context = RecordingContext(tmp_path / str(picture))
            fields = {"gate": "keys", "picture": picture}
            spec = distill_spec(teacher, teacher=fields, data=data, training={"epochs": 1})
            assert execute(spec, context).outcome == "succeeded"
            values.append(context.of(EpochFinished)[-1].values["distill/total"])
        assert values[0] != values[1]

    @pytest.mark.parametrize("if_changed", ["refuse", "warn"])
    def test_notices_pictures_that_changed_since_their_check(
        self, teacher: Path, data: dict[str, Any], tmp_path: Path, if_changed: str
    ) -> None:
        dataset = ShapesDataset(Shapes.model_validate(TINY["data"]), "train")
        of_val = ShapesDataset(Shapes.model_validate(TINY["data"]), "val")
        prints = {"train": dataset.fingerprint, "val": of_val.fingerprint, "pictures": {"depth.train": "0" * 64}}
        resolved = {"dataset_id": "1", "data": data, "fingerprints": prints}
        registered = Registered.model_validate({"name": "rooms", "if_changed": if_changed, "resolved": resolved})
        spec = distill_spec(teacher, teacher={"gate": "keys", "picture": "depth"}, training={"epochs": 1})
        context = RecordingContext(tmp_path / "job")
        finished = execute(spec.model_copy(update={"data": registered}), context)
        if if_changed == "warn":
            assert finished.outcome == "succeeded"
            assert "data_changed" in [each.code for each in context.of(Warned)]
        else:
            assert finished.error is not None and "'depth'" in finished.error.message
