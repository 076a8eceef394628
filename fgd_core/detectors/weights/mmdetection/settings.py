"""Finds a detector's settings from an mmdetection file, and compares them with those of a spec."""

import math
import re
from collections.abc import Mapping

from pydantic import JsonValue
from torch import Tensor

from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.mmdetection.pixels import style_from_config
from fgd_core.errors import SpecError
from fgd_core.spec.backbones import ResNet, Swin
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.paths import field

_DEPTHS: Mapping[tuple[int, bool], str] = {
    (2, False): "18",
    (6, False): "34",
    (6, True): "50",
    (23, True): "101",
    (36, True): "152",
}
"""(blocks of the third stage, whether they are bottlenecks) -> the depth in the network's name."""


def check_settings(file: WeightsFile, settings: AnyDetector) -> None:
    """Check that settings fit a file.

    Raises:
        SpecError: the settings do not fit; has every such field with its value in the file.
    """
    # A backbone alone, such as an mmpretrain classifier, fits detectors of both conventions.
    needed = {**({} if file.is_backbone else _detector_fields(file)), **_backbone_fields(file, settings)}
    spec = settings.model_dump(mode="json")
    wrong = {path: value for path, value in needed.items() if _has(spec, path) and field(spec, path) != value}
    if wrong:
        changes = ", ".join(f"{path}: {value} (it is {field(spec, path)})" for path, value in wrong.items())
        raise SpecError(
            f"{file.path.name} holds an mmdetection detector with other settings; set {changes}",
            path=str(file.path),
            **wrong,
        )


def _detector_fields(file: WeightsFile) -> dict[str, JsonValue]:
    """Find the settings of the detector; a detector type has only some of these fields."""
    needed: dict[str, JsonValue] = {"convention": "mmdetection", "version": "v1"}
    is_normed = any(re.match(r"bbox_head\.cls_convs\.\d\.(gn|bn)\.", key) for key in file.state)
    needed["head_norm"] = needed["norm"] = "group" if is_normed else "none"
    # FCOS: only in the improved recipe do convolutions have a bias although a norm follows.
    if is_normed and any(re.match(r"bbox_head\.cls_convs\.\d\.conv\.bias", key) for key in file.state):
        needed["version"] = "v2"
    return needed


def _backbone_fields(file: WeightsFile, settings: AnyDetector) -> dict[str, JsonValue]:
    """Find the settings of the backbone, or only its name if the settings have another kind of backbone."""
    is_swin = any(key.startswith("backbone.patch_embed.") for key in file.state)
    name = _swin_name(file.state) if is_swin else _name(file.state)
    if not isinstance(settings.backbone, Swin if is_swin else ResNet):
        return {"backbone.name": name or ("swin_t" if is_swin else "resnet50")}
    needed: dict[str, JsonValue] = {}
    if name is not None and settings.backbone.blocks is None:
        needed["backbone.name"] = name
    return {**needed, **(_swin_fields(file.state) if is_swin else _resnet_fields(file, name))}


def _resnet_fields(file: WeightsFile, name: str | None) -> dict[str, JsonValue]:
    needed: dict[str, JsonValue] = {}
    offsets = {
        int(match[1]) + 1: value.shape[0]
        for key, value in file.state.items()
        if (match := re.match(r"backbone\.layer(\d)\..*conv_offset\.weight$", key))
    }
    needed["backbone.deformable_stages"] = [*sorted(offsets)]
    if offsets:
        # Three values for each of the 9 points if modulated, else two.
        needed["backbone.deformable_version"] = "v2" if 27 in offsets.values() else "v1"
    style = style_from_config(file.config)
    if style is not None and name not in ("resnet18", "resnet34"):
        needed["backbone.stride_in"] = {"pytorch": "3x3", "caffe": "1x1"}[style]
    return needed


def _swin_fields(state: Mapping[str, Tensor]) -> dict[str, JsonValue]:
    """Find the width and the windows of a Swin Transformer from the first layers' weights (…)."""
    needed: dict[str, JsonValue] = {}
    embedding = state.get("backbone.patch_embed.projection.weight")
    if embedding is not None and embedding.dim() == 4:
        needed["backbone.embed_dim"] = embedding.shape[0]
    table = state.get("backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table")
    if table is not None and table.dim() == 2:
        # A row for each offset between two cells of a window.
        needed["backbone.window_size"] = (math.isqrt(table.shape[0]) + 1) // 2
    return needed


def _swin_name(state: Mapping[str, Tensor]) -> str | None:
    """Find the name of a Swin Transformer from the number of blocks of its third stage; None for another network."""
    blocks = {match[1] for key in state if (match := re.match(r"backbone\.stages\.2\.blocks\.(\d+)\.", key))}
    return {6: "swin_t", 18: "swin_s"}.get(len(blocks))


def _name(state: Mapping[str, Tensor]) -> str | None:
    """Find the name of a ResNet or ResNeXt from its weights; None for another or unknown network."""
    blocks = {match[1] for key in state if (match := re.match(r"backbone\.layer3\.(\d+)\.", key))}
    depth = _DEPTHS.get((len(blocks), any(".conv3." in key for key in state)))
    middle = state.get("backbone.layer1.0.conv2.weight")
    if depth is None or middle is None or middle.dim() != 4:
        return None
    groups, group_width = middle.shape[0] // middle.shape[1], middle.shape[1]
    return f"resnet{depth}" if groups == 1 else f"resnext{depth}_{groups}x{group_width}d"


def _has(spec: Mapping[str, object], path: str) -> bool:
    *parents, last = path.split(".")
    part: object = spec
    for parent in parents:
        part = part.get(parent) if isinstance(part, dict) else None
    return isinstance(part, dict) and last in part
