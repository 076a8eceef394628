"""What methods need whose weights of regions are above 0: two detectors with regions."""

from collections.abc import Iterator, Sequence

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.methods.base import AnyMethod, Unmet


def without_regions(
    method: AnyMethod, fields: Sequence[str], student: AnyDetector, teacher: AnyDetector | None
) -> Iterator[Unmet]:
    """Yield the fields that have a weight although a detector has no regions.

    Args:
        fields: weights of regions.
        teacher: None if it is not known yet; then only the student is checked.
    """
    lacking = [each.name() for each in (student, teacher) if each is not None and "regions" not in each.offers]
    for name in fields if lacking else ():
        if getattr(method, name) > 0:
            yield Unmet(
                f"method.{name}",
                f"{name} weighs regions, and {lacking[0]} has none; set it to 0, or choose two-stage detectors",
            )
