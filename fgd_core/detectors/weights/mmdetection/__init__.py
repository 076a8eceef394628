"""Converts checkpoints of mmdetection so that the detector computes the same here."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.matching import Shape, SourceWeights
from fgd_core.detectors.weights.mmdetection.names import Change, Rule, current_name, our_name, rules_of
from fgd_core.detectors.weights.mmdetection.pixels import (
    CAFFE,
    OURS,
    Pixels,
    fold_into_first_conv,
    pixels_from_config,
    pixels_from_preprocessor,
)
from fgd_core.detectors.weights.mmdetection.settings import check_settings
from fgd_core.errors import WeightsError
from fgd_core.spec.detectors import AnyDetector, Solo

__all__ = ["mmdetection_weights"]


def mmdetection_weights(file: WeightsFile, settings: AnyDetector, classes: Sequence[str]) -> SourceWeights:
    """Convert the weights of a file to fgd's names.

    Args:
        settings: of the detector that the file holds.
        classes: of the file's outputs, in order.
    Raises:
        SpecError: the settings do not fit the file; names the fields.
        WeightsError: mmdetection has no such detector, or mmdetection 1 wrote the file in its other layout.
    """
    rules = rules_of(settings)
    if rules is None:
        kind = type(settings).model_fields["type"].default
        raise WeightsError(
            f"mmdetection has no {kind} that fits fgd's; use a file with fgd's or torchvision's names",
            path=str(file.path),
        )
    notes = _check_age(file, settings)
    check_settings(file, settings)
    pixels = _pixels(file, settings)
    renamed = _rename(file, rules, pixels, len(classes))
    state = dict(renamed.state)
    notes += _shift_input(state, file, pixels)
    return replace(renamed, state=state, classes=tuple(classes), notes=(*notes,), taken=file.taken, left=file.left)


def _rename(file: WeightsFile, rules: Sequence[Rule], pixels: Pixels, num_classes: int) -> SourceWeights:
    """Rename and change each tensor (…) of a file by its rule."""
    state: dict[str, Tensor] = {}
    original: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    left_out = dict(file.left_out)
    for key, value in file.state.items():
        named = our_name(rules, current_name(key))
        if named is None or named[0] in original:
            state[key] = value  # unknown under this name; loading reports it
            if key in file.original:
                original[key] = file.original[key]
            continue
        name, rule = named
        if not name:
            left_out[file.original.get(key, key)] = rule.why
            continue
        state[name] = _apply_change(value, rule.change, pixels, num_classes)
        original[name], shapes[name] = file.original.get(key, key), tuple(value.shape)
    return SourceWeights(state=state, original=original, shapes=shapes, left_out=left_out)


def _check_age(file: WeightsFile, settings: AnyDetector) -> list[str]:
    """Check the version of mmdetection that wrote the file; returns notes about an old file.

    Raises:
        WeightsError: mmdetection 1 wrote it, for a detector with two stages.
    """
    # Decided by the names: some files of mmdetection 2's model zoo also have version 1.x.
    starts = ("bbox_head.shared_fcs.", "bbox_head.0.", "mask_head.")
    if not isinstance(settings, Solo) and any(key.startswith(starts) for key in file.state):
        raise WeightsError(
            "mmdetection 1 wrote the checkpoint, with another order of classes and boxes; use the same model of "
            "mmdetection 2 or 3, or convert the file with mmdetection's upgrade_model_version.py",
            path=str(file.path),
            version=file.version,
        )
    if (file.version or "2").split(".")[0] in ("0", "1"):
        return [f"mmdetection {file.version} wrote the file: if its AP is not the published one, its anchors differ"]
    return []


def _pixels(file: WeightsFile, settings: AnyDetector) -> Pixels:
    """Take the pixels from the file's settings, else from its preprocessor, else from the style of the backbone."""
    pixels = pixels_from_config(file.config) or pixels_from_preprocessor(file.left_out_tensors)
    if pixels is not None:
        return pixels
    return CAFFE if getattr(settings.backbone, "stride_in", "3x3") == "1x1" else OURS


def _apply_change(value: Tensor, change: Change, pixels: Pixels, num_classes: int) -> Tensor:
    """Apply a rule's change to a tensor (C, …)."""
    match change:
        case Change.FIRST_CONVOLUTION if pixels != OURS and _is_first_conv(value):
            return fold_into_first_conv(value, pixels)[0]
        case Change.BACKGROUND_FIRST if value.shape[0] == num_classes + 1:
            return value.roll(1, dims=0)
        case Change.FLAT:
            return value.flatten()
        case Change.MERGED_PATCHES if value.dim() and value.shape[-1] % 4 == 0:
            # There (…, channel, row, column), here (…, column, row, channel), each as one dimension.
            return value.reshape(*value.shape[:-1], -1, 2, 2).transpose(-1, -3).flatten(-3)
        case _:
            return value


def _is_first_conv(weight: Tensor) -> bool:
    """Check that a weight is (C, 3, k, k)."""
    return weight.dim() == 4 and weight.shape[1] == 3


def _shift_input(state: dict[str, Tensor], file: WeightsFile, pixels: Pixels) -> list[str]:
    """Correct what follows the first convolution for other means of the images, in place; returns notes.

    In a ResNet this is the mean (C,) of a norm, in a Swin Transformer the bias (C,) of the convolution itself.
    """
    if pixels == OURS:
        return []
    notes = [f"the file expects images as {pixels}; folded into the first convolution"]
    if set(pixels.mean) == set(OURS.mean):
        return notes
    for convolution, shifted, sign in _SHIFTED:
        weight = file.state.get(convolution)
        if weight is not None and shifted in state and _is_first_conv(weight):
            state[shifted] = state[shifted] + sign * fold_into_first_conv(weight, pixels)[1]
            notes.append("the means differ from fgd's: exact except at the outermost pixels, next to the padding")
    return notes


# Of each kind of backbone: the weight of the first convolution in the file, our tensor that its shift is added to,
# and the sign.
_SHIFTED = (
    ("backbone.conv1.weight", "backbone.body.bn1.running_mean", -1),
    ("backbone.patch_embed.projection.weight", "backbone.body.0.0.bias", 1),
)
