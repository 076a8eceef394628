"""Loads weights of another origin into a module, and reports for each key what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from fgd_core.detectors.weights.classes import ClassMap, class_rows, copy_class_rows, match_classes
from fgd_core.errors import WeightsError
from fgd_core.spec.events import WeightsLoaded

Role: TypeAlias = Literal["detector", "student", "teacher", "inherited"]
KeyStatus: TypeAlias = Literal["loaded", "by class", "missing", "mismatched", "unexpected", "left out"]
"""`by class`: rows were selected by the names of their classes. `left out`: the key is known and not needed."""
Shape: TypeAlias = tuple[int, ...]

_COUNTER = "num_batches_tracked"
"""A frozen batch norm does not count batches and a trained one does, so this key is not compared on either side."""


@dataclass(frozen=True, kw_only=True)
class SourceWeights:
    """Holds weights of another origin under the names of fgd."""

    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    """The classes of the rows, in order; None if unknown or irrelevant."""
    original: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the name in the file, if it differs."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Names in the file that are not needed -> the reason."""
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    """Our name -> the shape in the file, if it differs."""
    notes: tuple[str, ...] = ()
    """Other changes of the weights, for a person."""
    taken: str = ""
    """The label of the chosen set of weights of a file; empty if the file has only one."""
    left: tuple[str, ...] = ()
    """Other contents of the file and why they are not used, besides the keys of `left_out`."""


class KeyResult(NamedTuple):
    """Reports what happened to one key; a row of the table of `fgd weights check`."""

    key: str | None
    """The name in the file; None if the file lacks it."""
    own_key: str | None
    """The name in the detector; None if the detector lacks it."""
    shape: Shape | None
    """The shape in the file."""
    own_shape: Shape | None
    status: KeyStatus
    note: str = ""


@dataclass(frozen=True)
class LoadResult:
    """Reports the result of loading."""

    event: WeightsLoaded
    keys: tuple[KeyResult, ...]
    """In the detector's order, then the keys that only the file has."""

    @property
    def is_complete(self) -> bool:
        """Whether every key of both sides has a match."""
        event = self.event
        return event.num_matched == event.num_total and not event.mismatched and not event.unexpected


def match_state(module: nn.Module, state: Mapping[str, Tensor], *, role: Role, source: str) -> WeightsLoaded:
    """Load every tensor of `state` that fits `module` by name and shape, and report the rest."""
    return load_weights(module, SourceWeights(state=state), role=role, source=source).event


def load_weights(
    module: nn.Module, weights: SourceWeights, *, classes: Sequence[str] | None = None, role: Role, source: str
) -> LoadResult:
    """Load the tensors that fit by name and shape; class rows by class name if both sides name their classes.

    Args:
        classes: of the module, in the order of its labels.
    Raises:
        WeightsError: a value is NaN or infinite.
    """
    _check_finite(weights, source)
    own = module.state_dict()
    by_class: ClassMap | None = None
    chosen: dict[str, Tensor | None] = {}
    if weights.classes is not None and classes is not None:
        differ = tuple(classes) != weights.classes
        class_map = match_classes(weights.classes, classes)
        chosen = _choose_classes(own, weights, len(classes), class_map, differ=differ)
        by_class = class_map if differ else None
    given = {**weights.state, **chosen}
    matched = {
        key: value
        for key, value in given.items()
        if value is not None and key in own and own[key].shape == value.shape and _has_same_kind(value, own[key])
    }
    module.load_state_dict({**own, **matched})
    keys = tuple(_key_results(own, matched, chosen, weights))
    return LoadResult(_event(keys, weights, by_class, role=role, source=source), keys)


def _event(
    keys: Sequence[KeyResult], weights: SourceWeights, by_class: ClassMap | None, *, role: Role, source: str
) -> WeightsLoaded:
    own_keys = [key for key in keys if key.own_key is not None]
    return WeightsLoaded(
        role=role,
        source=source,
        num_matched=sum(key.status in ("loaded", "by class") for key in own_keys),
        num_total=len(own_keys),
        missing=[key.own_key for key in own_keys if key.status == "missing" and key.own_key],
        mismatched=[_mismatch(key) for key in keys if key.status == "mismatched"],
        unexpected=[key.key for key in keys if key.status == "unexpected" and key.key],
        classes_found=list(by_class.found) if by_class else [],
        classes_fresh=list(by_class.fresh) if by_class else [],
        classes_unused=list(by_class.unused) if by_class else [],
        taken=weights.taken,
        left=[*_grouped(weights.left_out), *weights.left],
        notes=list(weights.notes),
    )


