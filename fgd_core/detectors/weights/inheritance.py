"""Copies weights from a teacher to its student before the first training step."""

import re
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.matching import LoadResult, SourceWeights, load_weights
from fgd_core.errors import WeightsError
from fgd_core.spec.events import WeightsLoaded
from fgd_core.spec.kinds.distill import Inheritance

_BODY = "backbone.body."
_BACKBONE = "backbone."
_NECK_BLOCK = re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.)(\d+)(?=\.)")

_PARTS: Mapping[Inheritance, Callable[[str], bool]] = {
    "full": lambda key: True,
    "by_shape": lambda key: True,
    "neck_and_head": lambda key: not key.startswith(_BODY),
    "neck": lambda key: key.startswith(_BACKBONE) and not key.startswith(_BODY),
    "head": lambda key: not key.startswith(_BACKBONE),
    "nothing": lambda key: False,
}


def inherit(
    student: Detector,
    teacher: Detector,
    mode: Inheritance,
    *,
    source: str,
    student_classes: Sequence[str] | None = None,
    teacher_classes: Sequence[str] | None = None,
) -> WeightsLoaded:
    """Copy the parameters of a part of the teacher that fit the student by name and shape.

    Call this after every other initialisation, which would overwrite the copy. If both lists of classes are known and
    differ, the rows of their common classes are copied by name.

    Args:
        mode: `by_shape` copies everything that fits; `full` requires that everything fits; the others copy what fits in
            their part.
    Raises:
        WeightsError: nothing matched, because the heads have different types or widths; or, in `full`, not all matched.
    """
    belongs = _PARTS[mode]
    levels_up = teacher.levels[0].stride.bit_length() - student.levels[0].stride.bit_length()
    named = {_at_its_stride(key, levels_up): value for key, value in teacher.state_dict().items() if belongs(key)}
    part = {key: value for key, value in named.items() if key is not None}
    classes = tuple(teacher_classes) if teacher_classes is not None else None
    weights = SourceWeights(state=part, classes=classes)
    loaded = load_weights(student, weights, classes=student_classes, role="inherited", source=source)
    event = _restrict(loaded, belongs)
    if mode != "nothing":
        _check_inherited(event, mode, source)
    return event


def _check_inherited(event: WeightsLoaded, mode: Inheritance, source: str) -> None:
    """Check that enough keys match.

    Raises:
        WeightsError: nothing matched; or, in `full`, not all matched.
    """
    shown: dict[str, JsonValue] = {"missing": [*event.missing[:5]], "mismatched": [*event.mismatched[:5]]}
    if mode == "full" and event.num_matched < event.num_total:
        raise WeightsError(
            f"only {event.num_matched} of the student's {event.num_total} keys match the teacher's, but inherit: full "
            "needs all; use the same detector for both, or set inherit: by_shape",
            teacher=source,
            **shown,
        )
    if event.num_matched == 0:
        raise WeightsError(
            f"none of the student's {event.num_total} keys of {mode.replace('_', ' ')} match the teacher's; "
            "use the same fpn_width for both, or set inherit: nothing",
            teacher=source,
            **shown,
        )


def _at_its_stride(key: str, levels_up: int) -> str | None:
    """Rename a convolution of the neck for a pyramid that starts `levels_up` levels lower; None if it has none.

    The convolutions are numbered from the finest level: the same number is P2 in one detector and P3 in another.
    """
    block = _NECK_BLOCK.match(key)
    if block is None:
        return key
    number = int(block[2]) + levels_up
    return None if number < 0 else f"{block[1]}{number}{key[block.end() :]}"


def _restrict(loaded: LoadResult, belongs: Callable[[str], bool]) -> WeightsLoaded:
    own_keys = [key.own_key for key in loaded.keys if key.own_key is not None and belongs(key.own_key)]
    missing = [key for key in loaded.event.missing if belongs(key)]
    return loaded.event.model_copy(update={"num_total": len(own_keys), "missing": missing})
