"""A training as a forecast sees it: what it shares with others, its curve, and where it ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

from fgd_core.spec.paths import SpecData
from fgd_core.spec.seed_groups import digest, seed_group


@dataclass(frozen=True, kw_only=True)
class Training:
    """A run that trains a detector, with or without distillation."""

    data: str
    """Equal for runs on the same data."""
    family: str
    """Equal for runs with the same detector, data, input and training: a run and its plain counterpart."""
    configuration: str
    """Equal for runs that differ only in the seed."""
    is_plain: bool
    curve: Sequence[tuple[float, float]]
    """(part of the training in (0, 1], best AP until there), in order."""
    final: float | None
    """AP of the best checkpoint; None while it runs."""
    teacher_ap: float | None = None
    started_s: float = 0.0
    """POSIX time; a forecast of the first tenth knows what had ended before."""
    ended_s: float = 0.0

    def best_at(self, part: float) -> float | None:
        """Return the best AP until a part of the training; None if it had no evaluation until there."""
        return next((ap for at, ap in reversed(self.curve) if at <= part + 1e-9), None)

    def until(self, part: float) -> "Training":
        """Return the training as it was at a part of its epochs."""
        return replace(self, curve=[point for point in self.curve if point[0] <= part + 1e-9], final=None)


class Identity(NamedTuple):
    """What a spec shares with others; see `Training`."""

    data: str
    family: str
    configuration: str
    is_plain: bool


def identity(spec: SpecData) -> Identity:
    """Return which runs a training is compared with.

    Args:
        spec: of a job of the kind `train` or `distill`, in JSON.
    """
    is_plain = spec["kind"] == "train"
    # A pool of images without labels belongs to the distillation.
    data = {name: value for name, value in spec["data"].items() if name != "pool"}
    shared = {"data": data, "input": spec.get("input"), "training": spec.get("training")}
    detector = spec["detector" if is_plain else "student"]
    return Identity(digest(data), digest({**shared, "detector": detector}), seed_group(spec), is_plain)


def best_so_far(points: Iterable[tuple[int, float]], num_steps: int) -> list[tuple[float, float]]:
    """Return the curve of a training from its (step, AP)."""
    ordered = sorted(points)
    best = accumulate((ap for _, ap in ordered), max)
    return [(min(1.0, step / num_steps), ap) for (step, _), ap in zip(ordered, best, strict=True)]
