"""The report on a chain: a table of its stages, the control beside it, one curve over all stages."""

from fgd_core.spec.base import Fact
from fgd_core.spec.chains import StageFinished, StageStarted, TeachersOrdered
from fgd_core.spec.data import Shapes
from fgd_core.spec.events import EpochFinished, Evaluated, RunFinished, TeacherChecked
from fgd_core.spec.kinds.chain import ChainSpec, Stage
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.methods import Fgd, Pkd
from fgd_core.spec.report import CurvePoint, JobReport, Report
from fgd_core.spec.results import RunResult
from fgd_core.spec.training import TrainingSpec
from service.client.commands.report import stage_table
from service.jobs.report import fold
from service.reports.comparison import best_scores, conclusions, role
from service.reports.csv import render_csv
from service.reports.figures import charts
from service.reports.html import render_html
from tests.reports.recorded_jobs import BEGIN, STUDENT, scores, stored, train_spec, view

STEPS_PER_EPOCH = 10
SPEC = ChainSpec(
    name="a chain",
    student=STUDENT,
    stages=tuple(Stage(teacher=Teacher(checkpoint=f"job:{name}/best")) for name in "ab"),
    method=Fgd(),
    data=Shapes(),
    training=TrainingSpec(epochs=2),
)


def result(ap: float) -> RunResult:
    return RunResult(scores=scores(ap), num_parameters=9, images_per_s=1.0, num_images=100, device="cpu", train_s=5.0)


def stage(name: str, teacher: str, first_epoch: int, aps: list[float], *, is_done: bool = True) -> list[Fact]:
    """Return the events of a stage with one evaluation for each epoch."""
    found: list[Fact] = [
        StageStarted(
            stage=name,
            num_stages=2,
            teacher=f"job:{teacher}/best",
            method="fgd",
            epochs=len(aps),
            first_epoch=first_epoch,
            first_step=first_epoch * STEPS_PER_EPOCH,
        ),
        TeacherChecked(ap=0.6 if teacher == "a" else 0.7, recorded_ap=None, same_data=False),
    ]
    for epoch, ap in enumerate(aps, start=first_epoch + 1):
        step = epoch * STEPS_PER_EPOCH
        rates = {"images_per_s": 1.0, "eta_s": 1.0, "learning_rate": 0.1, "values": {"loss": 1.0}}
        found.append(EpochFinished(epoch=epoch, epochs=8, step=step, steps=80, **rates))
        found.append(Evaluated(epoch=epoch, step=step, scores=scores(ap)))
    return [*found, StageFinished(stage=name, result=result(max(aps)))] if is_done else found


FIRST = [
    TeachersOrdered(by="given", order=[0, 1], teachers=["job:a/best", "job:b/best"]),
    *stage("1", "a", 0, [0.2, 0.4]),
]
SECOND = stage("2", "b", 2, [0.3, 0.5])
CONTROL = stage("control", "b", 4, [0.1, 0.2, 0.3, 0.45])
CURVES = {"loss": [CurvePoint(step=step, value=1.0) for step in range(5, 80, 10)]}


def report(*events: Fact, done: RunResult | None = None) -> JobReport:
    ended = [RunFinished(outcome="succeeded", result=done)] if done is not None else []
    found = stored("c1", [*events, *ended])
    return fold(view("c1", SPEC, found, state="succeeded" if ended else "running", result=done), found, CURVES)


WHOLE = report(*FIRST, *SECOND, *CONTROL, done=result(0.5))


def page(job: JobReport) -> str:
    return render_html(Report(generated_at=BEGIN, jobs=[job]), {})


class TestStages:
    def test_each_stage_has_its_teacher_and_its_ap_before_and_after(self) -> None:
        found = [
            (each.stage, each.teacher, each.teacher_ap, each.ap_before, each.result and each.result.scores.ap)
            for each in WHOLE.stages
        ]
        assert found == [
            ("1", "job:a/best", 0.6, None, 0.4),
            ("2", "job:b/best", 0.7, 0.4, 0.5),
            ("control", "job:b/best", 0.7, None, 0.45),
        ]

    def test_a_stage_that_started_twice_is_one_stage(self) -> None:
        again = report(*FIRST, *stage("2", "b", 2, [0.3], is_done=False), *SECOND)
        assert [(each.stage, each.epochs) for each in again.stages] == [("1", 2), ("2", 2)]

    def test_while_a_later_stage_runs_its_own_best_is_that_of_the_chain(self) -> None:
        running = report(*FIRST, *stage("2", "b", 2, [0.3], is_done=False))
        found = best_scores(running)
        assert found is not None and found.ap == 0.3
        assert running.stages[1].result is None


