"""Chooses one of several sets of weights in a file: the set that the file's author would evaluate, if that is clear."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.detectors.weights.files.sets import WeightSet
from fgd_core.errors import WeightsError

_AVERAGED = frozenset({"ema", "swa", "avg", "average", "averaged", "averaging", "modelema", "emamodel"})
"""Words in the labels of averaged weights."""


@dataclass(frozen=True, kw_only=True)
class Clues:
    """Holds what a file says about its sets, besides their names."""

    is_of_mmengine: bool = False
    is_distilled: bool = False
    """Whether mmrazor or FGD's authors wrote the file: they train and evaluate the student."""
    predicts_on: str | None = None
    """`student` or `teacher`: the set that a semi-supervised detector evaluates."""


class Choice(NamedTuple):
    """Holds the chosen set and the reasons."""

    taken: WeightSet
    why: str
    """In a few words; empty if the file has only one set."""
    left: tuple[tuple[WeightSet, str], ...] = ()
    """Each set that was not chosen, and why."""


def choose(sets: Sequence[WeightSet], clues: Clues, wanted: str | None, path: str) -> Choice:
    """Choose a set by its label or by rules.

    Args:
        wanted: the label of a set, or the end of it; None chooses the set that the file's author would evaluate.
        path: of the file, for messages.
    Raises:
        WeightsError: no set has this label, or it is unclear which set to use.
    """
    if wanted is not None:
        return _by_label(sets, wanted, path)
    remaining, why, left = list(sets), "", []
    for rule in (_drop_copies, _averaged_by_mmengine, _averaged_by_lightning, _student, _averaged):
        if len(remaining) == 1:
            break
        outcome = rule(remaining, clues)
        if outcome is not None:
            kept, why_kept, why_left = outcome
            left += [(each, why_left) for each in remaining if each not in kept]
            remaining, why = kept, why_kept or why
    if len(remaining) > 1:
        raise _unclear("the file holds several sets of weights, and it is unclear which one to use", remaining, path)
    return Choice(remaining[0], why, tuple(left))


_Outcome = tuple[list[WeightSet], str, str] | None
"""The sets that a rule keeps, why, and why it drops the others; None if the rule does not apply."""
_Rule = Callable[[list[WeightSet], Clues], _Outcome]


def _drop_copies(sets: list[WeightSet], _: Clues) -> _Outcome:
    kept: list[WeightSet] = []
    for each in sets:
        if not any(_are_equal(each, one) for one in kept):
            kept.append(each)
    return (kept, "", "a copy of the same weights") if len(kept) < len(sets) else None


def _averaged_by_mmengine(sets: list[WeightSet], clues: Clues) -> _Outcome:
    averaged, raw = _labelled(sets, r"state_dict\b"), _labelled(sets, r"ema_state_dict\b")
    if not (clues.is_of_mmengine and averaged and raw):
        return None
    return (averaged, "averaged", "mmengine stores the weights before averaging there")


def _averaged_by_lightning(sets: list[WeightSet], _: Clues) -> _Outcome:
    raw = _labelled(sets, r"current_model_state\b")
    rest = [each for each in sets if each not in raw]
    return (rest, "averaged", "Lightning stores the weights before averaging there") if raw and rest else None


def _student(sets: list[WeightSet], clues: Clues) -> _Outcome:
    teachers = _labelled(sets, r".*teacher")
    rest = [each for each in sets if each not in teachers]
    if not teachers or not rest:
        return None
    if clues.predicts_on == "teacher":
        return teachers, "the teacher, which the file's settings evaluate", "the student, which is not evaluated"
    is_clear = clues.is_distilled or clues.predicts_on == "student" or not _labelled(rest, r".*student")
    return (rest, "the student", "the teacher of the distillation") if is_clear else None


def _averaged(sets: list[WeightSet], _: Clues) -> _Outcome:
    averaged = [each for each in sets if _AVERAGED & {*re.split(r"[._\d]+", each.label.lower())}]
    if not averaged or len(averaged) == len(sets):
        return None
    return averaged, "averaged", "the weights before averaging"


def _labelled(sets: Sequence[WeightSet], pattern: str) -> list[WeightSet]:
    return [each for each in sets if re.match(pattern, each.label, re.IGNORECASE)]


def _by_label(sets: Sequence[WeightSet], wanted: str, path: str) -> Choice:
    matching = [each for each in sets if each.label == wanted] or [
        each for each in sets if each.label.endswith(f".{wanted}")
    ]
    if len(matching) != 1:
        raise _unclear(f"the file has {len(matching) or 'no'} set of weights named {wanted!r}", sets, path)
    others = tuple((each, "another set was requested") for each in sets if each is not matching[0])
    return Choice(matching[0], "as requested", others)


def _unclear(what: str, sets: Sequence[WeightSet], path: str) -> WeightsError:
    named = [each.label or '"" (without a prefix)' for each in sets]
    listed = ", ".join(f"{name} ({each.num_keys} keys)" for name, each in zip(named, sets, strict=True))
    example = next((each.label for each in sets if each.label), "")
    return WeightsError(
        f"{what}: the sets are {listed}; choose one with weights_set in the detector's settings, such as "
        f"`weights_set: {example}`",
        path=path,
        sets=[*named],
    )


def _are_equal(one: WeightSet, other: WeightSet) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        _is_same_tensor(value, other.tensors[name]) for name, value in one.tensors.items()
    )


def _is_same_tensor(one: Tensor, other: Tensor) -> bool:
    """Check that two tensors (…) are equal in shape, type and values."""
    is_comparable = (
        one.shape == other.shape and one.dtype == other.dtype and one.layout == other.layout == torch.strided
    )
    return is_comparable and not one.is_meta and not other.is_meta and torch.equal(one, other)
