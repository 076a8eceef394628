"""The fold of stored events into a report, and the conclusions of the report."""

import csv
import io

import pytest

from fgd_core.spec.events import EpochFinished, Evaluated, StoredEvent, Warned
from fgd_core.spec.results import ClassScore
from service.jobs.report import KINDS, fold
from service.reports.comparison import (
    COLUMNS,
    best_in_column,
    conclusions,
    role,
    speed_ratio,
    speeds_compare,
    teacher_of,
)
from service.reports.csv import render_csv
from service.reports.figures import charts
from tests.reports.recorded_jobs import (
    PLAN,
    STUDENT,
    TEACHER,
    demo_jobs,
    distill_spec,
    recorded,
    report_on,
    scores,
    stored,
    train_spec,
)


def one_epoch(number: int, loss: float) -> EpochFinished:
    return EpochFinished(
        epoch=number,
        epochs=3,
        step=50 * number,
        steps=150,
        images_per_s=100,
        eta_s=None,
        learning_rate=1e-3,
        values={"loss": loss},
    )


class TestFold:
    def test_a_report_contains_everything_that_the_run_reported(self) -> None:
        report = demo_jobs()[2].report()
        assert [epoch.epoch for epoch in report.epochs] == list(range(1, 25))
        assert len(report.evaluations) == 24
        assert report.result is not None
        assert report.result.scores.ap == 0.62
        assert {check.split for check in report.data} == {"train", "val"}
        assert report.teacher is not None
        assert report.teacher.recorded_ap == 0.69
        assert [load.role for load in report.weights] == ["teacher"]
        assert report.plan == PLAN
        assert [artifact.name for artifact in report.artifacts] == ["samples.png"]
        assert [warning.code for warning in report.warnings] == ["few_boxes"]

    def test_the_declared_event_kinds_are_all_that_a_report_reads(self) -> None:
        job = demo_jobs()[2]
        some = [event for event in job.events if event.kind in KINDS]
        assert len(some) < len(job.events)
        assert fold(job.job, some, job.curves) == job.report()

    def test_a_repeated_epoch_is_shown_once_with_its_newest_values(self) -> None:
        job = recorded("a", train_spec("a", STUDENT))
        reported = [one_epoch(1, 2.0), one_epoch(2, 1.5), one_epoch(2, 1.4), one_epoch(3, 1.2)]
        report = fold(job.job, stored("a", reported), {})
        assert [(epoch.epoch, epoch.values["loss"]) for epoch in report.epochs] == [(1, 2.0), (2, 1.4), (3, 1.2)]

    def test_a_repeated_evaluation_is_shown_once(self) -> None:
        job = recorded("a", train_spec("a", STUDENT))
        reported = [Evaluated(epoch=1, step=50, scores=scores(ap)) for ap in (0.1, 0.2)]
        assert [e.scores.ap for e in fold(job.job, stored("a", reported), {}).evaluations] == [0.2]

    def test_an_unreadable_event_is_skipped(self) -> None:
        job = recorded("a", train_spec("a", STUDENT, epochs=3))
        odd = [
            StoredEvent(job_id="a", sequence=90, at=job.events[0].at, attempt=1, kind=kind, data={"kind": kind})
            for kind in ("epoch_finished", "from_the_future")
        ]
        assert fold(job.job, [*job.events, *odd], {}).epochs == job.report().epochs

    def test_a_warning_of_every_attempt_is_shown_once(self) -> None:
        job = recorded("a", train_spec("a", STUDENT))
        reported = [Warned(code="x", message="same")] * 3
        assert len(fold(job.job, stored("a", reported), {}).warnings) == 1


