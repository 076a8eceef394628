"""The function that answers each type of study."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fgd_core.spec.kinds import study_types
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import OverSettings, setting_name
from fgd_core.spec.paths import field
from fgd_core.spec.study_report import Findings
from fgd_core.studies.fairness import Group
from fgd_core.studies.gain import gain
from fgd_core.studies.left_over import left_over
from fgd_core.studies.runs import StudyRun
from fgd_core.studies.why import Base, Pair, Taught, why

Arms: TypeAlias = Mapping[str, Sequence[StudyRun]]
"""The runs of each arm; an arm has none if all its runs failed."""
Answer: TypeAlias = Callable[[StudySpec, Arms], Findings]


def _gain(spec: StudySpec, arms: Arms) -> Findings:
    assert isinstance(spec.study, study_types.GainStudy)
    return gain(arms, smallest_gain=spec.study.smallest_gain)


def _left_over(spec: StudySpec, arms: Arms) -> Findings:
    study = spec.study
    assert isinstance(study, study_types.LeftOverStudy)
    levels = _levels(study, arms)
    for name, own in _own_levels(spec, study).items():
        levels.setdefault(name, {})[own] = arms["distilled"]
    declared = {name: {each: _group(of) for each, of in groups.items()} for name, groups in study.groups.items()}
    return left_over(
        arms["plain"],
        arms["distilled"],
        arms["teacher"],
        groups=_by_attribute(arms["plain"][0]) | declared,
        over=levels,
    )


def _levels(study: OverSettings, arms: Arms) -> dict[str, dict[float, Sequence[StudyRun]]]:
    """Return the distilled runs with other values of settings, by the name of the setting and the value."""
    found: dict[str, dict[float, Sequence[StudyRun]]] = {}
    for arm, (path, level) in study.level_arms().items():
        if runs := arms.get(arm):
            found.setdefault(setting_name(path), {})[level] = runs
    return found


def _own_levels(spec: StudySpec, study: OverSettings) -> dict[str, float]:
    """Return the values of these settings in the base; those that a run finds by itself are missing."""
    base = spec.base.model_dump(mode="json")
    values = {setting_name(path): field(base, path) for path in study.over}
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float) and value > 0}


def _by_attribute(run: StudyRun) -> dict[str, dict[str, Group]]:
    """Return the groups of images that a run stored, by attribute."""
    stored = run.evidence.groups if run.evidence is not None else {}
    return {name: {each: Group(image_ids=ids) for each, ids in groups.items()} for name, groups in stored.items()}


def _why(spec: StudySpec, arms: Arms) -> Findings:
    study = spec.study
    assert isinstance(study, study_types.WhyStudy)
    pairs = {
        share: Pair(plain=plain, distilled=distilled)
        for share in study.fractions
        if (plain := arms.get(study.plain_at(share))) and (distilled := arms.get(study.distilled_at(share)))
    }
    return why(
        Base(
            plain=arms["plain"],
            distilled=arms["distilled"],
            checkpoint=spec.base.teacher.checkpoint,
            teacher=arms["teacher"][0],
            fraction=spec.base.input.sampling.fraction,
            settings=_own_levels(spec, study),
        ),
        teachers=[
            Taught(checkpoint=checkpoint, teacher=teacher[0], distilled=distilled)
            for place, checkpoint in enumerate(study.teachers)
            if (teacher := arms.get(study.teacher_arm(place))) and (distilled := arms.get(study.taught_by(place)))
        ],
        fractions=pairs,
        over=_levels(study, arms),
    )


def _group(group: study_types.StudiedGroup) -> Group:
    return Group(
        classes=frozenset(group.classes) if group.classes is not None else None,
        image_ids=frozenset(group.image_ids) if group.image_ids is not None else None,
    )


STUDIES: Mapping[type[study_types.AnyStudy], Answer] = {
    study_types.GainStudy: _gain,
    study_types.LeftOverStudy: _left_over,
    study_types.WhyStudy: _why,
}
