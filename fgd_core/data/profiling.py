"""Computes statistics of a split, and finds images that are in both splits."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fgd_core.data.findings import NUM_EXAMPLES, Findings
from fgd_core.data.samples import DetectionDataset, Sample, Split
from fgd_core.spec.events import Finding
from fgd_core.spec.profiles import Bin, SizeCount, SplitProfile

_SMALL_PX2, _MEDIUM_PX2 = 32**2, 96**2
_OBJECTS_FROM = (0, 1, 2, 3, 6, 11, 21, 51, 101)
_SIDES_FROM_PX = (0, 257, 513, 769, 1025, 1537, 2049, 4097)
_COMMON_SIZES = 10


def profile(split: Split, dataset: DetectionDataset) -> SplitProfile:
    """Compute the statistics of a split: object sizes, objects per image, image sizes, images per category."""
    samples = dataset.samples
    is_object = [~sample.is_crowd for sample in samples]
    areas_px2 = np.concatenate([np.zeros(0), *(s.areas_px2[kept] for s, kept in zip(samples, is_object, strict=True))])
    num_small, up_to_medium = int((areas_px2 < _SMALL_PX2).sum()), int((areas_px2 < _MEDIUM_PX2).sum())
    with_category = np.zeros(len(dataset.categories), dtype=np.int64)
    for sample, kept in zip(samples, is_object, strict=True):
        with_category[np.unique(sample.labels[kept])] += 1
    sizes = Counter((sample.width, sample.height) for sample in samples)
    return SplitProfile(
        split=split,
        num_small=num_small,
        num_medium=up_to_medium - num_small,
        num_large=len(areas_px2) - up_to_medium,
        images_per_category={c.name: int(n) for c, n in zip(dataset.categories, with_category, strict=True)},
        objects_per_image=_bins(np.array([kept.sum() for kept in is_object], dtype=np.int64), _OBJECTS_FROM),
        longer_sides_px=_bins(np.array([max(s.width, s.height) for s in samples], dtype=np.int64), _SIDES_FROM_PX),
        common_sizes=[
            SizeCount(width_px=width, height_px=height, num_images=count)
            for (width, height), count in sizes.most_common(_COMMON_SIZES)
        ],
        num_sizes=len(sizes),
    )


def in_both_splits(train: DetectionDataset, val: DetectionDataset) -> list[Finding]:
    """Find validation images that have the name, size and boxes of a training image. Skips images without boxes."""
    in_train = {_identity(sample) for sample in train.samples}
    repeated = [s.file_name for s in val.samples if len(s.labels) and _identity(s) in in_train]
    findings = Findings("drop")
    findings.add_many("in_both_splits", repeated[:NUM_EXAMPLES], count=len(repeated))
    return findings.report()


def _identity(sample: Sample) -> tuple[str, int, int, bytes, bytes]:
    name = sample.file_name.rpartition("/")[2]
    return name, sample.width, sample.height, sample.boxes_xyxy_px.tobytes(), sample.labels.tobytes()


def _bins(values: npt.NDArray[np.int64], firsts: Sequence[int]) -> list[Bin]:
    """Count the values in each bin, up to the bin of the largest value.

    Args:
        values: (n,)
        firsts: the smallest value of each bin, ascending.
    """
    num_bins = int(np.searchsorted(firsts, values.max(initial=0), side="right"))
    bounds = [*firsts[1:], None][:num_bins]
    counts = np.bincount(np.searchsorted(firsts, values, side="right") - 1, minlength=num_bins)
    return [
        Bin(first=first, last=None if after is None else after - 1, count=int(count))
        for first, after, count in zip(firsts, bounds, counts, strict=False)
    ]
