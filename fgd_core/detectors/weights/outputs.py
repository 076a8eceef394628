"""What the outputs of the head in a file stand for: as many names as it has outputs for classes, or none."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from fgd_core.detectors.parts.torchvision_private import COCO_OUTPUTS
from fgd_core.detectors.weights.classes import BACKGROUND, COCO_CLASSES
from fgd_core.detectors.weights.files import WeightsFile

_SHOWN = 5

# Keys of the weights with rows for classes, in torchvision's and in mmdetection's names.
_ONE_OF_EACH_ANCHOR = re.compile(r"(head\.classification_head\.cls_logits|bbox_head\.retina_cls)\.(weight|bias)")
_ONE_OF_A_KIND = re.compile(
    r"(bbox_head\.(conv_cls|fcos_cls)|(bbox_)?head\.(gfl_cls|reppoints_cls_out))\.(weight|bias)"
)
_TWO_STAGES = re.compile(
    r"(roi_heads\.(stages\.0\.)?box_predictor\.cls_score|roi_head\.bbox_head(\.0)?\.fc_cls)\.(weight|bias)"
)
# Four rows for each anchor of a cell.
_OURS, _MMDETECTIONS = "head.regression_head.bbox_reg", "bbox_head.retina_reg"
_SIDES = tuple(f"{head}.{kind}" for head in (_OURS, _MMDETECTIONS) for kind in ("weight", "bias"))


class HeadOutputs(NamedTuple):
    names: tuple[str, ...] | None
    """In order, without the background of a two-stage head, with those that stand for no class; None: not known."""
    trouble: str = ""
    """Why they are not known."""
    cure: str = ""
    note: str = ""
    """What was assumed."""


def identify_outputs(file: WeightsFile, told: Sequence[str] | None) -> HeadOutputs:
    """Names from the user, else from the file, else COCO's where there are as many outputs as COCO has classes.

    Args:
        told: by the user.
    """
    number, has_background = _count(file.state)
    said = tuple(told) if told else file.classes
    if number is None:
        # This head is not known here; loading it reports which keys are missing.
        return HeadOutputs(None if file.is_backbone else said or COCO_CLASSES)
    if said is None:
        return _cocos(number, has_background)
    if has_background:
        said = _without_background(said, 0 if file.family == "torchvision" else -1)
    wanted = number - has_background
    if len(said) == wanted:
        is_overruled = bool(told) and file.classes is not None and file.classes != tuple(told or ())
        return HeadOutputs(
            said, note=f"the file names its classes {_listed(file.classes or ())}" if is_overruled else ""
        )
    whose = "there are" if told else "the file names"
    of_these = ", one of them for the background," if has_background else ""
    cure = _named(wanted)
    if not has_background:
        cure += f"; a one-stage head has none for the background: write {BACKGROUND} or N/A for one of no class"
    return HeadOutputs(
        None, f"its head has {number} outputs{of_these} and {whose} {len(said)} classes ({_listed(said)})", cure
    )


def _cocos(number: int, has_background: bool) -> HeadOutputs:
    if number == len(COCO_OUTPUTS):
        # torchvision's way: an output for each of COCO's ids, with the gaps between them.
        names = COCO_OUTPUTS[1:] if has_background else COCO_OUTPUTS
        return HeadOutputs(
            tuple(names), note=f"the file names no classes: its {number} outputs are taken for COCO's ids"
        )
    if number - has_background == len(COCO_CLASSES):
        return HeadOutputs(
            COCO_CLASSES,
            note=f"the file names no classes: its {number} outputs are taken for COCO's {len(COCO_CLASSES)}",
        )
    trouble = f"its head has {number} outputs and the file does not name their classes"
    return HeadOutputs(None, trouble, _named(number - has_background))


def _without_background(names: tuple[str, ...], place: int) -> tuple[str, ...]:
    """Less the background where it is named at its place: first in torchvision's heads, last in mmdetection's."""
    for index in {place, 0}:
        if names[index] == BACKGROUND or (index == place and names[index].strip("_").casefold() == "background"):
            return names[1:] if index == 0 else names[:-1]
    return names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _named(number: int) -> str:
    return f"name {number}, in the order of the outputs, with teacher.classes (`fgd weights check --classes`)"


def _count(state: Mapping[str, Tensor]) -> tuple[int | None, bool]:
    """Outputs of the head, and whether one of them is the background's; None where there is no head known here."""
    for key, value in state.items():
        if _TWO_STAGES.fullmatch(key):
            return value.shape[0], True
        if _ONE_OF_A_KIND.fullmatch(key):
            return value.shape[0], False
        if _ONE_OF_EACH_ANCHOR.fullmatch(key):
            anchors = next((state[name].shape[0] // 4 for name in _SIDES if name in state), 0)
            return (value.shape[0] // anchors if anchors and value.shape[0] % anchors == 0 else None), False
    return None, False
