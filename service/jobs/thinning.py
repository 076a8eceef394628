"""Thins curves: fewer points, the same picture."""

from collections.abc import Sequence

from fgd_core.spec.report import CurvePoint


def thin(points: Sequence[CurvePoint], max_points: int) -> list[CurvePoint]:
    """Keep at most `max_points` (2 or more) points: the lowest and the highest of each bucket.

    So every spike stays, which a mean or every n-th point would lose.
    """
    if len(points) <= max_points:
        return list(points)
    num_buckets = max_points // 2
    kept: list[CurvePoint] = []
    for index in range(num_buckets):
        bucket = range(index * len(points) // num_buckets, (index + 1) * len(points) // num_buckets)
        lowest = min(bucket, key=lambda i: points[i].value)
        highest = max(bucket, key=lambda i: points[i].value)
        kept.extend(points[i] for i in sorted({lowest, highest}))
    return kept
