"""How long a run takes, from earlier runs like it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fgd_core.spec.costs import Span
from fgd_core.spec.paths import SpecData
from fgd_core.spec.seed_groups import digest, seed_group

# They change what a run learns, and hardly how long an epoch takes.
_FREE = ("epochs", "optimizer", "schedule", "learning_rate_for", "backbone_rate", "warmup_steps", "clip_norm")
_COMPARED = ("teacher", "method", "epochs", "form")


class RunType(NamedTuple):
    """What decides how long a run takes. Only runs of the same pace are compared."""

    pace: str
    """Equal for runs with the same detector, data, input and resources, and with the same training except for its
    length and its learning rates; distillations and plain trainings differ."""
    teacher: str
    method: str
    epochs: float
    form: str
    """`job`, or `trial` of a sweep, which may share its teacher's feature maps with other trials."""
    configuration: str
    """Equal for runs that differ only in the seed."""


@dataclass(frozen=True)
class Took:
    """An earlier run, with what it took."""

    type: RunType
    """With the epochs that it trained."""
    ran_s: float
    """Seconds that it held its workers."""
    ended_s: float
    """POSIX time."""
    machine: str
    """Empty if unknown."""


class Price(NamedTuple):
    """What one run takes."""

    each_s: Span
    earlier: int
    machines: frozenset[str]
    differs_in: tuple[str, ...]


UNKNOWN = Price(Span(least=0.0, most=None), 0, frozenset(), ())


def run_type(spec: SpecData, *, form: str = "job", epochs: float | None = None) -> RunType:
    """Return what decides how long a run takes.

    Args:
        spec: of a job of the kind `train` or `distill`, in JSON.
        epochs: that it trained, if not all.
    """
    training, resources = spec["training"], spec["resources"]
    shared = {name: spec.get(name) for name in ("kind", "data", "input", "detector", "student", "pool")}
    settings = {name: value for name, value in training.items() if name not in _FREE}
    workers = {name: resources[name] for name in ("cpus", "gpus", "workers")}
    return RunType(
        pace=digest({**shared, "training": settings, "resources": workers}),
        teacher=digest(spec.get("teacher")),
        method=(spec.get("method") or {}).get("type", ""),
        epochs=training["epochs"] if epochs is None else epochs,
        form=form,
        configuration=seed_group(spec),
    )


def price(run: RunType, earlier: Sequence[Took]) -> Price:
    """Return what a run takes, from those earlier runs of its pace that are closest to it.

    Machines differ in speed, and nobody knows on which of them the run will start: the least is the mean on the
    fastest machine, and the most is the mean on the slowest one.
    """
    alike = [each for each in earlier if each.type.pace == run.pace]
    if not alike:
        return UNKNOWN
    best = max(_closeness(run, each.type) for each in alike)
    closest = [each for each in alike if _closeness(run, each.type) == best]
    by_machine: dict[str, list[float]] = {}
    for each in closest:
        by_machine.setdefault(each.machine, []).append(each.ran_s * run.epochs / each.type.epochs)
    means = [statistics.fmean(times) for times in by_machine.values()]
    return Price(
        each_s=Span(least=min(means), most=max(means)),
        earlier=len(closest),
        machines=frozenset(filter(None, by_machine)),
        differs_in=tuple(name for name, is_same in zip(_COMPARED, best, strict=False) if not is_same),
    )


def _closeness(run: RunType, other: RunType) -> tuple[bool, ...]:
    """The order of `_COMPARED`: another teacher changes the time more than another method, and so on."""
    names = (*_COMPARED, "configuration")
    return tuple(getattr(run, name) == getattr(other, name) for name in names)
