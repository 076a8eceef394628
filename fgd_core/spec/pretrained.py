"""torchvision's pretrained weights by name, and the settings that a detector needs for them. Imports no torchvision."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.paths import field, with_fields

_NAME = re.compile(r"^(?P<family>\w+_Weights)\.\w+$")

# Family of weights -> their backbone.
BACKBONES: Mapping[str, str] = {
    "ResNet18_Weights": "resnet18",
    "ResNet34_Weights": "resnet34",
    "ResNet50_Weights": "resnet50",
    "ResNet101_Weights": "resnet101",
    "ResNet152_Weights": "resnet152",
    "ResNeXt50_32X4D_Weights": "resnext50_32x4d",
    "ResNeXt101_64X4D_Weights": "resnext101_64x4d",
    "MobileNet_V3_Large_Weights": "mobilenet_v3_large",
    "MobileNet_V3_Small_Weights": "mobilenet_v3_small",
    "Swin_T_Weights": "swin_t",
    "Swin_S_Weights": "swin_s",
}

_RESNET50_V1: Mapping[str, JsonValue] = {"version": "v1", "backbone.name": "resnet50"}
_RESNET50_V2: Mapping[str, JsonValue] = {"version": "v2", "backbone.name": "resnet50"}

# Family of weights -> the settings of their detector, by path.
DETECTORS: Mapping[str, Mapping[str, JsonValue]] = {
    "RetinaNet_ResNet50_FPN_Weights": {"type": "retinanet", **_RESNET50_V1},
    "RetinaNet_ResNet50_FPN_V2_Weights": {"type": "retinanet", **_RESNET50_V2},
    "FCOS_ResNet50_FPN_Weights": {"type": "fcos", "backbone.name": "resnet50"},
    "FasterRCNN_ResNet50_FPN_Weights": {"type": "faster_rcnn", **_RESNET50_V1},
    "FasterRCNN_ResNet50_FPN_V2_Weights": {"type": "faster_rcnn", **_RESNET50_V2},
    "MaskRCNN_ResNet50_FPN_Weights": {"type": "mask_rcnn", **_RESNET50_V1},
    "MaskRCNN_ResNet50_FPN_V2_Weights": {"type": "mask_rcnn", **_RESNET50_V2},
    "KeypointRCNN_ResNet50_FPN_Weights": {"type": "keypoint_rcnn", **_RESNET50_V1, "num_keypoints": 17},
}

# Settings that all published weights of a backbone or a detector have, if the detector has such a field.
_OF_A_BACKBONE: Mapping[str, JsonValue] = {
    "backbone.stem_width": 64,
    "backbone.width_factor": 1.0,
    "backbone.embed_dim": 96,
    "backbone.window_size": 7,
    "backbone.blocks": None,
    "backbone.stride_in": "3x3",
}
_OF_A_DETECTOR: Mapping[str, JsonValue] = {
    **_OF_A_BACKBONE,
    "backbone.deformable_stages": [],
    "fpn_width": 256,
    "head_norm": "none",
    "convention": "torchvision",
    "keypoint_width": None,
}


class Misfit(NamedTuple):
    """A field whose value keeps pretrained weights from fitting."""

    loc: str
    """Path of the field."""
    has: JsonValue
    needs: JsonValue

    def __str__(self) -> str:
        return f"set {self.loc} to {_shown(self.needs)} (it is {_shown(self.has)})"


def is_torchvision_name(source: str) -> bool:
    """Return whether `source` is a name of torchvision's weights, and not a path or a job."""
    return _NAME.match(source) is not None


def misfits(settings: AnyDetector, name: str) -> list[Misfit]:
    """Return the fields that keep torchvision's weights `name` from fitting; empty for unknown names."""
    needed = _needs(name)
    if needed is None:
        return []
    spec: dict[str, Any] = settings.model_dump(mode="json")
    return [
        Misfit(path, field(spec, path), value)
        for path, value in needed.items()
        if _has(spec, path) and field(spec, path) != value
    ]


def implied_detector(name: str) -> dict[str, JsonValue] | None:
    """Return the settings, in JSON, of the detector of torchvision's weights `name`; None if they are no whole
    detector.

    Fields that are left out have the published default.
    """
    family = _family(name)
    if family not in DETECTORS:
        return None
    return with_fields({"backbone": {}}, DETECTORS[family])


def _needs(name: str) -> Mapping[str, JsonValue] | None:
    family = _family(name)
    if family in BACKBONES:
        return {"backbone.name": BACKBONES[family], **_OF_A_BACKBONE}
    if family in DETECTORS:
        return {**DETECTORS[family], **_OF_A_DETECTOR}
    return None


def _family(name: str) -> str:
    match = _NAME.match(name)
    return match["family"] if match is not None else ""


def _has(spec: Mapping[str, Any], path: str) -> bool:
    *parents, last = path.split(".")
    for parent in parents:
        spec = spec[parent]
    return last in spec


def _shown(value: JsonValue) -> str:
    return "null" if value is None else str(value)