class TestControl:
    def test_it_lies_beside_the_chain_and_not_behind_it(self) -> None:
        assert [each.epoch for each in WHOLE.evaluations] == [1, 2, 3, 4]
        assert [each.epoch for each in WHOLE.epochs] == [1, 2, 3, 4]
        assert [(each.epoch, each.step) for each in WHOLE.control_evaluations] == [(1, 10), (2, 20), (3, 30), (4, 40)]
        steps = {name: [point.step for point in points] for name, points in WHOLE.curves.items()}
        assert steps == {"loss": [5, 15, 25, 35], "control/loss": [5, 15, 25, 35]}

    def test_the_conclusion_is_the_distance_to_it(self) -> None:
        (said, *_) = conclusions(Report(generated_at=BEGIN, jobs=[WHOLE]))
        assert "reaches AP 0.500 in 2 stages, 0.050 above its control (0.450)" in said
        assert "taught by job:b/best alone for the same 4 epochs" in said

    def test_without_it_nothing_is_concluded(self) -> None:
        job = report(*FIRST, *SECOND, done=result(0.5))
        assert conclusions(Report(generated_at=BEGIN, jobs=[job])) == []
        assert "Without a control nobody knows" in page(job)


class TestPage:
    def test_it_has_the_table_of_stages(self) -> None:
        text = page(WHOLE)
        assert "Stages of a chain" in text
        assert "teachers as given: job:a/best → job:b/best" in text
        assert "+0.100" in text

    def test_the_chart_has_the_control_and_the_border_of_the_second_stage(self) -> None:
        chart = next(
            chart for chart in charts(Report(generated_at=BEGIN, jobs=[WHOLE])) if chart.name == "ap-over-epochs"
        )
        assert [trace["name"] for trace in chart.figure["data"]] == ["a chain", "a chain, control"]
        assert [(shape["x0"], shape["x1"]) for shape in chart.figure["layout"]["shapes"]] == [(2, 2)]

    def test_each_stage_has_its_own_method_in_the_charts_of_the_loss(self) -> None:
        first, second = SPEC.stages
        spec = SPEC.model_copy(update={"stages": (first, second.model_copy(update={"method": Pkd()}))})
        values = {"distill/P3": 0.1, "distill/foreground": 1.0}
        of_second = {"distill/P3": 0.2, "distill/pearson": 2.0}
        epochs = [at.model_copy(update={"values": values if at.epoch <= 2 else of_second}) for at in WHOLE.epochs]
        job = WHOLE.model_copy(update={"spec": spec, "epochs": epochs})
        drawn = {chart.name: chart.figure["data"] for chart in charts(Report(generated_at=BEGIN, jobs=[job]))}
        lines = [(trace["name"], trace["x"]) for name in ("terms-c1", "places-c1") for trace in drawn[name]]
        assert lines == [
            ("fgd: foreground (weight 0.001)", [1, 2]),
            ("pkd: pearson (weight 10)", [3, 4]),
            ("fgd: P3", [1, 2]),
            ("pkd: P3", [3, 4]),
        ]

    def test_a_stage_with_larger_batches_has_its_epochs_at_the_right_place(self) -> None:
        rates = {"images_per_s": 1.0, "eta_s": 1.0, "learning_rate": 0.1, "values": {"loss": 1.0}}
        ends = [(1, 10), (2, 20), (3, 25), (4, 30)]
        epochs = [EpochFinished(epoch=epoch, epochs=4, step=step, steps=30, **rates) for epoch, step in ends]
        job = WHOLE.model_copy(
            update={"epochs": epochs, "curves": {"loss": [CurvePoint(step=step, value=1.0) for step in (5, 20, 28)]}}
        )
        chart = next(each for each in charts(Report(generated_at=BEGIN, jobs=[job])) if each.name == "loss-over-epochs")
        assert chart.figure["data"][0]["x"] == [0.5, 2.0, 3.6]

    def test_the_terminals_table_has_a_row_for_each_stage(self) -> None:
        table = stage_table(WHOLE)
        assert [*table.columns[0].cells] == ["1", "2", "control"]
        assert [*table.columns[5].cells] == ["0.400", "0.500", "0.450"]

    def test_a_chain_is_a_distilled_job_and_its_last_teacher_a_teacher(self) -> None:
        spec = train_spec("b", STUDENT)
        found = stored("b", [])
        teacher = fold(view("b", spec, found), found, {})
        assert [role(job, [WHOLE, teacher]) for job in (WHOLE, teacher)] == ["distilled", "teacher"]
        assert "distilled" in render_csv(Report(generated_at=BEGIN, jobs=[WHOLE]))
