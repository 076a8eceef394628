"""Compares the jobs of a report: the columns of the table, teachers and students, and the gain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fgd_core.spec.chains import CONTROL
from fgd_core.spec.checkpoint_references import checkpoint_references
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.results import Part, Scores
from service.jobs.forecast.wording import in_report

ScoreName = Literal["ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table of jobs."""

    heading: str
    hint: str
    value: Callable[[JobReport], float | None]
    show: Callable[[float], str]
    best: Literal["highest", "lowest"] | None
    """None if the values depend on more than the jobs; then nothing is ranked."""
    is_rare: bool = False
    """Omitted if no job has a value."""
    figure: str = ""
    """The name of the score for `fgd verify`; empty if it cannot be computed from the matched detections."""


def _ap(job: JobReport) -> float | None:
    scores = best_scores(job)
    return scores.ap if scores else None


def _seconds(value: float) -> str:
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _score_column(heading: str, hint: str, name: ScoreName, *, part: Part | None = None) -> Column:
    def value(job: JobReport) -> float | None:
        scores = best_scores(job)
        of = scores.parts().get(part) if scores and part else scores
        found: float | None = getattr(of, name) if of else None
        return found

    rare = part is not None
    figure = name if part is None else ""
    return Column(
        heading=heading, hint=hint, value=value, show="{:.3f}".format, best="highest", is_rare=rare, figure=figure
    )


SPEED = "images/s"

COLUMNS: tuple[Column, ...] = (
    _score_column("AP", "mean over IoU 0.50 to 0.95", "ap"),
    _score_column("AP50", "at IoU 0.50", "ap50"),
    _score_column("AP75", "at IoU 0.75", "ap75"),
    _score_column("AP small", "objects below 32² px", "ap_small"),
    _score_column("AP medium", "objects of 32² to 96² px", "ap_medium"),
    _score_column("AP large", "objects above 96² px", "ap_large"),
    _score_column("mask AP", "of masks, mean over IoU 0.50 to 0.95", "ap", part="masks"),
    _score_column("mask AP50", "of masks, at IoU 0.50", "ap50", part="masks"),
    _score_column("keypoint AP", "of keypoints, mean over OKS 0.50 to 0.95", "ap", part="keypoints"),
    _score_column("keypoint AP50", "of keypoints, at OKS 0.50", "ap50", part="keypoints"),
    Column(
        heading="parameters",
        hint="of the detector",
        value=lambda job: job.result.num_parameters if job.result else None,
        show=lambda value: f"{value / 1e6:.2f} M",
        best="lowest",
    ),
    Column(
        heading=SPEED,
        hint="forward pass and post-processing, one image at a time",
        value=lambda job: job.result.images_per_s if job.result else None,
        show=lambda value: f"{value:.1f}",
        best="highest",
    ),
    Column(
        heading="training",
        hint="wall clock, evaluations included",
        value=lambda job: job.result.train_s if job.result else None,
        show=_seconds,
        # It depends on the machine, and on what else ran there.
        best=None,
    ),
)


def columns_for(jobs: Sequence[JobReport]) -> list[Column]:
    """The columns in which these jobs have values, or might have."""
    return [column for column in COLUMNS if not column.is_rare or any(column.value(job) is not None for job in jobs)]


def best_scores(job: JobReport) -> Scores | None:
    """The scores of the result, or of the best evaluation so far while there is no result."""
    if job.result is not None:
        return job.result.scores
    # The result of a chain is the student of its last stage, even if an earlier one was better.
    begins = max((stage.first_epoch for stage in job.stages), default=0)
    scored = [each.scores for each in job.evaluations if each.scores.ap is not None and (each.epoch or 1) > begins]
    return max(scored, key=lambda scores: scores.ap or 0.0, default=None)


def best_in_column(jobs: Sequence[JobReport], column: Column) -> set[str]:
    """Ids of the jobs with the best value, compared as it is shown.

    Returns:
        Empty if all values look alike, and for speeds that cannot be compared.
    """
    if column.best is None or (column.heading == SPEED and not speeds_compare(jobs)):
        return set()
    values = {job.job_id: value for job in jobs if (value := column.value(job)) is not None}
    shown = {job_id: column.show(value) for job_id, value in values.items()}
    if len(set(shown.values())) < 2:
        return set()
    best = max(values.values()) if column.best == "highest" else min(values.values())
    return {job_id for job_id, text in shown.items() if text == column.show(best)}


