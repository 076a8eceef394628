"""Whether groups of objects are treated alike: demographic parity and equalised odds, as defined for boxes.

A group is a slice of the ground truth, for example small objects. At each class's operating point it has a recall (true
positive rate), a rate of detections for each true box (positive rate), and a share of detections that match nothing.
The demographic parity difference is the range of the positive rates over the groups, the equalised odds difference the
larger of the ranges of the other two.

Source: the definitions of arXiv:2410.08407 for classifiers, carried over to boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fgd_core.spec.comparison import MIN_BOXES
from fgd_core.statistics.evidence import AREAS, Evidence
from fgd_core.statistics.operating import ALL_AREAS, Rates, rates


@dataclass(frozen=True, kw_only=True)
class Group:
    """Selects a slice of the ground truth."""

    classes: frozenset[str] | None = None
    """Names of classes; all, unless given."""
    image_ids: frozenset[int] | None = None
    """All, unless given."""
    area: int = ALL_AREAS
    """Place in `evidence.AREAS`."""


SIZES: Mapping[str, Group] = {AREAS[area]: Group(area=area) for area in range(1, len(AREAS))}
"""The groups of COCO's sizes."""


def rates_of(evidence: Evidence, group: Group) -> Rates:
    """Count a group over all its classes."""
    images = None if group.image_ids is None else np.isin(evidence.image_ids, list(group.image_ids))
    counts = [
        rates(evidence.of_class(place), area=group.area, images=images)
        for place, name in enumerate(evidence.class_names)
        if group.classes is None or name in group.classes
    ]
    return Rates(*(sum(column) for column in zip(*counts, strict=True))) if counts else Rates(0, 0, 0)


def parity(groups: Sequence[Rates]) -> float:
    """Return the demographic parity difference of at least two groups, 0 or more."""
    return _range([each.positives for each in groups])


def odds(groups: Sequence[Rates]) -> float:
    """Return the equalised odds difference of at least two groups, in [0, 1]."""
    return max(_range([each.recall for each in groups]), _range([each.alarm_rate for each in groups]))


def testable(groups: Mapping[str, Group], evidence: Evidence) -> dict[str, Group]:
    """Return the groups with enough true boxes."""
    return {name: group for name, group in groups.items() if rates_of(evidence, group).boxes >= MIN_BOXES}


def _range(values: Sequence[float]) -> float:
    array: npt.NDArray[np.float64] = np.array(values)
    return float(array.max() - array.min())
