"""Every recipe runs to its end at a small size: tiny networks, a few images, one epoch."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from fgd_core.runs import execute
from fgd_core.spec.data import Coco, CocoSplit
from fgd_core.spec.events import MetricsLogged, WeightsLoaded
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.resources import Resources
from service.catalogue.recipes import recipes
from service.client.coco2017 import CLASSES
from service.client.spec_file import read_spec
from tests.data.coco_folder import CocoFolder
from tests.detectors.mmdetection_layouts import filled
from tests.library import RecordingContext
from tests.published_teachers import config_of, layout_of, tiny
from tests.tiers import slow

SIZE_PX = 64
KEPT = (
    "retinanet_r50_from_mask_rcnn_swin",
    "faster_rcnn_r50_from_cascade_x101",
    "mask_rcnn_r50_from_cascade_x101",
    "reppoints_r50_from_x101",
    "fcos_r50_from_r101",
    "gfl_r50_from_r101",
    "solo_r50_from_r101",
    "pkd_faster_rcnn_r50_from_r101",
    "mgd_retinanet_r50_from_x101",
    "cwd_retinanet_r50_from_x101",
    "ld_gfl_r50_from_r101",
    "crosskd_retinanet_r50_from_r101",
)
"""Of these, each kind of student, of teacher and of method has one."""
OTHERS = slow("tests/test_recipes_run.py::test_the_recipe_succeeds")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Coco:
    """Images with squares as one of COCO's 80 classes, with segmentations."""
    splits: dict[str, CocoSplit] = {}
    for split, num_images in (("train", 4), ("val", 2)):
        folder = CocoFolder(tmp_path_factory.mktemp(split))
        folder.categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
        for number in range(num_images):
            image = Image.new("RGB", (SIZE_PX, SIZE_PX), "black")
            image.paste("white", (8 * number, 8, 8 * number + 32, 40))
            x = 8 * number
            outline = [[x, 8, x + 32, 8, x + 32, 40, x, 40]]
            folder.add_box(folder.add_image(image), (x, 8, 32, 32), category_id=17, segmentation=outline, area=1024)
        splits[split] = folder.write()
    return Coco(train=splits["train"], val=splits["val"])


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in KEPT else OTHERS) for name in recipes()])
def test_the_recipe_succeeds(name: str, data: Coco, tmp_path: Path) -> None:
    published, recipe = read_spec(f"recipe:{name}"), recipes()[name]
    assert isinstance(published, DistillSpec)
    assert published.teacher.detector is not None
    teacher, checkpoint = tiny(published.teacher.detector), tmp_path / recipe.teacher_file
    meta = {"CLASSES": CLASSES, "config": config_of(recipe.teacher_file)}
    torch.save({"state_dict": filled(layout_of(recipe.teacher_file, is_tiny=True)), "meta": meta}, checkpoint)
    spec = published.model_copy(
        update={
            "student": tiny(published.student).model_copy(update={"weights": None}),
            # Its weights are random: only its classes are right.
            "teacher": Teacher(checkpoint=str(checkpoint), detector=teacher, gate="keys"),
            "data": data,
            "input": published.input.model_copy(update={"shorter_px": SIZE_PX, "train_shorter_px": ()}),
            "training": published.training.model_copy(update={"epochs": 1, "batch_size": 2, "loader_workers": 0}),
            "resources": Resources(),
        }
    )
    context = RecordingContext(tmp_path / "job")
    ended = execute(spec, context)
    assert ended.outcome == "succeeded", ended.error
    (loaded,) = [event for event in context.events if isinstance(event, WeightsLoaded) and event.role == "teacher"]
    assert loaded.num_matched == loaded.num_total
    (logged, *_) = [event for event in context.events if isinstance(event, MetricsLogged)]
    distilled = {path.removeprefix("distill/") for path in logged.values if path.startswith("distill/")}
    if recipe.publication.levels:
        assert {name for name in distilled if name.startswith("P")} == set(recipe.publication.levels)
    else:
        assert distilled, "a method that compares outputs of heads logs its terms"
