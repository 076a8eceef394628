"""Every detector can overfit eight real images, and distils from a teacher of its own kind and of another.

Tests that take a minute or more for each detector run only if FGD_ACCEPTANCE is set. `python -m benchmarks.pairs` does
the same for all pairs and writes a table.
"""

import os
from pathlib import Path

import pytest
import torch

from benchmarks.pairs.candidates import BLOOD_CELLS, PLAIN, VARIANTS, Candidate, settings_of
from benchmarks.pairs.distilling import distil
from benchmarks.pairs.learning import goal_of, overfit
from fgd_core.data.samples import Category
from fgd_core.detectors import build_detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, save_checkpoint

TINY = {
    "backbone": {"name": "resnet18", "stem_width": 4, "blocks": [1, 1, 1, 1], "norm": "group"},
    "fpn_width": 8,
    "rois_per_image": 32,
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


def _named(candidate: Candidate) -> str:
    return candidate.name


@pytest.mark.skipif("FGD_ACCEPTANCE" not in os.environ, reason="minutes for each detector; set FGD_ACCEPTANCE to run")
@pytest.mark.parametrize("candidate", [*PLAIN, *VARIANTS], ids=_named)
def test_overfits_eight_images(candidate: Candidate, shared: Path, work: Path) -> None:
    learned = overfit(candidate, shared / "data", work)
    goal_ap = goal_of(candidate)
    assert learned.ap > goal_ap
    assert learned.mask_ap is None or learned.mask_ap > goal_ap


@pytest.mark.parametrize("student", PLAIN, ids=_named)
def test_distils_from_its_own_kind_and_from_another(student: Candidate, shared: Path, work: Path) -> None:
    following = PLAIN[(PLAIN.index(student) + 1) % len(PLAIN)]
    for teacher in (student, following):
        pair = distil(student, _untrained(teacher, work), shared / "data", work, steps=3, values=TINY)
        assert pair.is_good, pair
        assert (pair.student, pair.teacher) == (student.name, teacher.name)
        # All common levels are distilled, except P6, which is only pooled from P5.
        assert set(pair.levels) >= {"P3", "P4", "P5"}


def _untrained(candidate: Candidate, work: Path) -> Path:
    """Save an untrained detector that is wider than the student; return its path."""
    torch.manual_seed(1)
    settings = settings_of(candidate, BLOOD_CELLS, TINY | {"fpn_width": 16})
    path = work / f"{candidate.name}.pt"
    detector = build_detector(settings, 2)
    save_checkpoint(
        path,
        DetectorCheckpoint(
            detector=settings,
            categories=(Category(1, "one"), Category(2, "two")),
            input=BLOOD_CELLS.input,
            record=Record(),
            state=detector.state_dict(),
        ),
    )
    return path
