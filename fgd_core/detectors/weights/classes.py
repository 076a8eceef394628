"""Which rows of a detector's weights belong to which class, and how they pass from one list of classes to another."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from fgd_core.detectors.parts.torchvision_private import COCO_OUTPUTS

BACKGROUND = "__background__"
_NO_CLASS = (BACKGROUND, "N/A")
"""What torchvision calls the outputs of its COCO weights that stand for no class."""


def class_names(outputs: Sequence[str]) -> tuple[str, ...]:
    """The outputs that stand for a class."""
    return tuple(name for name in outputs if name not in _NO_CLASS)


COCO_CLASSES = class_names(COCO_OUTPUTS)
"""The 80 classes of COCO in the order of their ids, which is also that of mmdetection's outputs."""


class ClassRows(NamedTuple):
    """How classes lie along the first dimension of a weight or bias: (places, [background,] class, numbers)."""

    pattern: str
    """Of the key, in full and without `.weight` or `.bias`."""
    numbers: int = 1
    """Outputs a class: 4 for the sides of a box."""
    places: int | None = 1
    """Outputs of each kind: the anchors of a cell; None for any number."""

    background: Literal["none", "first", "either"] = "none"
    """Whether the first output is the background's: only a softmax over classes has such an output. `either`: boxes
    and masks of a class, which torchvision has for the background too and mmdetection has not."""

    def num_outputs(self, weights: Tensor, num_classes: int) -> int | None:
        """Of classes, and of the background if it is there; None where the rows belong to no classes."""
        allowed = {"none": (0,), "first": (1,), "either": (0, 1)}[self.background]
        for outputs in (num_classes + more for more in allowed):
            if self.places is None and weights.shape[0] % (outputs * self.numbers) == 0:
                return outputs
            if self.places is not None and weights.shape[0] == self.places * outputs * self.numbers:
                return outputs
        return None


# To add a detector: the keys of its weights that have rows for classes. The contract test names those forgotten.
CLASS_ROWS: tuple[ClassRows, ...] = (
    ClassRows(r"head\.classification_head\.cls_logits", places=None),
    ClassRows(r"head\.gfl_cls"),
    ClassRows(r"head\.reppoints_cls_out"),
    # The boxes of a cascade's stages are the same for every class.
    ClassRows(r"roi_heads\.box_predictor\.bbox_pred", numbers=4, background="either"),
    ClassRows(r"roi_heads\.(stages\.\d\.)?box_predictor\.cls_score", background="first"),
    ClassRows(r"roi_heads\.(stages\.\d\.)?mask_predictor\.mask_fcn_logits", background="either"),
)


def class_rows(key: str) -> ClassRows | None:
    """The layout of a detector's parameter, by our name for it; None where no row belongs to a class."""
    for rows in CLASS_ROWS:
        if re.fullmatch(rf"{rows.pattern}\.(weight|bias)", key):
            return rows
    return None


class ClassMap(NamedTuple):
    """How two lists of classes meet, by name."""

    pairs: tuple[tuple[int, int], ...]
    """(place among the given, place among our own) of each class that both have, in our order."""
    found: tuple[str, ...]
    """Ours that the given have too."""
    fresh: tuple[str, ...]
    """Ours that the given lack."""
    unused: tuple[str, ...]
    """Given that are not ours."""


def match_classes(given: Sequence[str], own: Sequence[str]) -> ClassMap:
    """Equal names first; then those that differ in case, or in a blank for an underscore, where each list has one such.

    A name that one list has twice stands for none: nobody could say which of the two is meant. Equal lists are equal.
    """
    pairs = _pairs(tuple(given), tuple(own))
    taken = {place for place, _ in pairs}
    ours = {place for _, place in pairs}
    return ClassMap(
        pairs=pairs,
        found=tuple(own[place] for place in sorted(ours)),
        fresh=tuple(name for place, name in enumerate(own) if place not in ours),
        unused=tuple(name for place, name in enumerate(given) if place not in taken and name not in _NO_CLASS),
    )


def copy_class_rows(
    given: Tensor, fresh: Tensor, rows: ClassRows, classes: ClassMap, *, num_given: int, num_own: int
) -> Tensor | None:
    """`fresh` with the rows of the classes that both know, and of the background, taken from `given`.

    Returns:
        A new tensor of the shape of `fresh`; None where the two differ in more than their classes.
    """
    outputs, own_outputs = rows.num_outputs(given, num_given), rows.num_outputs(fresh, num_own)
    if outputs is None or own_outputs is None:
        return None
    taken = given.reshape(-1, outputs, rows.numbers, *given.shape[1:])
    ours = fresh.clone().reshape(-1, own_outputs, rows.numbers, *fresh.shape[1:])
    if taken.shape[0] != ours.shape[0] or taken.shape[2:] != ours.shape[2:]:
        return None
    first, own_first = outputs - num_given, own_outputs - num_own
    if first and own_first:
        ours[:, 0] = taken[:, 0]
    for theirs, mine in classes.pairs:
        ours[:, own_first + mine] = taken[:, first + theirs].to(ours.dtype)
    return ours.reshape(fresh.shape)


def _pairs(given: tuple[str, ...], own: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    if given == own:
        return tuple((place, place) for place, name in enumerate(own) if name not in _NO_CLASS)
    places, own_places = _single(given), _single(own)
    exact = {own_places[name]: places[name] for name in own_places if name in places}
    # One spelling that stands for two classes in either list stands for none, even where one of the two is settled.
    folded, own_folded = _single([*map(_fold, given)]), _single([*map(_fold, own)])
    loose = {own_folded[key]: folded[key] for key in own_folded if key in folded}
    return tuple((place, mine) for mine, place in sorted({**loose, **exact}.items()) if given[place] not in _NO_CLASS)


def _single(names: Sequence[str]) -> dict[str, int]:
    """Names that stand once -> their places."""
    times = Counter(names)
    return {name: place for place, name in enumerate(names) if times[name] == 1}


def _fold(name: str) -> str:
    return name.replace("_", " ").strip().casefold()
