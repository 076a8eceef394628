"""What a student takes over from its teacher before the first step."""

import re
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.matching import LoadResult, SourceWeights, load_weights
from fgd_core.errors import WeightsError
from fgd_core.spec.events import WeightsLoaded
from fgd_core.spec.jobs import Inheritance

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
    """Copy the parameters of a part of the teacher whose names and shapes the student shares.

    To be called after every other initialisation, which would else overwrite it. Where the classes are known and
    differ, the rows of those that both know are handed on, by name.

    Args:
        mode: `by_shape` copies whatever fits; `full` everything, or it is an error; the others what fits of their part.
    Raises:
        WeightsError: nothing matched: the heads are of different kinds or widths; or, in `full`, not all did.
    """
    belongs = _PARTS[mode]
    levels_up = teacher.levels[0].stride.bit_length() - student.levels[0].stride.bit_length()
    named = {_at_its_stride(key, levels_up): value for key, value in teacher.state_dict().items() if belongs(key)}
    part = {key: value for key, value in named.items() if key is not None}
    classes = tuple(teacher_classes) if teacher_classes is not None else None
    offer = SourceWeights(state=part, classes=classes)
    loaded = load_weights(student, offer, classes=student_classes, role="inherited", source=source)
    event = _of_the_part(loaded, belongs)
    if mode == "nothing":
        return event
    shown: dict[str, JsonValue] = {"missing": [*event.missing[:5]], "mismatched": [*event.mismatched[:5]]}
    if mode == "full" and event.num_matched < event.num_total:
        raise WeightsError(
            f"{event.num_matched} of the student's {event.num_total} keys match the teacher's, and inherit: full wants "
            "all; give both the same detector, or set inherit: by_shape",
            teacher=source,
            **shown,
        )
    if event.num_matched == 0:
        raise WeightsError(
            f"none of the student's {event.num_total} keys of {mode.replace('_', ' ')} match the teacher's; "
            "give both the same fpn_width, or set inherit: nothing",
            teacher=source,
            **shown,
        )
    return event


def _at_its_stride(key: str, levels_up: int) -> str | None:
    """The name that a convolution of the neck has where the pyramid begins `levels_up` levels lower; None: it has none.

    They are numbered from the finest level on: the same number is P2 in one detector and P3 in another.
    """
    block = _NECK_BLOCK.match(key)
    if block is None:
        return key
    number = int(block[2]) + levels_up
    return None if number < 0 else f"{block[1]}{number}{key[block.end() :]}"


def _of_the_part(loaded: LoadResult, belongs: Callable[[str], bool]) -> WeightsLoaded:
    wanted = [fate.own_key for fate in loaded.keys if fate.own_key is not None and belongs(fate.own_key)]
    missing = [key for key in loaded.event.missing if belongs(key)]
    return loaded.event.model_copy(update={"num_total": len(wanted), "missing": missing})
