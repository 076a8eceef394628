(
    """A study through the whole system: kills of a run and of the control plane change nothing in its answer.

`service/test_studies` has the plan and the life of a study, `studies/test_answers` its own run.
"""
    ""
)

import os
import signal

import pytest
from whole import Whole, distill, wait_for, wait_for_event

from fgd_core.spec.kinds.study import StudySpec
from fgd_core.spec.kinds.study_types import GainStudy
from tests.tiers import slow

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1500)]


@slow("tests/studies/test_answers.py")
def test_a_study_whose_run_and_control_plane_are_killed_answers_from_all_its_runs(whole: Whole, teacher: str) -> None:
    spec = StudySpec(name="does it help", base=distill(teacher), study=GainStudy(num_seeds=2))
    with whole.client() as client:
        study = client.submit(spec)
        killed = next(run for run in study.study_runs if run.arm == "distilled")
        pid = wait_for_event(client, killed.job_id, "run_started").data["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(client, killed.job_id, lambda job: len(job.attempts) == 2)
    whole.kill()
    whole.up()
    with whole.client() as client:
        done = wait_for(client, study.job_id, lambda job: job.ended_at is not None)
        assert done.state == "succeeded", done.error
        assert len(done.attempts) == 1
        report = client.report(study.job_id).jobs[0].study
        page = client.report_as("html", study.job_id)
    assert report is not None
    arms = [(arm, seed) for seed in (0, 1) for arm in ("plain", "distilled")]
    assert [(run.arm, run.seed) for run in report.runs] == arms
    assert report.left_out == []
    assert [(arm.arm, arm.seeds) for arm in report.findings.arms] == [("plain", [0, 1]), ("distilled", [0, 1])]
    assert report.sentences[0].encode()[:30] in page
    assert b"<h2>Results</h2>" not in page  # which a study has not; its answer comes first