def teachers_of(job: JobReport, jobs: Sequence[JobReport]) -> list[JobReport]:
    """The jobs, among `jobs`, whose checkpoints are the teachers of `job`."""
    found = [_job_of(teacher.checkpoint, job, jobs) for teacher in _teachers(job)]
    return [each for each in found if each is not None]


def teacher_of(job: JobReport, jobs: Sequence[JobReport]) -> JobReport | None:
    """The job, among `jobs`, whose checkpoint is the only teacher of `job`, or the last teacher of a chain.

    Returns:
        None if several teachers teach at the same time.
    """
    if isinstance(job.spec, ChainSpec):
        last = job.order.order[-1] if job.order is not None else -1
        return _job_of(job.spec.stages[last].teacher.checkpoint, job, jobs)
    is_only = isinstance(job.spec, DistillSpec) and not job.spec.more_teachers
    return next(iter(teachers_of(job, jobs)), None) if is_only else None


def _teachers(job: JobReport) -> list[Teacher]:
    match job.spec:
        case DistillSpec():
            return [*job.spec.teachers.values()]
        case ChainSpec():
            return [stage.teacher for stage in job.spec.stages]
    return []


def plain_of(job: JobReport, jobs: Sequence[JobReport]) -> JobReport | None:
    """The job, among `jobs`, that trained the same student on the same data without a teacher."""
    if not isinstance(job.spec, DistillSpec | ChainSpec):
        return None
    trained = [(other, other.spec) for other in jobs if other.spec.kind == "train"]
    wanted = (job.spec.student, job.spec.data)
    return next((other for other, spec in trained if (spec.detector, spec.data) == wanted), None)


def role(job: JobReport, jobs: Sequence[JobReport]) -> str:
    """`teacher`, `distilled`, `plain`, or the job's kind if no other job is related to it."""
    if job.kind in ("distill", "chain"):
        return "distilled"
    if any(job is teacher for other in jobs for teacher in teachers_of(other, jobs)):
        return "teacher"
    if any(plain_of(other, jobs) is job for other in jobs):
        return "plain"
    return job.kind


def speed_ratio(job: JobReport, jobs: Sequence[JobReport]) -> float | None:
    """Images/s divided by those of the first teacher among `jobs`; None for the teacher, or if not comparable."""
    teacher = next((other for other in jobs if role(other, jobs) == "teacher"), None)
    if teacher is None or teacher is job or teacher.result is None or job.result is None:
        return None
    if not speeds_compare([teacher, job]) or teacher.result.images_per_s <= 0:
        return None
    return job.result.images_per_s / teacher.result.images_per_s


def speeds_compare(jobs: Sequence[JobReport]) -> bool:
    """Whether all speeds were measured on one device of one machine while nothing else ran there."""
    results = [job.result for job in jobs if job.result is not None]
    places = {(result.speed.machine if result.speed is not None else None, result.device) for result in results}
    return len(places) <= 1 and all(result.speed is not None and not result.speed.disturbed_by for result in results)


def speed_warning(jobs: Sequence[JobReport]) -> str | None:
    """Say why speeds cannot be compared, and the cure; None if they can."""
    measured = [(job, job.result) for job in jobs if job.result is not None]
    if len(measured) < 2 or speeds_compare(jobs):
        return None
    reasons = []
    for job, result in measured:
        if result.speed is None:
            reasons.append(f"an older version measured that of {job.name}")
        elif result.speed.disturbed_by:
            reasons.append(f"during the measurement of {job.name}, {result.speed.disturbed_by}")
    places = {(result.speed.machine, result.device) for _, result in measured if result.speed is not None}
    if len(places) > 1:
        where = ", ".join(sorted(f"{device} of {machine}" for machine, device in places))
        reasons.append(f"they were measured on different machines or devices ({where})")
    cure = "evaluate the checkpoints (kind: evaluate) one after the other on one quiet machine"
    return f"Speeds cannot be compared here: {'; '.join(reasons)}. To compare them, {cure}."


