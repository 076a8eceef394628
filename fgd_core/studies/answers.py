"""The function that answers each type of study."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fgd_core.spec.kinds import study_types
from fgd_core.spec.kinds.study import StudySpec
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
    levels = {level: runs for level in study.levels if (runs := arms.get(study.level_arm(level)))}
    own = field(spec.base.model_dump(mode="json"), study.over)
    if levels and isinstance(own, int | float):
        levels[own] = arms["distilled"]
    declared = {name: {each: _group(of) for each, of in groups.items()} for name, groups in study.groups.items()}
    return left_over(
        arms["plain"],
        arms["distilled"],
        arms["teacher"],
        groups=_by_attribute(arms["plain"][0]) | declared,
        levels=levels,
        over=study.over,
    )


def _by_attribute(run: StudyRun) -> dict[str, dict[str, Group]]:
    """Return the groups of images that a run stored, by attribute."""
    stored = run.evidence.groups if run.evidence is not None else {}
    return {name: {each: Group(image_ids=ids) for each, ids in groups.items()} for name, groups in stored.items()}


def _why(spec: StudySpec, arms: Arms) -> Findings:
    study = spec.study
    assert isinstance(study, study_types.WhyStudy)
    own = field(spec.base.model_dump(mode="json"), "method.temperature")
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
            temperature=own if isinstance(own, int | float) else None,
        ),
        teachers=[
            Taught(checkpoint=checkpoint, teacher=teacher[0], distilled=distilled)
            for place, checkpoint in enumerate(study.teachers)
            if (teacher := arms.get(study.teacher_arm(place))) and (distilled := arms.get(study.taught_by(place)))
        ],
        fractions=pairs,
        temperatures={each: runs for each in study.temperatures if (runs := arms.get(study.temperature_arm(each)))},
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
