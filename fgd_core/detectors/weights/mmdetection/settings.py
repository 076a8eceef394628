"""What a file of mmdetection's says about the detector in it, and where a spec says something else."""

import re
from collections.abc import Mapping

from pydantic import JsonValue
from torch import Tensor

from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.mmdetection.pixels import style_from_config
from fgd_core.errors import SpecError
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.paths import field

_DEPTHS: Mapping[tuple[int, bool], str] = {
    (2, False): "18",
    (6, False): "34",
    (6, True): "50",
    (23, True): "101",
    (36, True): "152",
}
"""(blocks of the third stage, whether they are bottlenecks) -> what the network is called."""


def check_settings(file: WeightsFile, settings: AnyDetector) -> None:
    """
    Raises:
        SpecError: the settings are not those of what the file holds; with every field and its value.
    """
    # A backbone alone, as mmpretrain's classifiers have it, fits detectors of either convention.
    needed = {**({} if file.is_backbone else _of_the_detector(file)), **_of_the_backbone(file, settings)}
    spec = settings.model_dump(mode="json")
    wrong = {path: value for path, value in needed.items() if _has(spec, path) and field(spec, path) != value}
    if wrong:
        told = ", ".join(f"{path}: {value} (it is {field(spec, path)})" for path, value in wrong.items())
        raise SpecError(
            f"{file.path.name} holds another detector of mmdetection than this one; set {told}",
            path=str(file.path),
            **wrong,
        )


def _of_the_detector(file: WeightsFile) -> dict[str, JsonValue]:
    """By the fields that detectors have: each has some of them."""
    needed: dict[str, JsonValue] = {"convention": "mmdetection", "version": "v1"}
    is_normed = any(re.match(r"bbox_head\.cls_convs\.\d\.(gn|bn)\.", key) for key in file.state)
    needed["head_norm"] = needed["norm"] = "group" if is_normed else "none"
    # FCOS: only the improved recipe gives convolutions a bias although there is a norm behind them.
    if is_normed and any(re.match(r"bbox_head\.cls_convs\.\d\.conv\.bias", key) for key in file.state):
        needed["version"] = "v2"
    return needed


def _of_the_backbone(file: WeightsFile, settings: AnyDetector) -> dict[str, JsonValue]:
    if not isinstance(settings.backbone, ResNet):
        return {"backbone.name": "resnet50"}
    needed: dict[str, JsonValue] = {}
    name = _name(file.state)
    if name is not None and settings.backbone.blocks is None:
        needed["backbone.name"] = name
    offsets = {
        int(match[1]) + 1: value.shape[0]
        for key, value in file.state.items()
        if (match := re.match(r"backbone\.layer(\d)\..*conv_offset\.weight$", key))
    }
    needed["backbone.deformable_stages"] = [*sorted(offsets)]
    if offsets:
        # Three numbers for each of the 9 points where it is weighed, else two.
        needed["backbone.deformable_version"] = "v2" if 27 in offsets.values() else "v1"
    style = style_from_config(file.config)
    if style is not None and name not in ("resnet18", "resnet34"):
        needed["backbone.stride_in"] = {"pytorch": "3x3", "caffe": "1x1"}[style]
    return needed


def _name(state: Mapping[str, Tensor]) -> str | None:
    """ResNet or ResNeXt of which depth; None where it is neither, or one that is not known here."""
    blocks = {match[1] for key in state if (match := re.match(r"backbone\.layer3\.(\d+)\.", key))}
    depth = _DEPTHS.get((len(blocks), any(".conv3." in key for key in state)))
    middle = state.get("backbone.layer1.0.conv2.weight")
    if depth is None or middle is None or middle.dim() != 4:
        return None
    groups, of_group = middle.shape[0] // middle.shape[1], middle.shape[1]
    return f"resnet{depth}" if groups == 1 else f"resnext{depth}_{groups}x{of_group}d"


def _has(spec: Mapping[str, object], path: str) -> bool:
    *parents, last = path.split(".")
    part: object = spec
    for parent in parents:
        part = part.get(parent) if isinstance(part, dict) else None
    return isinstance(part, dict) and last in part
