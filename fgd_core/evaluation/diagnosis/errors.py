"""Sorts the errors of a detector into six kinds, and computes what each costs in AP50.

Source: TIDE, arXiv:2008.08115 §2.2 and §2.3, with its overlaps of 0.5 and 0.1. On made-up detections without crowds,
all numbers of errors equal those of the authors' code (tidecv 1.0.1). The gains of the kinds `classification` and
`localisation` differ by up to half a point of AP50 where both concern one object: there the detection with the higher
score claims the object for both oracles; here each oracle works alone, as in the paper.
"""

from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from fgd_core.evaluation.columns import Flags, Floats, Integers
from fgd_core.evaluation.diagnosis.average_precision import mean_average_precision
from fgd_core.evaluation.diagnosis.matching import NOTHING, RIGHT_IOU, MatchedImage
from fgd_core.spec.diagnosis import ErrorKind, Errors
from fgd_core.stopping import stoppable

BACKGROUND_IOU = 0.1
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)


class JudgedImage(NamedTuple):
    """Holds the errors of one image."""

    kinds: npt.NDArray[np.int8]
    """(D,) index into `KINDS`; -1 for detections that are right or ignored"""
    target: Integers
    """(D,) index of the true box that the detection was about, for the kinds `classification` and `localisation`; else
    -1"""
    is_missed: Flags
    """(G,)"""


class _Pool(NamedTuple):
    """Holds all detections that count."""

    labels: Integers
    scores: Floats
    is_right: Flags

    def ap50(self, num_true: Integers) -> float | None:
        return mean_average_precision(self.labels, self.scores, self.is_right, num_true)


def judge(image: MatchedImage) -> JudgedImage:
    """Name the kind of each error of an image."""
    is_own_class = image.labels[:, None] == image.true_labels
    own, other = np.where(is_own_class, image.iou, 0.0), np.where(is_own_class, 0.0, image.iou)  # (D, G)
    best_own, best_other = own.max(1, initial=0.0), other.max(1, initial=0.0)
    is_localisation = (best_own >= BACKGROUND_IOU) & (best_own < RIGHT_IOU)
    is_classification = ~is_localisation & (best_other >= RIGHT_IOU)
    cases: Sequence[tuple[ErrorKind, Flags]] = (
        ("localisation", is_localisation),
        ("classification", is_classification),
        # No free box of its own class overlaps it so much, else it would be right.
        ("duplicate", best_own >= RIGHT_IOU),
        ("both", best_other >= BACKGROUND_IOU),
    )
    codes = [KINDS.index(kind) for kind, _ in cases]
    kinds = np.select([case for _, case in cases], codes, KINDS.index("background")).astype(np.int8)
    kinds[~image.is_wrong] = NOTHING
    target = np.full(len(kinds), NOTHING)
    for overlap, kind in ((own, "localisation"), (other, "classification")):
        of_kind = kinds == KINDS.index(kind)
        target[of_kind] = overlap[of_kind].argmax(1) if of_kind.any() else NOTHING
    is_missed = ~image.is_found & ~np.isin(np.arange(len(image.true_labels)), target)
    return JudgedImage(kinds, target, is_missed)


def kinds_of_error(images: Sequence[MatchedImage], num_classes: int) -> tuple[float | None, list[Errors]]:
    """Return AP50, and for each kind of error its number and by how much AP50 would rise without it."""
    judged = [judge(image) for image in stoppable(images)]
    true_labels = np.concatenate([np.zeros(0, np.int64), *(image.true_labels for image in images)])
    num_true = np.bincount(true_labels, minlength=num_classes)
    ap50 = _pool(images, judged, None).ap50(num_true)
    found = []
    for code, kind in enumerate(KINDS):
        missed = _missed_by_class(images, judged, num_classes) if kind == "missed" else np.zeros(num_classes, np.int64)
        count = int(missed.sum()) + sum(int((each.kinds == code).sum()) for each in judged)
        without = _mean_ap(_pool(images, judged, kind), num_true, missed)
        gain = None if ap50 is None or without is None else without - ap50
        found.append(Errors(kind=kind, count=count, gain=gain))
    return ap50, found


def _mean_ap(pool: _Pool, num_true: Integers, missed: Integers) -> float | None:
    """Compute AP50 where `missed` boxes of each class need not be found; a class of which all are missed has AP 0."""
    left = num_true - missed
    ap50, num_classes = pool.ap50(left), np.count_nonzero(num_true)
    if num_classes == 0:
        return None
    return (ap50 or 0.0) * np.count_nonzero(left) / num_classes


def _missed_by_class(images: Sequence[MatchedImage], judged: Sequence[JudgedImage], num_classes: int) -> Integers:
    labels = [image.true_labels[each.is_missed] for image, each in zip(images, judged, strict=True)]
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *labels]), minlength=num_classes)


def _pool(images: Sequence[MatchedImage], judged: Sequence[JudgedImage], without: ErrorKind | None) -> _Pool:
    """Collect the detections of all images, after an oracle has removed the errors of one kind."""
    parts = [_corrected(*pair, without) for pair in zip(images, judged, strict=True)]
    nothing = _Pool(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_))
    return _Pool(*(np.concatenate(column) for column in zip(nothing, *parts, strict=True)))


def _corrected(image: MatchedImage, judged: JudgedImage, without: ErrorKind | None) -> _Pool:
    labels, is_right, counts = image.labels.copy(), image.is_right.copy(), ~image.is_ignored
    if without is None:
        return _Pool(labels[counts], image.scores[counts], is_right[counts])
    of_kind, found = judged.kinds == KINDS.index(without), image.is_found
    counts &= ~of_kind
    for index in np.flatnonzero(of_kind & (judged.target != NOTHING)):
        truth = judged.target[index]
        # The first detection about a box has the highest score; the others would be duplicates.
        if not found[truth]:
            labels[index], is_right[index], counts[index], found[truth] = image.true_labels[truth], True, True, True
    return _Pool(labels[counts], image.scores[counts], is_right[counts])
