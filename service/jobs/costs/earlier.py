"""How long a run takes, from earlier runs like it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import JsonValue

from fgd_core.spec.costs import Span
from fgd_core.spec.paths import SpecData, field
from fgd_core.spec.seed_groups import digest, seed_group

# They change what a run learns, and hardly how long an epoch takes.
_FREE = ("epochs", "optimizer", "schedule", "learning_rate_for", "backbone_rate", "warmup_steps", "clip_norm")
_COMPARED = ("teacher", "method", "epochs", "altered", "form")
_FAR_APART = 2
"""The factor between the epochs of two runs from which they tell the start from the epochs."""


class RunType(NamedTuple):
    """What decides how long a run takes. Only runs of the same pace are compared."""

    pace: str
    """Equal for runs with the same detector, data, input and resources, and with the same training except for its
    length and its learning rates; distillations, plain trainings and evaluations differ."""
    teacher: str
    """Of a chain: all teachers. Of an evaluation: the detector that is scored."""
    method: str
    epochs: float
    """1 for an evaluation."""
    altered: str
    """Equal for runs that evaluate the same altered copies of the images at their end."""
    form: str
    """`job`, or `trial` of a sweep, which may share its teacher's feature maps with other trials; `chain`, which has
    the pace of its stages; `evaluation`."""
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
    start_s: float = 0.0
    """Seconds until its first step; 0 if unknown."""


class Pace(NamedTuple):
    """What a run takes on one machine, by its epochs."""

    start_s: float
    """What it takes whatever its length."""
    epoch_s: float

    def run_s(self, epochs: float) -> float:
        """Return the seconds of a run with so many epochs."""
        return self.start_s + self.epoch_s * epochs


class Price(NamedTuple):
    """What runs of a type take."""

    paces: Sequence[Pace]
    """On each machine; empty if this is unknown."""
    earlier: int
    machines: frozenset[str]
    differs_in: tuple[str, ...]

    def each_s(self, least_epochs: float, most_epochs: float) -> Span:
        """Return what one run takes.

        Machines differ in speed, and nobody knows on which of them the run will start: the least is the time on the
        fastest machine, and the most is that on the slowest one.
        """
        if not self.paces:
            return Span(least=0.0, most=None)
        return Span(
            least=min(each.run_s(least_epochs) for each in self.paces),
            most=max(each.run_s(most_epochs) for each in self.paces),
        )


def run_type(spec: SpecData, *, form: str = "job", epochs: float | None = None) -> RunType:
    """Return what decides how long a run takes.

    Args:
        spec: of a job of the kind `train`, `distill`, `chain` or `evaluate`, in JSON.
        epochs: that it trained, if not all.
    """
    match spec["kind"]:
        case "chain":
            return _of_chain(spec)
        case "evaluate":
            return _of_evaluation(spec)
    training = spec["training"]
    shared = {name: spec.get(name) for name in ("kind", "data", "input", "detector", "student", "pool")}
    settings = {name: value for name, value in training.items() if name not in _FREE}
    return RunType(
        pace=digest({**shared, "training": settings, "resources": _workers(spec)}),
        teacher=digest(spec.get("teacher")),
        method=(spec.get("method") or {}).get("type", ""),
        epochs=training["epochs"] if epochs is None else epochs,
        altered=digest(field(spec, "evaluation.altered")),
        form=form,
        configuration=seed_group(spec),
    )


def price(run: RunType, earlier: Sequence[Took]) -> Price:
    """Return what a run takes, from those earlier runs of its pace that are closest to it."""
    alike = [each for each in earlier if each.type.pace == run.pace]
    best = max((_closeness(run, each.type) for each in alike), default=())
    closest = [each for each in alike if _closeness(run, each.type) == best]
    machines = {each.machine for each in closest}
    return Price(
        paces=[
            _pace(*([each for each in runs if each.machine == name] for runs in (closest, alike))) for name in machines
        ],
        earlier=len(closest),
        machines=frozenset(filter(None, machines)),
        differs_in=tuple(name for name, is_same in zip(_COMPARED, best, strict=False) if not is_same),
    )


def _of_chain(spec: SpecData) -> RunType:
    """A chain has the pace of a distillation if all its stages have the same one, and of a chain like it otherwise."""
    stages = [
        run_type({**spec, **{name: value for name, value in stage.items() if value is not None}, "kind": "distill"})
        for stage in spec["stages"]
    ]
    paces, methods = (
        [*dict.fromkeys(names)] for names in zip(*((each.pace, each.method) for each in stages), strict=True)
    )
    return RunType(
        pace=paces[0] if len(paces) == 1 else digest(paces),
        teacher=digest([each.teacher for each in stages]),
        method=" and ".join(methods),
        epochs=sum(each.epochs for each in stages) * (2 if spec["control"] else 1),
        altered=digest(None),
        form="chain",
        configuration=seed_group(spec),
    )


def _of_evaluation(spec: SpecData) -> RunType:
    names = ("kind", "data", "more_data", "input", "batch_size", "detector")
    return RunType(
        pace=digest({**{name: spec.get(name) for name in names}, "resources": _workers(spec)}),
        teacher=digest([spec["checkpoint"], spec.get("classes")]),
        method="",
        epochs=1,
        altered=digest(field(spec, "evaluation.altered")),
        form="evaluation",
        configuration=seed_group(spec),
    )


def _workers(spec: SpecData) -> dict[str, JsonValue]:
    return {name: spec["resources"][name] for name in ("cpus", "gpus", "workers")}


def _pace(closest: Sequence[Took], alike: Sequence[Took]) -> Pace:
    """Return the pace of the closest runs on a machine; other runs there may show how much of it is the start."""
    start_s = _start_s(closest, [each for each in alike if _kind(each) == _kind(closest[0])])
    return Pace(start_s, statistics.fmean((each.ran_s - start_s) / each.type.epochs for each in closest))


def _start_s(closest: Sequence[Took], alike: Sequence[Took]) -> float:
    """Return the part of the time that does not grow with the epochs, by a line through runs of different lengths.

    Without such runs it is the time until the first step: what is done after the last one counts as epochs then.
    """
    epochs = [each.type.epochs for each in alike]
    found_s = statistics.fmean(each.start_s for each in closest)
    if max(epochs) >= _FAR_APART * min(epochs):
        line = statistics.linear_regression(epochs, [each.ran_s for each in alike])
        found_s = line.intercept if line.slope > 0 else found_s
    return min(max(found_s, 0.0), *(each.ran_s for each in closest))


def _kind(took: Took) -> tuple[str, ...]:
    """Runs for which this is equal differ in their lengths alone, and in what hardly matters."""
    return took.type.teacher, took.type.method, took.type.altered, took.type.form


def _closeness(run: RunType, other: RunType) -> tuple[bool, ...]:
    """The order of `_COMPARED`: another teacher changes the time more than another method, and so on."""
    names = (*_COMPARED, "configuration")
    return tuple(getattr(run, name) == getattr(other, name) for name in names)
