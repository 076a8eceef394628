"""The course of a training: all that a saved place depends on, written beside it and compared before it is resumed.

A place is numbers: epochs and steps done, weights, moments of the optimiser. They mean something on one course only. On
other data, with another learning rate or seed, going on from them would end in a result that nobody asked for.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pydantic import JsonValue

from fgd_core.errors import WeightsError
from fgd_core.spec.jobs import AnyJob, DistillSpec, TrainSpec, checkpoint_sources
from fgd_core.spec.paths import with_fields
from fgd_core.training.checkpoints import SavedPlace

Course: TypeAlias = dict[str, JsonValue]

FORMAT = 1
"""Of a place. Raised when the same numbers come to mean something else; older places are then refused."""

_BATCH = {"training.batch_size", "training.optimizer.learning_rate", "steps_per_epoch"}
"""What an attempt with half the batch differs in from the one before it, which ran out of memory."""
# What a run may change on its way: none of it moves a step or the result.
_HARMLESS: Mapping[str, frozenset[str]] = {
    "training": frozenset({"precision", "checkpoint_every_s", "loader_workers"}),
    "teacher": frozenset({"gate", "max_ap_drop", "expected_ap"}),
}
_SHOWN = 5
_LONGEST_SHOWN = 60


class Difference(NamedTuple):
    field: str
    saved: JsonValue
    asked: JsonValue

    def __str__(self) -> str:
        return f"{self.field} was {_shown(self.saved)} and is {_shown(self.asked)}"


def course_of(
    spec: TrainSpec | DistillSpec,
    *,
    data: Mapping[str, str | None],
    steps_per_epoch: int,
    digest: Callable[[str], str],
) -> Course:
    """
    Args:
        data: the fingerprints of what is read, by name. Where it lies does not matter.
        digest: source of weights -> a word for its content.
    Returns:
        JSON with the names of the spec's fields.
    """
    told = spec.model_dump(mode="json", exclude={*AnyJob.model_fields} - {"seed"})
    told = with_fields(told, {loc: digest(source) for loc, source in checkpoint_sources(spec)})
    for part, names in _HARMLESS.items():
        if part in told:
            told[part] = {name: value for name, value in told[part].items() if name not in names}
    return {**told, "data": dict(data), "steps_per_epoch": steps_per_epoch, "format": FORMAT}


def why_afresh(found: SavedPlace, asked: Course, *, may_change: Collection[str] = ()) -> str | None:
    """Decide what to do with a saved place.

    Args:
        asked: the course of the run that is to go on from it.
        may_change: parts of the course, `method` for instance, that may differ.
    Returns:
        None: the run goes on from the place. A sentence: it starts afresh, and why.
    Raises:
        WeightsError: the place is another training's.
    """
    saved = found.course or _course_of_older(found, asked)
    differing = [each for each in differences(saved, asked) if each.field.split(".")[0] not in may_change]
    if not differing:
        return None
    fields = {each.field for each in differing}
    if "training.batch_size" in fields <= _BATCH:
        # A place is a number of steps, and these are other steps. A run that ran out of memory is started so.
        batch_size = next(each.saved for each in differing if each.field == "training.batch_size")
        return f"{found.path.name} was saved with batches of {batch_size}; training starts afresh"
    raise WeightsError(
        f"{found.path.name} was saved by another training: {_listed(differing)}; to go on from it, restore what "
        "differs; to start afresh, submit a new job, or run in a folder without checkpoints",
        checkpoint=str(found.path),
        differences=[each._asdict() for each in differing],
    )


def differences(saved: Mapping[str, JsonValue], asked: Mapping[str, JsonValue]) -> list[Difference]:
    """The fields that differ, by path, in the order of `asked`.

    More epochs than were saved are no difference: a training can be prolonged. A field that only one side has was
    unknown to the version that wrote the other, and decides nothing; of two kinds of a thing, a field that both have
    says which kind it is.
    """
    found: list[Difference] = []
    for name, new in asked.items():
        if name not in saved:
            continue
        old = saved[name]
        if isinstance(old, dict) and isinstance(new, dict):
            found += [each._replace(field=f"{name}.{each.field}") for each in differences(old, new)]
        elif name == "epochs" and isinstance(old, int) and isinstance(new, int) and new >= old:
            continue
        elif old != new:
            found.append(Difference(name, old, new))
    return found


def _course_of_older(found: SavedPlace, asked: Course) -> Course:
    """As much of the course as a version that did not write it down left in the checkpoint."""
    checkpoint, training = found.checkpoint, found.training
    group = training["optimizer"]["param_groups"][0]
    decay: Course = {"type": "sgd" if "momentum" in group else "adamw", "weight_decay": group["weight_decay"]}
    detector = checkpoint.detector.model_dump(mode="json", exclude={"weights"})
    settings: Course = {"epochs": training["place"]["epoch"]}
    if "batch_size" in training:
        settings["batch_size"] = training["batch_size"]
    return {
        "kind": "distill" if training["distiller"] else "train",
        "student" if "student" in asked else "detector": detector,
        "input": checkpoint.input.model_dump(mode="json"),
        "training": {**settings, "optimizer": decay},
        "data": {"val": checkpoint.record.data_fingerprint},
    }


def _listed(differing: Sequence[Difference]) -> str:
    listed = ", ".join(str(each) for each in differing[:_SHOWN])
    more = len(differing) - _SHOWN
    return f"{listed}, and {more} more" if more > 0 else listed


def _shown(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
