"""Checkpoints of mmdetection's detectors, made to compute here what they computed there."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fgd_core.detectors.weights.classes import COCO_CLASSES
from fgd_core.detectors.weights.matching import Offer, Shape
from fgd_core.detectors.weights.mmdetection.files import MmdetectionFile, read_mmdetection
from fgd_core.detectors.weights.mmdetection.names import RULES, Change, current_name, our_name
from fgd_core.detectors.weights.mmdetection.pixels import CAFFE, OURS, Pixels, fold_into_first, pixels_of, style_of
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec.detectors import AnyDetector

__all__ = ["MmdetectionFile", "mmdetection_classes", "mmdetection_offer", "read_mmdetection"]

_ROUNDED_STDS = torch.tensor([0.033, 0.033, 0.067, 0.067], dtype=torch.float64)
_LAST_CODER = torch.tensor([30.0, 30.0, 15.0, 15.0], dtype=torch.float64)


def mmdetection_classes(file: MmdetectionFile, told: Sequence[str] | None) -> tuple[str, ...]:
    """What the outputs stand for: what the user says, else the file, else COCO's 80."""
    return tuple(told or file.classes or COCO_CLASSES)


def mmdetection_offer(file: MmdetectionFile, settings: AnyDetector, classes: Sequence[str]) -> Offer:
    """The file's weights under our names.

    Args:
        settings: of the detector that the file holds.
        classes: of the file's outputs, in order.
    Raises:
        SpecError: the settings are not those of what the file holds, and which of them.
        WeightsError: no mapping for this detector, or the file is of mmdetection 1, whose layouts are others.
    """
    kind = str(type(settings).model_fields["type"].default)
    if kind not in RULES:
        raise WeightsError(
            f"checkpoints of mmdetection are not read into a {kind}; there are {', '.join(RULES)}", path=str(file.path)
        )
    _check_settings(file, settings)
    _check_version(file)
    pixels = _pixels(file, settings)
    state: dict[str, Tensor] = {}
    original: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    left_out = dict.fromkeys(file.others, "trained beside the detector")
    for key, value in file.state.items():
        named = our_name(RULES[kind], current_name(key))
        if named is None:
            state[key] = value
            continue
        name, rule = named
        if not name:
            left_out[key] = rule.why
            continue
        state[name] = _changed(value, rule.change, pixels, len(classes))
        original[name], shapes[name] = key, tuple(value.shape)
    notes = _shift_first_norm(state, file, pixels)
    return Offer(
        state=state, classes=tuple(classes), original=original, shapes=shapes, left_out=left_out, notes=(*notes,)
    )


def _check_settings(file: MmdetectionFile, settings: AnyDetector) -> None:
    """
    Raises:
        SpecError: which field to set.
    """
    wrong: dict[str, str] = {}
    if getattr(settings, "convention", "mmdetection") != "mmdetection":
        wrong["convention"] = "mmdetection"
    style, stride_in = style_of(file.config), getattr(settings.backbone, "stride_in", None)
    needed = {"pytorch": "3x3", "caffe": "1x1"}.get(style or "")
    if needed is not None and stride_in is not None and stride_in != needed:
        wrong["backbone.stride_in"] = needed
    if wrong:
        told = " and ".join(f"{field}: {value}" for field, value in wrong.items())
        raise SpecError(
            f"{file.path.name} is a checkpoint of mmdetection; so that it computes here what it computed there, set "
            f"{told}",
            path=str(file.path),
            **wrong,
        )


def _check_version(file: MmdetectionFile) -> None:
    major = (file.version or "2").split(".")[0]
    # Heads of two stages lay at the top there, and the background came first.
    is_old = any(key.startswith(("bbox_head.shared_fcs.", "bbox_head.0.", "mask_head.")) for key in file.state)
    if major in ("0", "1") or is_old:
        raise WeightsError(
            "the checkpoint is of mmdetection 1, whose anchors, classes and boxes are counted otherwise; take one of "
            "mmdetection 2 or 3, which has the same models",
            path=str(file.path),
            version=file.version,
        )


def _pixels(file: MmdetectionFile, settings: AnyDetector) -> Pixels:
    """As the file's settings say; where it has none, as the style of the backbone has it."""
    said = pixels_of(file.config)
    if said is not None:
        return said
    return CAFFE if getattr(settings.backbone, "stride_in", "3x3") == "1x1" else OURS


def _changed(value: Tensor, change: Change, pixels: Pixels, num_classes: int) -> Tensor:
    match change:
        case Change.FIRST_CONVOLUTION if pixels != OURS and _is_first(value):
            return fold_into_first(value, pixels)[0]
        case Change.BACKGROUND_FIRST if value.shape[0] == num_classes + 1:
            return value.roll(1, dims=0)
        case Change.CASCADE_BOXES if value.shape[0] % 4 == 0:
            return _rescaled(value)
        case _:
            return value


def _is_first(weight: Tensor) -> bool:
    return weight.dim() == 4 and weight.shape[1] == 3


def _rescaled(value: Tensor) -> Tensor:
    """Rows of (…, 4 numbers), so that what was multiplied by the rounded deviations may be divided by the weights."""
    factors = (_ROUNDED_STDS * _LAST_CODER).repeat(value.shape[0] // 4)
    return (value.double() * factors.reshape(-1, *[1] * (value.dim() - 1))).to(value.dtype)


def _shift_first_norm(state: dict[str, Tensor], file: MmdetectionFile, pixels: Pixels) -> list[str]:
    """Let the norm behind the first convolution add what other means leave over; what was done, in words."""
    if pixels == OURS:
        return []
    notes = [f"images were {pixels}; folded into the first convolution"]
    weight, mean = file.state.get("backbone.conv1.weight"), "backbone.body.bn1.running_mean"
    if weight is None or mean not in state or not _is_first(weight):
        return notes
    _, added = fold_into_first(weight, pixels)
    if added.any():
        state[mean] = state[mean] - added
        notes.append("the means differ from ours: exact but for the outermost pixels, where padding is seen")
    return notes
