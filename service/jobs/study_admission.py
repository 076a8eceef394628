"""Refuses studies whose runs cannot answer their question."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue, ValidationError

from fgd_core.spec.data import SHAPE_NAMES, Shapes, files_of
from fgd_core.spec.events import DataSetChecked
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import LeftOverStudy, StudyRunSpec
from fgd_core.spec.paths import field
from fgd_core.spec.refusals import closest, spec_reason
from fgd_core.spec.seed_groups import seed_group
from fgd_core.spec.views import ProblemReason

_LEAST_SEEDS = 2
MAX_RUNS = 200
"""Of a study; each is a job."""


def reasons(spec: StudySpec) -> Iterator[ProblemReason]:
    """Yield why the study as a whole is refused; `of_arms` yields what is wrong with its runs."""
    if spec.study.num_seeds < _LEAST_SEEDS:
        message = (
            f"one run of each arm says nothing about chance, and no difference could be tested; use at least "
            f"{_LEAST_SEEDS}, better 5"
        )
        yield ProblemReason(loc="study.num_seeds", code="too_few_seeds", message=message)
    arms, invalid = _arms(spec)
    yield from invalid
    yield from _reference(spec)
    yield from _teacher(spec)
    yield from _equal(arms)
    if not invalid:
        yield from _trends(spec)
    num_runs = sum(1 for _ in spec.runs()) if not invalid else 0
    if num_runs > MAX_RUNS:
        message = f"the study has {num_runs} runs, and the limit is {MAX_RUNS}; use fewer seeds or fewer arms"
        yield ProblemReason(loc="study", code="too_many_runs", message=message)


def group_reasons(spec: StudySpec, classes: Sequence[str]) -> Iterator[ProblemReason]:
    """Yield the groups with classes that the data does not have; each run checks the same before its first step.

    Args:
        classes: of the data's validation split; empty if that is unknown, or if the data is drawn.
    """
    files = files_of(spec.base.data)
    known = SHAPE_NAMES[files.scene] if isinstance(files, Shapes) else classes
    if not known or not isinstance(spec.study, LeftOverStudy):
        return
    for name, groups in spec.study.groups.items():
        for each, group in groups.items():
            for missing in [one for one in group.classes or () if one not in known]:
                message = f"the data of the base has no class {missing!r}; {closest(missing, known)}"
                loc = f"study.groups.{name}.{each}.classes"
                yield ProblemReason(loc=loc, code="unknown_class", message=message)


def classes_found(outcome: Mapping[str, JsonValue] | None) -> Sequence[str]:
    """Return the classes that the stored check of a data set found in its validation split; empty without a check."""
    splits = DataSetChecked.model_validate(outcome).splits if outcome is not None else []
    return [name for each in splits if each.split == "val" for name in each.boxes_per_category]


def of_arms(spec: StudySpec, rule: Callable[[StudyRunSpec], Iterable[ProblemReason]]) -> list[ProblemReason]:
    """List the reasons of a rule against the runs of each arm, each once, at the fields of the study."""
    found: list[ProblemReason] = []
    for run in _arms(spec)[0].values():
        # The rules against a distillation already check its teacher.
        for reason in rule(run) if run.kind != "evaluate" else ():
            placed = reason.model_copy(update={"loc": spec.place(reason.loc)})
            if placed not in found:
                found.append(placed)
    return found


def _arms(spec: StudySpec) -> tuple[Mapping[str, StudyRunSpec], list[ProblemReason]]:
    """Return the first run of each arm, and why the others are not valid."""
    arms, invalid = {}, []
    for name in spec.variants():
        try:
            arms[name] = spec.arm(name)
        except KeyError as error:
            message = f"the arm {name!r} sets a field that the base does not have: {error.args[0]}"
            invalid.append(ProblemReason(loc="study", code="unknown_field", message=message))
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                reason = spec_reason({**fault, "loc": (spec.variants()[name].kind, *fault["loc"])})
                message = f"the arm {name!r} is not a valid job: {reason.message}"
                invalid.append(reason.model_copy(update={"loc": spec.place(reason.loc), "message": message}))
    return arms, invalid


def _reference(spec: StudySpec) -> Iterator[ProblemReason]:
    if "plain" not in spec.variants():
        message = "every gain is measured against the student alone; add plain"
        yield ProblemReason(loc="study.arms", code="no_plain", message=message)


def _teacher(spec: StudySpec) -> Iterator[ProblemReason]:
    """Yield why the teacher cannot be scored as a run of its own."""
    teacher = spec.base.teacher
    if "teacher" in spec.study.needed_arms and (teacher.input_scale != 1 or teacher.picture is not None):
        message = (
            f"a study of type {spec.study.type} scores the teacher on the student's images, and this teacher sees "
            "others; leave out input_scale and picture, or use a study of type gain"
        )
        yield ProblemReason(loc="base.teacher", code="other_images", message=message)


def _trends(spec: StudySpec) -> Iterator[ProblemReason]:
    """Yield the settings whose trend is asked for, and that have one known value."""
    if not isinstance(spec.study, LeftOverStudy):
        return
    for path, levels in spec.study.over.items():
        own = field(spec.base.model_dump(mode="json"), path)
        if len(levels) == 1 and not isinstance(own, int | float):
            message = f"one value shows no trend, and the base has none: base.{path} is {own}; give two values or more"
            yield ProblemReason(loc=f"study.over.{path}", code="one_level", message=message)


def _equal(arms: Mapping[str, StudyRunSpec]) -> Iterator[ProblemReason]:
    """Yield the arms whose runs would be the same: a difference between them would be chance."""
    seen: dict[str, str] = {}
    for name, run in arms.items():
        other = seen.setdefault(_content(run), name)
        if other != name:
            message = f"the arms {other!r} and {name!r} have the same runs; {_CURES.get(name, 'leave out one of them')}"
            yield ProblemReason(loc="study", code="equal_arms", message=message)


def _content(run: StudyRunSpec) -> str:
    """Return a text that is equal for runs that train the same."""
    content = run.model_dump(mode="json")
    if run.kind == "distill" and run.method.weighs_nothing and run.inherit == "nothing":
        return seed_group({name: content[name] for name in _OF_A_STUDENT})
    if run.kind == "train":
        return seed_group({**{name: content[name] for name in _OF_A_STUDENT[1:]}, "student": content["detector"]})
    return seed_group(content)


_OF_A_STUDENT = ("student", "data", "input", "training")
"""The fields of a distillation without a teacher."""
_CURES = {
    "distilled": "the method weighs nothing: give base.method a scale above 0",
    "inherited": "set base.inherit to a part of the teacher, or leave out this arm",
    "both": "base.inherit is nothing, or base.method weighs nothing; change it, or leave out this arm",
}
