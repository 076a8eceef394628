"""The stages in the report on a chain."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fgd_core.spec.chains import CONTROL, StageFinished, StageStarted
from fgd_core.spec.event_state import Event
from fgd_core.spec.events import EpochFinished, Evaluated, TeacherChecked
from fgd_core.spec.report import CurvePoint, StageReport


class Split(NamedTuple):
    """The epochs, evaluations and curves of a chain without its control, and those of the control from epoch 1."""

    epochs: list[EpochFinished]
    evaluations: list[Evaluated]
    curves: dict[str, list[CurvePoint]]
    control_evaluations: list[Evaluated]


def stages(events: Sequence[Event]) -> list[StageReport]:
    """Fold the events of a chain into its stages; where a stage started several times, the newest event counts."""
    started: dict[str, StageStarted] = {}
    teacher_aps: dict[str, float | None] = {}
    finished: dict[str, StageFinished] = {}
    running = ""
    for event in events:
        match event:
            case StageStarted():
                started[event.stage], running = event, event.stage
            case TeacherChecked() if running:
                teacher_aps[running] = event.ap
            case StageFinished():
                finished[event.stage] = event
    found: list[StageReport] = []
    for name, start in sorted(started.items(), key=lambda item: item[1].first_epoch):
        before = found[-1].result if found and not start.is_control else None
        end = finished.get(name)
        found.append(
            StageReport(
                stage=name,
                teacher=start.teacher,
                teacher_ap=teacher_aps.get(name),
                method=start.method,
                epochs=start.epochs,
                first_epoch=0 if start.is_control else start.first_epoch,
                ap_before=before.scores.ap if before is not None else None,
                result=end.result if end is not None else None,
            )
        )
    return found


def split(
    events: Sequence[Event],
    epochs: Sequence[EpochFinished],
    evaluations: Sequence[Evaluated],
    curves: Mapping[str, Sequence[CurvePoint]],
) -> Split:
    """Separate a chain from its control, whose epochs and steps come after those of the chain.

    The control then lies beside the chain: both have begun with the same student.
    """
    control = next((each for each in events if isinstance(each, StageStarted) and each.is_control), None)
    if control is None:
        return Split([*epochs], [*evaluations], {name: [*points] for name, points in curves.items()}, [])
    last_epoch, last_step = control.first_epoch, control.first_step
    own = [each for each in evaluations if each.epoch is None or each.epoch <= last_epoch]
    of_control = [
        each.model_copy(update={"epoch": each.epoch - last_epoch, "step": (each.step or 0) - last_step})
        for each in evaluations
        if each.epoch is not None and each.epoch > last_epoch
    ]
    parts: dict[str, list[CurvePoint]] = {}
    for name, points in curves.items():
        parts[name] = [point for point in points if point.step <= last_step]
        parts[f"{CONTROL}/{name}"] = [
            CurvePoint(step=point.step - last_step, value=point.value) for point in points if point.step > last_step
        ]
    return Split([each for each in epochs if each.epoch <= last_epoch], own, parts, of_control)
