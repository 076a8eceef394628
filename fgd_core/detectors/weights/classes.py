"""Finds the rows of a detector's weights that belong to a class, and copies them between lists of classes."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from fgd_core.detectors.parts.torchvision_private import COCO_OUTPUTS

BACKGROUND = "__background__"
_NO_CLASS = (BACKGROUND, "N/A")
"""torchvision's names of the outputs of its COCO weights that do not belong to a class."""


def class_names(outputs: Sequence[str]) -> tuple[str, ...]:
    """Return the outputs that belong to a class."""
    return tuple(name for name in outputs if name not in _NO_CLASS)


COCO_CLASSES = class_names(COCO_OUTPUTS)
"""The 80 classes of COCO in the order of their ids, which is also that of mmdetection's outputs."""


class ClassRows(NamedTuple):
    """Describes the first dimension of a weight or bias: (anchors, [background,] class, values of a class)."""

    pattern: str
    """Of the whole key, without `.weight` or `.bias`."""
    values_per_class: int = 1
    """4 for the sides of a box."""
    num_anchors: int | None = 1
    """The anchors of a cell; None for any number."""

    background: Literal["none", "first", "either"] = "none"
    """Whether the first output belongs to the background, as in a softmax over classes. `either`: boxes and masks,
    which torchvision predicts for the background too and mmdetection does not."""

    def num_outputs(self, weights: Tensor, num_classes: int) -> int | None:
        """Count the outputs of a weight (rows, …): classes, and the background if present; None without class rows."""
        allowed = {"none": (0,), "first": (1,), "either": (0, 1)}[self.background]
        for outputs in (num_classes + more for more in allowed):
            if self.num_anchors is None and weights.shape[0] % (outputs * self.values_per_class) == 0:
                return outputs
            if self.num_anchors is not None and weights.shape[0] == self.num_anchors * outputs * self.values_per_class:
                return outputs
        return None


# To add a detector: the keys of its weights that have rows for classes. The contract test names missing keys.
CLASS_ROWS: tuple[ClassRows, ...] = (
    ClassRows(r"head\.classification_head\.cls_logits", num_anchors=None),
    ClassRows(r"head\.gfl_cls"),
    ClassRows(r"head\.reppoints_cls_out"),
    ClassRows(r"head\.conv_cls"),
    # A cascade's stages predict one box for all classes, so they have no row here.
    ClassRows(r"roi_heads\.box_predictor\.bbox_pred", values_per_class=4, background="either"),
    ClassRows(r"roi_heads\.(stages\.\d\.)?box_predictor\.cls_score", background="first"),
    ClassRows(r"roi_heads\.(stages\.\d\.)?mask_predictor\.mask_fcn_logits", background="either"),
)


def class_rows(key: str) -> ClassRows | None:
    """Return the layout of a parameter by its name in fgd; None if no row belongs to a class."""
    for rows in CLASS_ROWS:
        if re.fullmatch(rf"{rows.pattern}\.(weight|bias)", key):
            return rows
    return None


class ClassMap(NamedTuple):
    """Maps the classes of a source to our own by name."""

    pairs: tuple[tuple[int, int], ...]
    """(index in the source, index in our own list) of each common class, in our order."""
    found: tuple[str, ...]
    """Our classes that the source has."""
    fresh: tuple[str, ...]
    """Our classes that the source lacks."""
    unused: tuple[str, ...]
    """Classes of the source that we lack."""

    def sources(self, num_own: int) -> list[int | None]:
        """Return for each of our classes the index of the source's class, or None if the source lacks it."""
        given = {own: index for index, own in self.pairs}
        return [given.get(own) for own in range(num_own)]


def match_classes(given: Sequence[str], own: Sequence[str]) -> ClassMap:
    """Match equal names first, then names that differ only in case or in spaces for underscores, if they are unique.

    A name that occurs twice in a list matches nothing, because it is ambiguous. Two equal lists match completely.
    """
    pairs = _pairs(tuple(given), tuple(own))
    used = {index for index, _ in pairs}
    matched = {index for _, index in pairs}
    return ClassMap(
        pairs=pairs,
        found=tuple(own[index] for index in sorted(matched)),
        fresh=tuple(name for index, name in enumerate(own) if index not in matched),
        unused=tuple(name for index, name in enumerate(given) if index not in used and name not in _NO_CLASS),
    )


def copy_class_rows(
    given: Tensor, fresh: Tensor, rows: ClassRows, classes: ClassMap, *, num_given: int, num_own: int
) -> Tensor | None:
    """Copy the rows of the common classes, and of the background, from `given` into a copy of `fresh`.

    Args:
        given: (rows, …) with `num_given` classes.
        fresh: (rows, …) with `num_own` classes.
    Returns:
        A new tensor of the shape of `fresh`; None if the two differ in more than their classes.
    """
    outputs, own_outputs = rows.num_outputs(given, num_given), rows.num_outputs(fresh, num_own)
    if outputs is None or own_outputs is None:
        return None
    source = given.reshape(-1, outputs, rows.values_per_class, *given.shape[1:])
    target = fresh.clone().reshape(-1, own_outputs, rows.values_per_class, *fresh.shape[1:])
    if source.shape[0] != target.shape[0] or source.shape[2:] != target.shape[2:]:
        return None
    first, own_first = outputs - num_given, own_outputs - num_own
    if first and own_first:
        target[:, 0] = source[:, 0]
    for theirs, ours in classes.pairs:
        target[:, own_first + ours] = source[:, first + theirs].to(target.dtype)
    return target.reshape(fresh.shape)


def _pairs(given: tuple[str, ...], own: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    if given == own:
        return tuple((index, index) for index, name in enumerate(own) if name not in _NO_CLASS)
    indices, own_indices = _unique(given), _unique(own)
    exact = {own_indices[name]: indices[name] for name in own_indices if name in indices}
    # A folded spelling of two classes in one list matches nothing, even if one of the two matched exactly.
    folded, own_folded = _unique([*map(_fold, given)]), _unique([*map(_fold, own)])
    loose = {own_folded[key]: folded[key] for key in own_folded if key in folded}
    return tuple(
        (theirs, ours) for ours, theirs in sorted({**loose, **exact}.items()) if given[theirs] not in _NO_CLASS
    )


def _unique(names: Sequence[str]) -> dict[str, int]:
    """Map the names that occur once to their indices."""
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _fold(name: str) -> str:
    return name.replace("_", " ").strip().casefold()