class TestComparison:
    def test_roles_follow_from_the_specs(self) -> None:
        report = report_on(*demo_jobs())
        assert [role(job, report.jobs) for job in report.jobs] == ["teacher", "plain", "distilled"]
        assert teacher_of(report.jobs[2], report.jobs) is report.jobs[0]

    def test_the_best_of_a_column_is_the_highest_score_and_the_fewest_parameters(self) -> None:
        report = report_on(*demo_jobs())
        best = {column.heading: best_in_column(report.jobs, column) for column in COLUMNS}
        assert best["AP"] == {"t1"}
        assert best["parameters"] == {"p1", "d1"}
        assert best["images/s"] == {"p1"}
        assert best["AP large"] == set()

    def test_speed_is_given_as_a_multiple_of_the_teachers(self) -> None:
        report = report_on(*demo_jobs())
        teacher, plain, _ = report.jobs
        assert speed_ratio(teacher, report.jobs) is None
        assert speed_ratio(plain, report.jobs) == 61.0 / 21.5

    @pytest.mark.parametrize(
        ("other", "why"),
        [
            (
                {"disturbed_by": "other runs worked on the device"},
                "during the measurement of plain, other runs",
            ),
            ({"machine": "there"}, "on different machines or devices (cpu of here, cpu of there)"),
        ],
    )
    def test_speeds_that_cannot_be_compared_are_not_ranked(self, other: dict[str, str], why: str) -> None:
        teacher = recorded("t1", train_spec("teacher", TEACHER), images_per_s=20.0)
        plain = recorded("p1", train_spec("plain", STUDENT), images_per_s=60.0, **other)
        report = report_on(teacher, plain, recorded("d1", distill_spec("distilled", "t1"), images_per_s=61.0))
        (column,) = [column for column in COLUMNS if column.heading == "images/s"]
        assert best_in_column(report.jobs, column) == set()
        assert speed_ratio(report.jobs[1], report.jobs) is None
        assert speed_ratio(report.jobs[2], report.jobs) == 61.0 / 20.0
        assert "ap-against-speed" not in [chart.name for chart in charts(report)]
        assert why in conclusions(report)[-1]
        assert "evaluate the checkpoints (kind: evaluate)" in conclusions(report)[-1]

    def test_an_unknown_speed_is_not_ranked(self) -> None:
        jobs = report_on(recorded("a", train_spec("a", STUDENT)), recorded("b", train_spec("b", STUDENT))).jobs
        assert jobs[0].result is not None
        old = jobs[0].model_copy(update={"result": jobs[0].result.model_copy(update={"speed": None})})
        assert speeds_compare(jobs)
        assert not speeds_compare([old, jobs[1]])

    def test_durations_of_trainings_are_not_ranked(self) -> None:
        report = report_on(recorded("a", train_spec("a", STUDENT)), recorded("b", train_spec("b", STUDENT, epochs=9)))
        (column,) = [column for column in COLUMNS if column.heading == "training"]
        assert best_in_column(report.jobs, column) == set()

    def test_a_gain_is_reported_with_its_share_of_the_gap_and_a_caution(self) -> None:
        (said,) = conclusions(report_on(*demo_jobs()))
        assert "0.120 above plain student" in said
        assert "63% of the gap" in said
        assert "One seed is one sample" in said
        assert "inherits" not in said
        assert "clean comparison" not in said

    def test_a_loss_is_reported_as_a_loss(self) -> None:
        teacher, plain, _ = demo_jobs()
        worse = recorded("d1", distill_spec("distilled student", "t1"), ap=0.45)
        (said,) = conclusions(report_on(teacher, plain, worse))
        assert "0.050 below" in said
        assert "gap" not in said

    def test_no_difference_is_reported_as_none(self) -> None:
        teacher, plain, _ = demo_jobs()
        (said,) = conclusions(report_on(teacher, plain, recorded("d1", distill_spec("same", "t1"), ap=0.50)))
        assert "equal to plain student" in said

    def test_inheritance_and_unequal_budgets_are_reported(self) -> None:
        teacher, plain, _ = demo_jobs()
        spec = distill_spec("distilled student", "t1", inherit="neck_and_head", epochs=48)
        (said,) = conclusions(report_on(teacher, plain, recorded("d1", spec)))
        assert "inherits the teacher's neck and head" in said
        assert "differ in training" in said


class TestCsv:
    def test_each_job_is_a_row_with_its_scores_in_columns(self) -> None:
        rows = list(csv.DictReader(io.StringIO(render_csv(report_on(*demo_jobs())))))
        assert [row["role"] for row in rows] == ["teacher", "plain", "distilled"]
        assert float(rows[2]["ap"]) == 0.62
        assert float(rows[2]["ap/circle"]) == 0.62 * 0.8
        assert rows[2]["ap_large"] == ""

    def test_a_class_name_cannot_be_a_formula_of_a_spreadsheet(self) -> None:
        job = recorded("a", train_spec("a", STUDENT))
        assert job.job.result is not None
        evil = job.job.result.scores.model_copy(update={"per_class": {"=1+1": ClassScore(ap=1, ap50=1, num_boxes=1)}})
        result = job.job.result.model_copy(update={"scores": evil})
        text = render_csv(report_on(job._replace(job=job.job.model_copy(update={"result": result}))))
        assert not any(cell.startswith("=") for row in csv.reader(io.StringIO(text)) for cell in row)
