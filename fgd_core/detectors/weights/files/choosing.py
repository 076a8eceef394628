"""Which of several sets of weights in a file is taken: the one that its author would evaluate, where that is clear."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fgd_core.detectors.weights.files.sets import WeightSet
from fgd_core.errors import WeightsError

_AVERAGED = frozenset({"ema", "swa", "avg", "average", "averaged", "averaging", "modelema", "emamodel"})
"""Words in the label of weights that are the average of a training's."""


@dataclass(frozen=True, kw_only=True)
class Clues:
    """What a file says about its sets, beside their names."""

    is_of_mmengine: bool = False
    is_distilled: bool = False
    """By mmrazor or by FGD's authors: the student is what is trained and evaluated."""
    predicts_on: str | None = None
    """`student` or `teacher`, of a detector that learns from unlabelled images."""


class Choice(NamedTuple):
    taken: WeightSet
    why: str
    """In a few words; empty where there was no choice."""
    left: tuple[tuple[WeightSet, str], ...] = ()
    """Each set that was not taken, and why."""


def choose(sets: Sequence[WeightSet], clues: Clues, wanted: str | None, path: str) -> Choice:
    """
    Args:
        wanted: the label of a set, or what it ends with; None: the one that the file's author would evaluate.
    Raises:
        WeightsError: no set is called so, or it is not clear which is meant.
    """
    if wanted is not None:
        return _as_asked(sets, wanted, path)
    remaining, why, left = list(sets), "", []
    for rule in (_without_copies, _swapped_by_mmengine, _swapped_by_lightning, _students, _averaged):
        if len(remaining) == 1:
            break
        ruled = rule(remaining, clues)
        if ruled is not None:
            kept, why_kept, why_left = ruled
            left += [(each, why_left) for each in remaining if each not in kept]
            remaining, why = kept, why_kept or why
    if len(remaining) > 1:
        raise _unclear("the file holds several sets of weights, and it is not clear which is meant", remaining, path)
    return Choice(remaining[0], why, tuple(left))


_Ruled = tuple[list[WeightSet], str, str] | None
"""The sets that a rule keeps, why, and why it drops the others; None where it has nothing to say."""
_Rule = Callable[[list[WeightSet], Clues], _Ruled]


def _without_copies(sets: list[WeightSet], _: Clues) -> _Ruled:
    kept: list[WeightSet] = []
    for each in sets:
        if not any(_are_equal(each, one) for one in kept):
            kept.append(each)
    return (kept, "", "the same weights once more") if len(kept) < len(sets) else None


def _swapped_by_mmengine(sets: list[WeightSet], clues: Clues) -> _Ruled:
    averaged, raw = _labelled(sets, r"state_dict\b"), _labelled(sets, r"ema_state_dict\b")
    if not (clues.is_of_mmengine and averaged and raw):
        return None
    return (averaged, "averaged", "mmengine keeps the weights before averaging there")


def _swapped_by_lightning(sets: list[WeightSet], _: Clues) -> _Ruled:
    raw = _labelled(sets, r"current_model_state\b")
    rest = [each for each in sets if each not in raw]
    return (rest, "averaged", "Lightning keeps the weights before averaging there") if raw and rest else None


def _students(sets: list[WeightSet], clues: Clues) -> _Ruled:
    teachers = _labelled(sets, r".*teacher")
    rest = [each for each in sets if each not in teachers]
    if not teachers or not rest:
        return None
    if clues.predicts_on == "teacher":
        return teachers, "the teacher, which the file's settings predict on", "the student, which is not evaluated"
    is_clear = clues.is_distilled or clues.predicts_on == "student" or not _labelled(rest, r".*student")
    return (rest, "the student", "the teacher that it learnt from") if is_clear else None


def _averaged(sets: list[WeightSet], _: Clues) -> _Ruled:
    averaged = [each for each in sets if _AVERAGED & {*re.split(r"[._\d]+", each.label.lower())}]
    if not averaged or len(averaged) == len(sets):
        return None
    return averaged, "averaged", "the weights before averaging"


def _labelled(sets: Sequence[WeightSet], pattern: str) -> list[WeightSet]:
    return [each for each in sets if re.match(pattern, each.label, re.IGNORECASE)]


def _as_asked(sets: Sequence[WeightSet], wanted: str, path: str) -> Choice:
    meant = [each for each in sets if each.label == wanted] or [
        each for each in sets if each.label.endswith(f".{wanted}")
    ]
    if len(meant) != 1:
        raise _unclear(f"the file has {len(meant) or 'no'} set of weights called {wanted!r}", sets, path)
    others = tuple((each, "another set was asked for") for each in sets if each is not meant[0])
    return Choice(meant[0], "as asked", others)


def _unclear(what: str, sets: Sequence[WeightSet], path: str) -> WeightsError:
    named = [each.label or '"" (without a prefix)' for each in sets]
    listed = ", ".join(f"{name} ({each.num_keys} keys)" for name, each in zip(named, sets, strict=True))
    example = next((each.label for each in sets if each.label), "")
    return WeightsError(
        f"{what}: there are {listed}; say which with weights_set in the detector's settings, such as "
        f"`weights_set: {example}`",
        path=path,
        sets=[*named],
    )


def _are_equal(one: WeightSet, other: WeightSet) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        _are_the_same(value, other.tensors[name]) for name, value in one.tensors.items()
    )


def _are_the_same(one: Tensor, other: Tensor) -> bool:
    is_comparable = (
        one.shape == other.shape and one.dtype == other.dtype and one.layout == other.layout == torch.strided
    )
    return is_comparable and not one.is_meta and not other.is_meta and torch.equal(one, other)
