"""Weights from elsewhere into a module, and a true account, key by key, of what was loaded."""

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
"""Of a key. `by class`: rows were chosen by the names of their classes. `left out`: known, and needed by nobody."""
Shape: TypeAlias = tuple[int, ...]

_COUNTER = "num_batches_tracked"
"""A frozen batch norm has no count of batches and a trained one does: that key counts on neither side."""


@dataclass(frozen=True, kw_only=True)
class SourceWeights:
    """Weights of another origin under our names."""

    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    """Whom the rows of classes belong to, in order; None where it is not known, or does not matter."""
    original: Mapping[str, str] = field(default_factory=dict)
    """Our name -> the name in the file, where it had another."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Names in the file that nobody needs -> why."""
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    """Our name -> the shape in the file, where it had another."""
    notes: tuple[str, ...] = ()
    """What else was done to the weights."""
    taken: str = ""
    """Which of a file's sets of weights these are; empty where there is one only."""
    left: tuple[str, ...] = ()
    """What else the file holds and why it is not taken, beside the keys of `left_out`."""


class KeyResult(NamedTuple):
    """A row of the table that shows what became of a file."""

    key: str | None
    """In the file; None where the file lacks it."""
    own_key: str | None
    """In the detector; None where it has none."""
    shape: Shape | None
    """In the file."""
    own_shape: Shape | None
    status: KeyStatus
    note: str = ""


@dataclass(frozen=True)
class LoadResult:
    """What became of an offer."""

    event: WeightsLoaded
    keys: tuple[KeyResult, ...]
    """In the detector's order, then what only the file has."""

    @property
    def is_complete(self) -> bool:
        """Whether every key of either side met its like."""
        event = self.event
        return event.num_matched == event.num_total and not event.mismatched and not event.unexpected


def match_state(module: nn.Module, state: Mapping[str, Tensor], *, role: Role, source: str) -> WeightsLoaded:
    """Load every tensor of `state` whose name and shape `module` knows, and say what did not fit."""
    return load_weights(module, SourceWeights(state=state), role=role, source=source).event


def load_weights(
    module: nn.Module, offer: SourceWeights, *, classes: Sequence[str] | None = None, role: Role, source: str
) -> LoadResult:
    """Load what fits by name and shape; rows of classes by the classes' names where both sides say theirs.

    Args:
        classes: of the module, in the order of its labels.
    Raises:
        WeightsError: a value is NaN or infinite.
    """
    _check_finite(offer, source)
    own = module.state_dict()
    by_class: ClassMap | None = None
    chosen: dict[str, Tensor | None] = {}
    if offer.classes is not None and classes is not None:
        are_others = tuple(classes) != offer.classes
        met = match_classes(offer.classes, classes)
        chosen = _choose_classes(own, offer, len(classes), met, are_others=are_others)
        by_class = met if are_others else None
    given = {**offer.state, **chosen}
    matched = {
        key: value
        for key, value in given.items()
        if value is not None and key in own and own[key].shape == value.shape and _is_of_kind(value, own[key])
    }
    module.load_state_dict({**own, **matched})
    keys = tuple(_fates(own, matched, chosen, offer))
    wanted = [fate for fate in keys if fate.own_key is not None]
    event = WeightsLoaded(
        role=role,
        source=source,
        num_matched=sum(fate.status in ("loaded", "by class") for fate in wanted),
        num_total=len(wanted),
        missing=[fate.own_key for fate in wanted if fate.status == "missing" and fate.own_key],
        mismatched=[_mismatch(fate) for fate in keys if fate.status == "mismatched"],
        unexpected=[fate.key for fate in keys if fate.status == "unexpected" and fate.key],
        classes_found=list(by_class.found) if by_class else [],
        classes_fresh=list(by_class.fresh) if by_class else [],
        classes_unused=list(by_class.unused) if by_class else [],
        taken=offer.taken,
        left=[*_grouped(offer.left_out), *offer.left],
        notes=list(offer.notes),
    )
    return LoadResult(event, keys)


