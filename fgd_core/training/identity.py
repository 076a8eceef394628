"""The identity of a training: everything that its state depends on.

Each checkpoint contains the identity of its training, and a run compares it with its own before it resumes. The state
of a training (epochs, steps, weights, moments of the optimiser) has a meaning for one identity only: with other data or
another learning rate or seed, a resumed training would end in a result that the user did not request.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pydantic import JsonValue

from fgd_core.errors import WeightsError
from fgd_core.spec.checkpoint_references import checkpoint_sources
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.paths import with_fields
from fgd_core.training.checkpoints import SavedTraining

RunIdentity: TypeAlias = dict[str, JsonValue]

FORMAT = 1
"""Version of the trainer's state. It is raised when the same numbers change their meaning; older states are then
refused."""

_BATCH = {"training.batch_size", "training.optimizer.learning_rate", "steps_per_epoch"}
"""The fields in which an attempt with half the batch size differs from the attempt that ran out of memory."""
_OF_THE_GATE = frozenset({"gate", "max_ap_drop", "expected_ap"})
# Fields that may change when a run resumes: they change no step.
_HARMLESS: Mapping[str, frozenset[str]] = {
    "training": frozenset(
        {"precision", "checkpoint_every_s", "evaluate_beside", "loader_workers", "compile", "skip_bad_steps"}
        # These two say when a training ends, and no step depends on it.
        | {"budget", "early_stop"}
    ),
    "teacher": _OF_THE_GATE,
    "more_teachers": _OF_THE_GATE,
}
_SHOWN = 5
_LONGEST_SHOWN = 60


class Difference(NamedTuple):
    """A field whose value in the checkpoint differs from the run's."""

    field: str
    saved: JsonValue
    current: JsonValue

    def __str__(self) -> str:
        return f"{self.field} was {_shown(self.saved)} and is now {_shown(self.current)}"


def run_identity(
    spec: TrainSpec | DistillSpec,
    *,
    data: Mapping[str, str | None],
    steps_per_epoch: int,
    digest: Callable[[str], str],
) -> RunIdentity:
    """Return everything that a training's state depends on.

    Args:
        data: fingerprints of the data, by name; its place does not matter.
        digest: returns an identifier of the content of a source of weights.
    Returns:
        JSON with the names of the spec's fields.
    """
    content = spec.model_dump(mode="json", exclude={*AnyJob.model_fields, "evaluation"} - {"seed"})
    content = with_fields(content, {loc: digest(source) for loc, source in checkpoint_sources(spec)})
    return {**without_harmless(content), "data": dict(data), "steps_per_epoch": steps_per_epoch, "format": FORMAT}


def without_harmless(content: RunIdentity) -> RunIdentity:
    """Return the JSON of a job, or of a stage of a chain, without the fields that may change when a run resumes."""
    return {name: _without(part, _HARMLESS[name]) if name in _HARMLESS else part for name, part in content.items()}


def _without(part: JsonValue, names: Collection[str]) -> JsonValue:
    if isinstance(part, list):
        return [_without(each, names) for each in part]
    assert isinstance(part, dict)
    return {name: value for name, value in part.items() if name not in names}


def reason_to_restart(found: SavedTraining, current: RunIdentity, *, may_change: Collection[str] = ()) -> str | None:
    """Decide whether a run resumes from a checkpoint or starts from the beginning.

    Args:
        current: the identity of the run.
        may_change: top-level parts of the identity that may differ, for example `method`.
    Returns:
        None if the run resumes; otherwise a sentence that says why it starts from the beginning.
    Raises:
        WeightsError: the checkpoint is from another training.
    """
    saved = found.identity or _identity_of_older(found, current)
    differing = [each for each in differences(saved, current) if each.field.split(".")[0] not in may_change]
    if not differing:
        return None
    fields = {each.field for each in differing}
    if "training.batch_size" in fields <= _BATCH:
        # A retry after out of memory has half the batch size, and the checkpoint counts steps of the old size.
        batch_size = next(each.saved for each in differing if each.field == "training.batch_size")
        return f"{found.path.name} was saved with batches of {batch_size}; training starts from the beginning"
    raise WeightsError(
        f"{found.path.name} was saved by another training: {_listed(differing)}; to resume from it, restore these "
        "settings; to start from the beginning, submit a new job, or run in a folder without checkpoints",
        checkpoint=str(found.path),
        differences=[{"field": each.field, "saved": each.saved, "asked": each.current} for each in differing],
    )


def differences(saved: Mapping[str, JsonValue], current: Mapping[str, JsonValue]) -> list[Difference]:
    """Return the fields that differ, by path, in the order of `current`.

    A larger number of epochs is no difference, because a training may be extended. A field that only one side has is
    ignored: the version that wrote the other side did not know it. Where the two sides hold different kinds of a part,
    the field that names the kind differs.
    """
    found: list[Difference] = []
    for name, new in current.items():
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


def _identity_of_older(found: SavedTraining, current: RunIdentity) -> RunIdentity:
    """Return as much of the identity as can be read from a checkpoint of a version that did not save it."""
    checkpoint, training = found.checkpoint, found.training
    group = training["optimizer"]["param_groups"][0]
    decay: RunIdentity = {"type": "sgd" if "momentum" in group else "adamw", "weight_decay": group["weight_decay"]}
    detector = checkpoint.detector.model_dump(mode="json", exclude={"weights"})
    settings: RunIdentity = {"epochs": training["place"]["epoch"]}
    if "batch_size" in training:
        settings["batch_size"] = training["batch_size"]
    return {
        "kind": "distill" if training["distiller"] else "train",
        "student" if "student" in current else "detector": detector,
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