def conclusions(report: Report) -> list[str]:
    """Say what the figures mean, and what they do not mean, for each distilled job."""
    said = []
    for job in report.jobs:
        against_control = chain_conclusion(job)
        if against_control is not None:
            said.append(against_control)
        plain = plain_of(job, report.jobs)
        if plain is not None:
            said.append(_conclusion(job, plain, teacher_of(job, report.jobs)))
    predicted = [in_report(job.name, job.prediction) for job in report.jobs if job.prediction is not None]
    costs = [f"{job.name}: {job.cost.sentence}" for job in report.jobs if job.cost is not None]
    return [*said, *(each for each in (*predicted, *costs, speed_warning(report.jobs)) if each is not None)]


def _conclusion(job: JobReport, plain: JobReport, teacher: JobReport | None) -> str:
    ap, plain_ap = _ap(job), _ap(plain)
    if ap is None or plain_ap is None:
        return f"{job.name} and {plain.name} cannot be compared yet: one of them has no AP."
    gain = ap - plain_ap
    way = f"{abs(gain):.3f} {'above' if gain > 0 else 'below'}" if abs(gain) >= 0.0005 else "equal to"
    text = f"{job.name} reaches AP {ap:.3f}, {way} {plain.name}, the same student without a teacher ({plain_ap:.3f})."
    teacher_ap = _ap(teacher) if teacher else None
    if teacher is not None and teacher_ap is not None:
        text += f" Its teacher {teacher.name} reaches {teacher_ap:.3f}"
        gap = teacher_ap - plain_ap
        text += f": distilling closed {gain / gap:.0%} of the gap." if gap > 0 and gain > 0 else "."
    if isinstance(job.spec, DistillSpec | ChainSpec) and job.spec.inherit != "nothing":
        text += " It also inherits the teacher's neck and head, which causes a part of the difference."
    unequal = _unequal(job, plain)
    if unequal:
        text += f" The two also differ in {' and '.join(unequal)}, so the comparison is not clean."
    return text + " One seed is one sample: repeat both with other seeds before you rely on it."


def chain_conclusion(job: JobReport) -> str | None:
    """Say how a chain compares with its control; None if one of them is not done, or the job is no chain."""
    results = {stage.stage: stage.result for stage in job.stages}
    control = results.pop(CONTROL, None)
    found = best_scores(job), control.scores if control is not None else None
    ap, control_ap = (None if scores is None else scores.ap for scores in found)
    if job.result is None or ap is None or control_ap is None:
        return None
    gain, teacher = ap - control_ap, job.stages[-1].teacher
    way = f"{abs(gain):.3f} {'above' if gain > 0 else 'below'}" if abs(gain) >= 0.0005 else "equal to"
    return (
        f"{job.name} reaches AP {ap:.3f} in {len(results)} stages, {way} its control ({control_ap:.3f}): the same "
        f"student, taught by {teacher} alone for the same {job.stages[-1].epochs} epochs. One seed is one sample: "
        "repeat the chain with other seeds before you rely on it."
    )


def _unequal(job: JobReport, plain: JobReport) -> list[str]:
    if isinstance(job.spec, ChainSpec) and isinstance(plain.spec, TrainSpec):
        whole = job.spec.training.model_copy(update={"epochs": job.spec.epochs})
        same_training = whole == plain.spec.training and all(stage.training is None for stage in job.spec.stages)
        others = [name for name in ("input", "seed") if getattr(job.spec, name) != getattr(plain.spec, name)]
        return others if same_training else ["training", *others]
    return [name for name in ("training", "input", "seed") if getattr(job.spec, name) != getattr(plain.spec, name)]


def _job_of(source: str, job: JobReport, jobs: Sequence[JobReport]) -> JobReport | None:
    """Return the job, among `jobs`, that wrote the checkpoint `source` of `job`."""
    needed = {str(reference): reference.job_id for reference in checkpoint_references(job.spec)}
    return next((other for other in jobs if other.job_id == needed.get(source)), None)
