"""Checkpoints of mmdetection's detectors, made to compute here what they computed there."""

from collections.abc import Sequence

from torch import Tensor

from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.matching import Shape, SourceWeights
from fgd_core.detectors.weights.mmdetection.names import Change, current_name, our_name, rules_of
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
from fgd_core.spec.detectors import AnyDetector

__all__ = ["mmdetection_weights"]


def mmdetection_weights(file: WeightsFile, settings: AnyDetector, classes: Sequence[str]) -> SourceWeights:
    """The file's weights under our names.

    Args:
        settings: of the detector that the file holds.
        classes: of the file's outputs, in order.
    Raises:
        SpecError: the settings are not those of what the file holds, and which of them.
        WeightsError: no names for this detector, or the file is of mmdetection 1 and its layout another.
    """
    rules = rules_of(settings)
    if rules is None:
        kind = type(settings).model_fields["type"].default
        raise WeightsError(f"no checkpoint of mmdetection holds a {kind} as it is here", path=str(file.path))
    notes = _check_age(file)
    check_settings(file, settings)
    pixels = _pixels(file, settings)
    state: dict[str, Tensor] = {}
    original: dict[str, str] = {}
    shapes: dict[str, Shape] = {}
    left_out = dict(file.others)
    for key, value in file.state.items():
        named = our_name(rules, current_name(key))
        if named is None or named[0] in original:
            state[key] = value  # which nobody here knows by this name, and so is told
            if key in file.original:
                original[key] = file.original[key]
            continue
        name, rule = named
        if not name:
            left_out[file.original.get(key, key)] = rule.why
            continue
        state[name] = _changed(value, rule.change, pixels, len(classes))
        original[name], shapes[name] = file.original.get(key, key), tuple(value.shape)
    notes += _shift_first_norm(state, file, pixels)
    return SourceWeights(
        state=state,
        classes=tuple(classes),
        original=original,
        shapes=shapes,
        left_out=left_out,
        notes=(*notes,),
        taken=file.taken,
        left=file.left,
    )


def _check_age(file: WeightsFile) -> list[str]:
    """What is to be known of an old file.

    Raises:
        WeightsError: it is of mmdetection 1, and of a detector with two stages.
    """
    # Told by the names: files of the second zoo that were trained while it was being made call themselves 1.x too.
    if any(key.startswith(("bbox_head.shared_fcs.", "bbox_head.0.", "mask_head.")) for key in file.state):
        raise WeightsError(
            "the checkpoint is of mmdetection 1, which counts classes and boxes otherwise; take the same model of "
            "mmdetection 2 or 3, or convert the file with mmdetection's upgrade_model_version.py",
            path=str(file.path),
            version=file.version,
        )
    if (file.version or "2").split(".")[0] in ("0", "1"):
        return [f"written by mmdetection {file.version}: if its AP is not the published one, its anchors are older"]
    return []


def _pixels(file: WeightsFile, settings: AnyDetector) -> Pixels:
    """As the file's settings say, or its preprocessor; where it has neither, as the style of the backbone has it."""
    said = pixels_from_config(file.config) or pixels_from_preprocessor(file.beside)
    if said is not None:
        return said
    return CAFFE if getattr(settings.backbone, "stride_in", "3x3") == "1x1" else OURS


def _changed(value: Tensor, change: Change, pixels: Pixels, num_classes: int) -> Tensor:
    match change:
        case Change.FIRST_CONVOLUTION if pixels != OURS and _is_first(value):
            return fold_into_first_conv(value, pixels)[0]
        case Change.BACKGROUND_FIRST if value.shape[0] == num_classes + 1:
            return value.roll(1, dims=0)
        case _:
            return value


def _is_first(weight: Tensor) -> bool:
    return weight.dim() == 4 and weight.shape[1] == 3


def _shift_first_norm(state: dict[str, Tensor], file: WeightsFile, pixels: Pixels) -> list[str]:
    """Let the norm behind the first convolution add what other means leave over; what was done, in words."""
    if pixels == OURS:
        return []
    notes = [f"images were {pixels}; folded into the first convolution"]
    weight, mean = file.state.get("backbone.conv1.weight"), "backbone.body.bn1.running_mean"
    if weight is not None and mean in state and _is_first(weight) and set(pixels.mean) != set(OURS.mean):
        state[mean] = state[mean] - fold_into_first_conv(weight, pixels)[1]
        notes.append("the means differ from ours: exact but for the outermost pixels, where padding is seen")
    return notes
