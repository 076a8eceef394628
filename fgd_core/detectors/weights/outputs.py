"""Finds the class names of the outputs of a head in a file of weights."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from fgd_core.detectors.parts.torchvision_private import COCO_OUTPUTS
from fgd_core.detectors.weights.classes import BACKGROUND, COCO_CLASSES
from fgd_core.detectors.weights.files import WeightsFile

_SHOWN = 5

# Keys of the weights with rows for classes, with torchvision's and mmdetection's names.
_ROW_PER_ANCHOR = re.compile(r"(head\.classification_head\.cls_logits|bbox_head\.retina_cls)\.(weight|bias)")
_ROW_PER_CLASS = re.compile(
    r"(bbox_head\.(conv_cls|fcos_cls)|(bbox_)?head\.(gfl_cls|reppoints_cls_out)|(mask_)?head\.conv_cls)"
    r"\.(weight|bias)"
)
_TWO_STAGES = re.compile(
    r"(roi_heads\.(stages\.0\.)?box_predictor\.cls_score|roi_head\.bbox_head(\.0)?\.fc_cls)\.(weight|bias)"
)
# Four rows for each anchor of a cell.
_OWN_BOXES, _MMDETECTION_BOXES = "head.regression_head.bbox_reg", "bbox_head.retina_reg"
_SIDES = tuple(f"{head}.{kind}" for head in (_OWN_BOXES, _MMDETECTION_BOXES) for kind in ("weight", "bias"))


class HeadOutputs(NamedTuple):
    """Holds the class names of a head's outputs, or why they are unknown."""

    names: tuple[str, ...] | None
    """In order, without the background of a two-stage head, with the outputs of no class; None if unknown."""
    problem: str = ""
    """Why the names are unknown."""
    cure: str = ""
    note: str = ""
    """What was assumed about the names."""


def identify_outputs(file: WeightsFile, user_classes: Sequence[str] | None) -> HeadOutputs:
    """Take the class names from the user, else from the file, else from COCO if the number of outputs fits.

    Args:
        user_classes: the names that the user gives for the file's outputs.
    """
    number, has_background = _count(file.state)
    names = tuple(user_classes) if user_classes else file.classes
    if number is None:
        # An unknown head; loading it reports the missing keys.
        return HeadOutputs(None if file.is_backbone else names or COCO_CLASSES)
    if names is None:
        return _assume_coco(number, has_background)
    if has_background:
        names = _without_background(names, 0 if file.family == "torchvision" else -1)
    wanted = number - has_background
    if len(names) == wanted:
        is_overruled = bool(user_classes) and file.classes not in (None, tuple(user_classes or ()))
        return HeadOutputs(
            names, note=f"the file names its classes {_listed(file.classes or ())}" if is_overruled else ""
        )
    origin = "there are" if user_classes else "the file names"
    with_background = ", one of them for the background," if has_background else ""
    cure = _naming_cure(wanted)
    if not has_background:
        cure += (
            f"; a one-stage head has no output for the background: write {BACKGROUND} or N/A for outputs of no class"
        )
    return HeadOutputs(
        None,
        f"its head has {number} outputs{with_background} and {origin} {len(names)} classes ({_listed(names)})",
        cure,
    )


def _assume_coco(number: int, has_background: bool) -> HeadOutputs:
    if number == len(COCO_OUTPUTS):
        # torchvision has an output for each of COCO's ids, including unused ids.
        names = COCO_OUTPUTS[1:] if has_background else COCO_OUTPUTS
        return HeadOutputs(
            tuple(names), note=f"the file names no classes: its {number} outputs are assumed to be COCO's ids"
        )
    if number - has_background == len(COCO_CLASSES):
        return HeadOutputs(
            COCO_CLASSES,
            note=f"the file names no classes: its {number} outputs are assumed to be COCO's {len(COCO_CLASSES)}",
        )
    problem = f"its head has {number} outputs and the file does not name their classes"
    return HeadOutputs(None, problem, _naming_cure(number - has_background))


def _without_background(names: tuple[str, ...], background: int) -> tuple[str, ...]:
    """Drop the background if it is named at its index: first in torchvision's heads, last in mmdetection's."""
    for index in {background, 0}:
        if names[index] == BACKGROUND or (index == background and names[index].strip("_").casefold() == "background"):
            return names[1:] if index == 0 else names[:-1]
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _naming_cure(number: int) -> str:
    return f"name {number}, in the order of the outputs, with teacher.classes (`fgd weights check --classes`)"


def _count(state: Mapping[str, Tensor]) -> tuple[int | None, bool]:
    """Count the outputs of the head's weight (rows, …), and report whether one is the background; None if unknown."""
    for key, value in state.items():
        if _TWO_STAGES.fullmatch(key):
            return value.shape[0], True
        if _ROW_PER_CLASS.fullmatch(key):
            return value.shape[0], False
        if _ROW_PER_ANCHOR.fullmatch(key):
            anchors = next((state[name].shape[0] // 4 for name in _SIDES if name in state), 0)
            return (value.shape[0] // anchors if anchors and value.shape[0] % anchors == 0 else None), False
    return None, False