def _choose_classes(
    own: Mapping[str, Tensor], offer: SourceWeights, num_own: int, classes: ClassMap, *, are_others: bool
) -> dict[str, Tensor | None]:
    """The tensors with rows for classes; None for those that cannot be handed on: their rows would mean others.

    Where the classes are the same there is a choice only where one side has rows for the background.
    """
    assert offer.classes is not None
    chosen: dict[str, Tensor | None] = {}
    for key, value in offer.state.items():
        rows = class_rows(key)
        if rows is None or key not in own or (own[key].shape == value.shape and not are_others):
            continue
        chosen[key] = None
        if classes.pairs:
            num_given = len(offer.classes)
            chosen[key] = copy_class_rows(value, own[key], rows, classes, num_given=num_given, num_own=num_own)
    return chosen


def _fates(
    own: Mapping[str, Tensor], matched: Mapping[str, Tensor], chosen: Mapping[str, Tensor | None], offer: SourceWeights
) -> list[KeyResult]:
    fates = []
    for own_key, value in own.items():
        if own_key.endswith(_COUNTER):
            continue
        shape = tuple(value.shape)
        if own_key not in offer.state:
            fates.append(KeyResult(None, own_key, None, shape, "missing"))
            continue
        fate: KeyStatus = "mismatched"
        if own_key in matched:
            fate = "by class" if own_key in chosen else "loaded"
        note = _why_not(offer, own_key, value) if fate == "mismatched" else ""
        fates.append(KeyResult(_original(offer, own_key), own_key, _shape(offer, own_key), shape, fate, note))
    for key in offer.state:
        if key not in own and not key.endswith(_COUNTER):
            fates.append(KeyResult(_original(offer, key), None, _shape(offer, key), None, "unexpected"))
    fates += [KeyResult(key, None, None, None, "left out", why) for key, why in offer.left_out.items()]
    return fates


def _why_not(offer: SourceWeights, key: str, own: Tensor) -> str:
    """Why a tensor of the right name is not taken, where its shape does not say it."""
    value = offer.state[key]
    if not _is_of_kind(value, own):
        if value.layout != torch.strided:
            return f"{str(value.layout).removeprefix('torch.')} where a dense tensor is wanted"
        return f"{str(value.dtype).removeprefix('torch.')} where a {str(own.dtype).removeprefix('torch.')} is wanted"
    if value.shape != own.shape:
        return ""
    return "no class in common" if offer.classes else "the file does not name its classes"


def _is_of_kind(value: Tensor, own: Tensor) -> bool:
    """Whether both hold real numbers or both whole ones: a quantised weight means something else than its numbers."""
    is_dense = value.layout == torch.strided
    return is_dense and value.is_floating_point() == own.is_floating_point() and not value.is_complex()


def _check_finite(offer: SourceWeights, source: str) -> None:
    bad = {}
    for key, value in offer.state.items():
        if value.is_floating_point() and value.layout == torch.strided and not value.is_meta:
            count = int((~torch.isfinite(value.float())).sum())
            if count:
                bad[_original(offer, key)] = count
    if bad:
        shown = ", ".join(f"{key} ({count} of its values)" for key, count in [*bad.items()][:5])
        raise WeightsError(
            f"{len(bad)} of {len(offer.state)} weights of the file hold NaN or infinite values: {shown}"
            f"{', …' if len(bad) > 5 else ''}; its training had diverged: take an earlier checkpoint",
            checkpoint=source,
            not_finite=[*list(bad)[:5]],
        )


def _grouped(left_out: Mapping[str, str]) -> list[str]:
    """What was left out, reason by reason."""
    reasons: dict[str, list[str]] = {}
    for key, why in left_out.items():
        reasons.setdefault(why, []).append(key)
    return [f"{_counted(keys)}: {why}" for why, keys in reasons.items()]


def _counted(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:2]) + (", …" if len(keys) > 2 else "")
    return f"{len(keys)} {'key' if len(keys) == 1 else 'keys'} ({shown})"


def _original(offer: SourceWeights, key: str) -> str:
    return offer.original.get(key, key)


def _shape(offer: SourceWeights, key: str) -> Shape:
    return offer.shapes.get(key, tuple(offer.state[key].shape))


def _mismatch(fate: KeyResult) -> str:
    name = f"{fate.own_key} (from {fate.key})" if fate.key != fate.own_key else str(fate.own_key)
    shapes = f"{name}: {fate.shape} vs. {fate.own_shape}"
    return f"{shapes}, {fate.note}" if fate.note else shapes
