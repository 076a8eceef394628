"""Advice of a report, in words."""

import pytest

from fgd_core.spec.methods import Fgd
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