def _choose_classes(
    own: Mapping[str, Tensor], weights: SourceWeights, num_own: int, classes: ClassMap, *, differ: bool
) -> dict[str, Tensor | None]:
    """Select the class rows of each tensor (rows, …) that has them; None if its rows belong to other classes.

    If the classes of both sides are equal, only tensors need this where one side has rows for the background.
    """
    assert weights.classes is not None
    chosen: dict[str, Tensor | None] = {}
    for key, value in weights.state.items():
        rows = class_rows(key)
        if rows is None or key not in own or (own[key].shape == value.shape and not differ):
            continue
        chosen[key] = None
        if classes.pairs:
            num_given = len(weights.classes)
            chosen[key] = copy_class_rows(value, own[key], rows, classes, num_given=num_given, num_own=num_own)
    return chosen


def _key_results(
    own: Mapping[str, Tensor],
    matched: Mapping[str, Tensor],
    chosen: Mapping[str, Tensor | None],
    weights: SourceWeights,
) -> list[KeyResult]:
    results = []
    for own_key, value in own.items():
        if own_key.endswith(_COUNTER):
            continue
        shape = tuple(value.shape)
        if own_key not in weights.state:
            results.append(KeyResult(None, own_key, None, shape, "missing"))
            continue
        status: KeyStatus = "mismatched"
        if own_key in matched:
            status = "by class" if own_key in chosen else "loaded"
        note = _why_not(weights, own_key, value) if status == "mismatched" else ""
        results.append(KeyResult(_original(weights, own_key), own_key, _shape(weights, own_key), shape, status, note))
    for key in weights.state:
        if key not in own and not key.endswith(_COUNTER):
            results.append(KeyResult(_original(weights, key), None, _shape(weights, key), None, "unexpected"))
    results += [KeyResult(key, None, None, None, "left out", why) for key, why in weights.left_out.items()]
    return results


def _why_not(weights: SourceWeights, key: str, own: Tensor) -> str:
    """Explain why a tensor (…) of the right name is not used; empty if the shapes explain it."""
    value = weights.state[key]
    if not _has_same_kind(value, own):
        if value.layout != torch.strided:
            return f"{str(value.layout).removeprefix('torch.')} where a dense tensor is expected"
        return f"{str(value.dtype).removeprefix('torch.')} where a {str(own.dtype).removeprefix('torch.')} is expected"
    if value.shape != own.shape:
        return ""
    return "no class in common" if weights.classes else "the file does not name its classes"


def _has_same_kind(value: Tensor, own: Tensor) -> bool:
    """Check that two tensors (…) are both floating point or both integer.

    The integers of a quantised weight are not its values.
    """
    is_dense = value.layout == torch.strided
    return is_dense and value.is_floating_point() == own.is_floating_point() and not value.is_complex()


def _check_finite(weights: SourceWeights, source: str) -> None:
    bad = {}
    for key, value in weights.state.items():
        if value.is_floating_point() and value.layout == torch.strided and not value.is_meta:
            count = int((~torch.isfinite(value.float())).sum())
            if count:
                bad[_original(weights, key)] = count
    if bad:
        shown = ", ".join(f"{key} ({count} of its values)" for key, count in [*bad.items()][:5])
        raise WeightsError(
            f"{len(bad)} of {len(weights.state)} weights of the file hold NaN or infinite values: {shown}"
            f"{', …' if len(bad) > 5 else ''}; its training diverged, use an earlier checkpoint",
            checkpoint=source,
            not_finite=[*list(bad)[:5]],
        )


def _grouped(left_out: Mapping[str, str]) -> list[str]:
    """Group the unused keys by reason."""
    reasons: dict[str, list[str]] = {}
    for key, why in left_out.items():
        reasons.setdefault(why, []).append(key)
    return [f"{_counted(keys)}: {why}" for why, keys in reasons.items()]


def _counted(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:2]) + (", …" if len(keys) > 2 else "")
    return f"{len(keys)} {'key' if len(keys) == 1 else 'keys'} ({shown})"


def _original(weights: SourceWeights, key: str) -> str:
    return weights.original.get(key, key)


def _shape(weights: SourceWeights, key: str) -> Shape:
    return weights.shapes.get(key, tuple(weights.state[key].shape))


def _mismatch(result: KeyResult) -> str:
    name = f"{result.own_key} (from {result.key})" if result.key != result.own_key else str(result.own_key)
    shapes = f"{name}: {result.shape} vs. {result.own_shape}"
    return f"{shapes}, {result.note}" if result.note else shapes
