"""A study's own run: it answers from the runs that succeeded, and names the others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.costs import JobCost
from fgd_core.spec.data import Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.events import Warned
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import GainStudy, LeftOverStudy, WhyStudy
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.methods import Fgd
from fgd_core.spec.report import JobReport, Report
from fgd_core.spec.results import AlteredScores, ClassScore, ErrorReport, RunResult, Scores
from fgd_core.spec.study_findings.left_over import LeftOver
from fgd_core.spec.study_findings.why import Why
from fgd_core.spec.study_report import StudyReport, StudyReported
from fgd_core.spec.study_runs import EndedStudyRun
from fgd_core.statistics.evidence import Evidence
from fgd_core.studies.answers import STUDIES
from fgd_core.studies.runs import StudyRun
from service.jobs.study_tables import study_tables
from service.reports.html import render_html
from service.reports.study_figures import study_charts
from tests.compare.simulation import Ground
from tests.library import RecordingContext
from tests.reports.recorded_jobs import BEGIN, Recorded, view
from workers.studying import run as answered

# AP of a run by its arm; the seeds differ by a hundredth.
APS = {
    "plain": 0.3,
    "distilled": 0.4,
    "teacher": 0.5,
    "temperature 4": 0.42,
    "scale 2": 0.43,
    "plain at 0.5": 0.2,
    "distilled at 0.5": 0.25,
    "teacher 2": 0.45,
    "distilled by teacher 2": 0.38,
    "teacher 3": 0.4,
    "distilled by teacher 3": 0.39,
}
OVER = {"method.temperature": (4.0,), "method.scale": (2.0,)}
WHY = WhyStudy(num_seeds=2, fractions=(0.5,), teachers=("job:b/best", "job:c/best"), over=OVER)


class Context(RecordingContext):
    def __init__(self, job_dir: Path, spec: StudySpec, runs: Sequence[EndedStudyRun]) -> None:
        super().__init__(job_dir)
        self.assignment = Assignment(
            attempt_id="s-1", number=1, job_id="s", spec=spec, job_uri=None, study_runs=list(runs)
        )

    def resolve_checkpoint(self, source: str) -> Path:
        raise WeightsError("there is no such file", source=source)


def study(question: Any) -> StudySpec:
    base = DistillSpec(
        name="base",
        student=RetinaNet(),
        teacher=Teacher(checkpoint="job:t/best"),
        method=Fgd(scale=1.0, temperature=1.0),
        inherit="nothing",
        data=Shapes(),
    )
    return StudySpec(name="a study", base=base, study=question)


def result(ap: float) -> RunResult:
    whole = dict.fromkeys(Scores.model_fields, None) | {"ap": ap, "ap50": ap + 0.1, "per_class": {}}
    classes = {name: ClassScore(ap=ap + more, ap50=ap, num_boxes=50) for name, more in (("cat", 0.02), ("dog", -0.02))}
    scores = Scores.model_validate(whole | {"per_class": classes})
    altered = AlteredScores(num_copies=2, ap=ap, flips=ap / 10, score_change=ap / 20)
    return RunResult(scores=scores, num_parameters=1, images_per_s=1.0, num_images=10, device="cpu", altered=altered)


def ended(spec: StudySpec, *, failing: Sequence[tuple[str, int]] = ()) -> list[EndedStudyRun]:
    """The runs of a study, those of `failing` without a result."""
    found = []
    for place, (arm, job) in enumerate(spec.runs()):
        fails = (arm, job.seed) in failing
        outcome = {
            "state": "failed" if fails else "succeeded",
            "result": None if fails else result(APS[arm] + job.seed / 100),
        }
        error = ErrorReport(code="data", message="the disk is full") if fails else None
        found.append(EndedStudyRun(job_id=f"run{place}", arm=arm, seed=job.seed, error=error, **outcome))
    return found


def answer(folder: Path, spec: StudySpec, runs: Sequence[EndedStudyRun]) -> StudyReport:
    context = Context(folder, spec, runs)
    assert answered(spec, context).outcome == "succeeded"
    # Scores count without the file of the detections, and the report says that it is missing.
    assert len(context.of(Warned)) == sum(each.result is not None for each in runs)
    (event,) = context.of(StudyReported)
    # As a reader gets it.
    return StudyReported.model_validate_json(event.model_dump_json()).report


def test_a_failed_run_is_left_out_and_named(tmp_path: Path) -> None:
    spec = study(GainStudy(num_seeds=3))
    found = answer(tmp_path, spec, ended(spec, failing=[("distilled", 1)]))
    assert "it helps" in found.sentences[0]
    assert [(each.arm, each.seed, each.why) for each in found.left_out] == [("distilled", 1, "the disk is full")]
    assert "distilled seed 1 (run3: the disk is full)" in found.sentences[-1]
    assert [len(arm.seeds) for arm in found.findings.arms] == [3, 2]


def test_a_run_with_a_smaller_batch_is_named(tmp_path: Path) -> None:
    spec = study(GainStudy(num_seeds=2))
    runs = ended(spec)
    runs[1] = runs[1].model_copy(
        update={"changes": {"training.batch_size": 4, "training.optimizer.learning_rate": 0.01}}
    )
    sentence = answer(tmp_path, spec, runs).sentences[-1]
    assert "because memory ran out: distilled seed 0 (batch_size 4 · learning_rate 0.01)." in sentence


def test_a_study_without_a_plain_run_fails_with_the_reason(tmp_path: Path) -> None:
    spec = study(GainStudy(num_seeds=2))
    runs = ended(spec, failing=[("plain", 0), ("plain", 1)])
    with pytest.raises(SpecError, match=r"no run of plain succeeded.*run0: the disk is full; job run2"):
        answered(spec, Context(tmp_path, spec, runs))


@pytest.mark.parametrize(
    "older",
    [
        {"type": "left_over", "over": "method.scale", "levels": [1, 4]},
        {"type": "left_over", "levels": [1, 4]},
        {"type": "why", "temperatures": [1, 4]},
    ],
)
def test_studies_that_were_stored_with_one_setting_are_read(older: dict[str, Any]) -> None:
    (values,) = study(older).study.over.values()
    assert values == (1, 4)
    unset = {"over": "method.temperature", "levels": []} if older["type"] == "left_over" else {"temperatures": []}
    assert study({"type": older["type"]} | unset).study.over == {}


def test_left_over_compares_with_the_teacher_and_shows_the_trend_over_levels(tmp_path: Path) -> None:
    spec = study(LeftOverStudy(num_seeds=2, over=OVER))
    runs = ended(spec)
    assert [each.arm for each in runs] == [
        "plain",
        "distilled",
        "teacher",
        *("temperature 4", "scale 2"),
        *("plain", "distilled"),
        *("temperature 4", "scale 2"),
    ]
    findings = answer(tmp_path, spec, runs).findings
    assert isinstance(findings, LeftOver)
    assert findings.num_seeds == {"plain": 2, "distilled": 2, "teacher": 1}
    trend, by_scale = (each for each in findings.trends if each.of == "AP")
    assert [(level.value, level.num_runs) for level in trend.levels] == [(1.0, 2), (4.0, 2)]
    assert [(each.over, each.per_doubling) for each in (trend, by_scale)] == [
        ("temperature", pytest.approx(0.01)),
        ("scale", pytest.approx(0.03)),
    ]
    assert findings.individual is not None
    assert findings.individual.flips.change.value == pytest.approx(0.01)
    assert "flips on altered images" in {each.of for each in findings.trends}


def test_left_over_compares_the_groups_that_the_runs_stored_and_those_that_are_declared() -> None:
    ground = Ground(1, num_images=100, boxes_per_class=[200])
    stored = json.dumps({"light": ["day"] * 60 + ["night"] * 30 + [None] * 10, "place": ["a"] * 50 + ["b"] * 50})

    def seen(seed: int) -> StudyRun:
        evidence = Evidence(ground.detector(seed, [0.7])._arrays | {"groups": np.array(stored)})
        return StudyRun(seed=seed, scores=result(0.5).scores, evidence=evidence)

    declared = {"half": {"first": {"image_ids": range(50)}, "second": {"image_ids": range(50, 100)}}}
    arms = {"plain": [seen(0), seen(1)], "distilled": [seen(2), seen(3)], "teacher": [seen(4)]}
    found = STUDIES[LeftOverStudy](study(LeftOverStudy.model_validate({"groups": declared})), arms)
    assert isinstance(found, LeftOver)
    by_set = {each.name: {row.name: row.num_boxes for row in each.groups} for each in found.group_sets}
    assert by_set["half"] == dict(zip(("first", "second"), by_set["place"].values(), strict=True))
    assert [*by_set] == ["size", "light", "place", "half"]
    assert sum(by_set["light"].values()) < sum(by_set["place"].values()) == 200


def test_why_compares_teachers_shares_and_other_settings(tmp_path: Path) -> None:
    spec = study(WHY)
    findings = answer(tmp_path, spec, ended(spec, failing=[("teacher 3", 0)])).findings
    assert isinstance(findings, Why)
    assert [(each.varied, each.value, round(each.change.value, 3)) for each in findings.gains if each.change] == [
        ("nothing", "", 0.1),
        ("teacher", "job:b/best", 0.08),
        ("fraction", "0.5", 0.05),
        ("temperature", "4", 0.12),
        ("scale", "2", 0.13),
    ]
    assert [(each.checkpoint, each.ap) for each in findings.teachers] == [("job:t/best", 0.5), ("job:b/best", 0.45)]
    gain = findings.trends[0]
    assert [(level.value, level.num_runs) for level in gain.levels] == [(0.5, 2), (1.0, 2)]
    slopes = [(each.over, round(each.per_doubling, 3)) for each in findings.trends]
    assert slopes == [("fraction", 0.05), ("temperature", 0.01), ("scale", 0.03)]
    assert any("Twice the scale changes the distilled student's AP" in each for each in findings.sentences)


def test_every_row_of_a_table_has_a_cell_for_each_heading(tmp_path: Path) -> None:
    for question in (GainStudy(num_seeds=2), LeftOverStudy(num_seeds=2, over=OVER), WHY):
        spec = study(question)
        tables = study_tables(answer(tmp_path, spec, ended(spec)))
        assert tables
        for table in tables:
            assert {len(row) for row in table.rows} == {len(table.headings)}, table.title
            assert all(table.headings), table.title


def test_a_study_of_why_draws_the_gain_in_each_setting(tmp_path: Path) -> None:
    spec = study(WHY)
    job = JobReport.model_construct(job_id="s", study=answer(tmp_path, spec, ended(spec)))
    (chart,) = study_charts(Report.model_construct(jobs=[job]))
    assert chart.layout["yaxis"]["ticktext"] == [
        "as it is",
        *("teacher job:b/best", "teacher job:c/best"),
        *("fraction 0.5", "temperature 4", "scale 2"),
    ]


def test_a_report_begins_with_the_answer_and_ends_with_the_cost(tmp_path: Path) -> None:
    spec = study(WHY)
    found, cost = answer(tmp_path, spec, ended(spec)), JobCost.model_construct(sentence="9 runs took 7:41.")
    job = Recorded(view("s", spec, []), [], {}).report().model_copy(update={"study": found, "cost": cost})
    page = render_html(Report(generated_at=BEGIN, jobs=[job]), {})
    assert 0 < page.index(str(escape(found.sentences[0]))) < page.index(cost.sentence)
