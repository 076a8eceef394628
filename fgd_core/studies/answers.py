"""The function that answers each type of study."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from fgd_core.spec.kinds import study_types as spec
from fgd_core.spec.study_report import Findings
from fgd_core.studies.gain import gain
from fgd_core.studies.runs import StudyRun

Arms: TypeAlias = Mapping[str, Sequence[StudyRun]]
"""The runs of each arm; an arm has none if all its runs failed."""
Answer: TypeAlias = Callable[[spec.AnyStudy, Arms], Findings]


def _gain(study: spec.AnyStudy, arms: Arms) -> Findings:
    assert isinstance(study, spec.GainStudy)
    return gain(arms, smallest_gain=study.smallest_gain)


STUDIES: Mapping[type[spec.AnyStudy], Answer] = {
    spec.GainStudy: _gain,
}
