"""The detectors to train, their sizes, and the images to train on."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.spec import detectors as spec
from fgd_core.spec.data import Coco, CocoSplit, InputSpec
from fgd_core.spec.detectors import AnyDetector

NUM_IMAGES = 8
# Small networks from scratch on small images; a detector ignores the settings that it does not have.
TEACHER: Mapping[str, Any] = {
    "backbone": {"name": "resnet18", "stem_width": 32, "norm": "group"},
    "fpn_width": 64,
    "head_norm": "group",
    "rois_per_image": 128,
}
STUDENT: Mapping[str, Any] = {
    **TEACHER,
    "backbone": {"name": "resnet18", "stem_width": 16, "blocks": [1, 1, 1, 1], "norm": "group"},
    "fpn_width": 32,
}


@dataclass(frozen=True)
class Candidate:
    """A detector to train: a row of the table, or a variant."""

    kind: type[AnyDetector]
    options: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return " ".join([self.kind.model_fields["type"].default, *(value for _, value in self.options)])


# The images have no keypoints.
PLAIN = tuple(Candidate(kind) for kind in DETECTORS if not kind.has_keypoints)
VARIANTS = (
    Candidate(spec.RetinaNet, (("version", "v2"),)),
    Candidate(spec.RetinaNet, (("convention", "mmdetection"),)),
    Candidate(spec.Fcos, (("convention", "mmdetection"),)),
    Candidate(spec.Fcos, (("convention", "mmdetection"), ("version", "v1"))),
    Candidate(spec.FasterRcnn, (("convention", "mmdetection"),)),
    Candidate(spec.MaskRcnn, (("convention", "mmdetection"),)),
)


@dataclass(frozen=True)
class Scene:
    """Eight images and their input settings."""

    folder: str
    input: InputSpec
    anchor_base_size_px: float


BLOOD_CELLS = Scene("bccd", InputSpec(shorter_px=192, longer_px=256, flip_probability=0), 16)
NUCLEI = Scene("nuclei_small", InputSpec(shorter_px=256, longer_px=256, flip_probability=0), 8)


def settings_of(candidate: Candidate, scene: Scene, values: Mapping[str, Any]) -> AnyDetector:
    """Return the detector with the values that it has settings for."""
    # Published: 32 and 96 px.
    sizes = {"anchor_base_size_px": scene.anchor_base_size_px, "object_base_size_px": 3 * scene.anchor_base_size_px}
    wanted = {**values, **sizes, **dict(candidate.options)}
    fields = candidate.kind.model_fields
    return candidate.kind.model_validate({name: value for name, value in wanted.items() if name in fields})


def scene_of(candidate: Candidate) -> Scene:
    """Return the images for a detector: nuclei if it has masks, else blood cells."""
    has_masks = build_detector(settings_of(candidate, NUCLEI, STUDENT), 1).has_masks
    return NUCLEI if has_masks else BLOOD_CELLS


def eight_images(scene: Scene, data: Path, work: Path) -> Coco:
    """Return a data set whose training and validation splits are the same eight training images.

    The images are those whose smallest object is largest: an object of three pixels would test more than learning.
    """
    content = json.loads((data / scene.folder / "annotations_train.json").read_text())
    smallest: dict[int, float] = {}
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        smallest[image] = min(smallest.get(image, math.inf), *annotation["bbox"][2:])
    chosen = sorted(_with_every_class(content), key=lambda image: (-smallest[image], image))[:NUM_IMAGES]
    content["images"] = [image for image in content["images"] if image["id"] in chosen]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in chosen]
    path = work / f"{scene.folder}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    split = CocoSplit(images=str((data / scene.folder / "images").resolve()), annotations=str(path.resolve()))
    return Coco(train=split, val=split)


def _with_every_class(content: Mapping[str, Any]) -> set[int]:
    """Return the images with objects of every class, so that AP is a mean over all classes."""
    classes: dict[int, set[int]] = {}
    for annotation in content["annotations"]:
        classes.setdefault(annotation["image_id"], set()).add(annotation["category_id"])
    return {image for image, named in classes.items() if len(named) == len(content["categories"])}
