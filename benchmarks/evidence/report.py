"""The page of the evidence: what each way of training brings over plain training, with its uncertainty."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.evidence.plan import PLAIN
from benchmarks.evidence.recording import RESULTS, Recording, recorded
from benchmarks.evidence.running import TEACHER
from fgd_core.spec.comparison import Change
from fgd_core.statistics.welch import Difference, sample, welch
from fgd_core.studies.left_over import left_over
from fgd_core.studies.runs import StudyRun

PAGE = RESULTS.with_suffix(".md")
MIN_SEEDS = 3
"""Of plain and of distilled students, for a table of classes."""


def write(names: Iterable[str], page: Path = PAGE) -> str:
    """Write the page of all recordings; return its text."""
    text = "\n".join([*_HEAD, *(line for name in names for line in _data_set(name))]) + "\n"
    page.write_text(text)
    return text


_HEAD = (
    "# Does it help? Students with and without a teacher, over seeds",
    "",
    "`python -m benchmarks.evidence` trains each student from scratch with each seed, at equal numbers of steps, and",
    "inherits no weights. AP of the best epoch, on the validation split, from 0 to 1. Gain: mean AP minus that of",
    "plain training, with Welch's 95 % interval and p; beside it p after Bonferroni's correction for all methods of",
    "the table. The validation split is small: p is about other seeds, not about other images.",
    "",
    "Methods have `scale: auto` unless the name says another. `cwd` is what a spec gets that names no method",
    '([decision 131](../../docs/decisions/0131-without-a-method.md)); "fgd auto T" is FGD as a spec gets it that names',
    "nothing else, and `fgd` with the published temperature.",
    "",
)


def by_arm(runs: Iterable[Recording]) -> Mapping[str, list[Recording]]:
    """Return the students' recordings, by their way of training, in the order of the first ones."""
    found: dict[str, list[Recording]] = defaultdict(list)
    for each in runs:
        if each.arm != TEACHER:
            found[each.arm].append(each)
    return found


def gain(plain: Sequence[Recording], distilled: Sequence[Recording]) -> Difference | None:
    """Return the mean gain of AP; None with fewer than two seeds on a side."""
    ours, theirs = (sample([each.scores.ap or 0.0 for each in runs]) for runs in (distilled, plain))
    return welch(ours, theirs) if ours is not None and theirs is not None else None


def _data_set(name: str) -> Iterator[str]:
    runs = list(recorded(name))
    arms = by_arm(runs)
    teachers = [f"{each.scores.ap or 0.0:.3f} ({each.num_parameters:,} parameters, {each.epochs} epochs)"
                for each in runs if each.arm == TEACHER]  # fmt: skip
    if PLAIN not in arms:
        return
    first = arms[PLAIN][0]
    yield f"## `{name}`"
    yield ""
    yield f"Teacher: AP {'; '.join(teachers)}. Students: {first.num_parameters:,} parameters, {first.epochs} epochs."
    yield ""
    yield "| training | seeds | AP | standard deviation | gain (95 % interval) | p | p corrected |"
    yield "|---|---|---|---|---|---|---|"
    methods = len(arms) - 1
    for arm, own in sorted(arms.items(), key=lambda item: -_mean_ap(item[1])):
        aps = [each.scores.ap or 0.0 for each in own]
        spread = f"{stdev(aps):.3f}" if len(aps) > 1 else ""
        yield f"| {arm} | {len(aps)} | {fmean(aps):.3f} | {spread} | {_gain_cells(arms[PLAIN], own, arm, methods)} |"
    yield ""
    yield from _classes(arms, [each for each in runs if each.arm == TEACHER][-1:])


def _classes(arms: Mapping[str, Sequence[Recording]], teacher: Sequence[Recording]) -> Iterator[str]:
    """Yield which classes gained and lost, as a study of type `left_over` judges them."""
    tested = [arm for arm, own in arms.items() if len(own) >= MIN_SEEDS]
    if len(arms[PLAIN][0].scores.per_class) < 2 or PLAIN not in tested:
        return
    yield "Classes, as a study of type `left_over` judges them: Welch, after Benjamini and Hochberg over the classes."
    yield ""
    yield "| training | class | boxes | AP | plain | teacher | gain (95 % interval) | p adjusted | finding |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for arm in tested:
        if arm == PLAIN:
            continue
        for row in left_over(_runs(arms[PLAIN]), _runs(arms[arm]), _runs(teacher)).classes:
            scores = " | ".join(f"{value or 0.0:.3f}" for value in (row.first, row.second, row.teacher))
            change = "| | " if row.change is None else _change_cells(row.change)
            yield f"| {arm} | {row.name} | {row.num_boxes} | {scores} | {change} |"
    yield ""


def _runs(recordings: Sequence[Recording]) -> list[StudyRun]:
    return [StudyRun(seed=each.seed, scores=each.scores) for each in recordings]


def _change_cells(change: Change) -> str:
    adjusted = "" if change.p_adjusted is None else f"{change.p_adjusted:.3g}"
    interval = f" ({change.low:+.3f} to {change.high:+.3f})" if change.low is not None else ""
    return f"{change.value:+.3f}{interval} | {adjusted} | {change.finding.replace('_', ' ')}"


def _gain_cells(plain: Sequence[Recording], own: Sequence[Recording], arm: str, methods: int) -> str:
    found = gain(plain, own) if arm != PLAIN else None
    if found is None:
        return "| | "
    low_high = f"{found.interval.low:+.3f} to {found.interval.high:+.3f}"
    return f"{found.value:+.3f} ({low_high}) | {found.p_value:.3g} | {min(1.0, methods * found.p_value):.3g}"


def _mean_ap(runs: Sequence[Recording]) -> float:
    return fmean(each.scores.ap or 0.0 for each in runs)
