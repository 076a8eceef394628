"""Advice of a report, in words."""

import pytest

from fgd_core.spec.methods import Fgd
from fgd_core.spec.results import AlteredScores, RunResult
from service.reports.advice import sentences
from tests.reports.test_report_page import distilled


@pytest.mark.parametrize(
    ("total", "said"),
    [(0.2, ["little effect", "a larger method.scale"]), (9.0, ["drowns", "a smaller method.scale"]), (2.0, [])],
)
def test_an_unusual_ratio_is_explained_with_its_cure(total: float, said: list[str]) -> None:
    found = sentences(distilled(Fgd(), {"task/box": 4.0, "distill/total": total}))
    assert len(found) == bool(said)
    assert all(part in found[0] for part in said)


def test_a_result_on_altered_images_is_said_in_words() -> None:
    report = distilled(Fgd(), {"task/box": 4.0, "distill/total": 2.0})
    altered = AlteredScores(num_copies=2, ap=0.25, flips=0.031, score_change=0.02)
    result = RunResult.model_construct(scores=None, skipped_steps=0, altered=altered)
    (found,) = sentences(report.model_copy(update={"jobs": [report.jobs[0].model_copy(update={"result": result})]}))
    assert "has AP 0.250, and 3.1% of the objects appear or disappear; their scores change by 0.020" in found
