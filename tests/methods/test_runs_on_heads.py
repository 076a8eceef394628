"""Whole runs of the methods that compare heads."""

from pathlib import Path
from typing import Any

import pytest

from fgd_core.runs import execute
from fgd_core.spec.events import DistillationPlanned, MetricsLogged
from tests.library import RecordingContext, StopsAfterAnEpoch, distill_spec, train_spec
from tests.tiers import slow

SHAPES: dict[str, Any] = {
    "gfl": {"type": "gfl", "anchor_base_size_px": 16.0},
    "faster_rcnn": {"type": "faster_rcnn", "anchor_base_size_px": 8.0, "rois_per_image": 16},
}


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind, shape in SHAPES.items():
        folder = tmp_path_factory.mktemp(kind)
        finished = execute(train_spec(detector=shape, training={"epochs": 1}), RecordingContext(folder))
        assert finished.error is None, finished.error.traceback
        found[kind] = folder / "checkpoints/last.pt"
    return found


KEPT = slow(
    "tests/methods/test_runs_on_heads.py::test_a_run_that_stopped_and_went_on_equals_one_that_never_stopped[gdetkd"
)
RUNS = [
    pytest.param("crosskd", "gfl", "gfl", marks=KEPT),
    ("gdetkd", "gfl", "faster_rcnn"),
    pytest.param("logit", "faster_rcnn", "faster_rcnn", marks=KEPT),
]


def distilled(teachers: dict[str, Path], context: RecordingContext, method: str, student: str, teacher: str) -> None:
    """Run a distillation until its end, or until the context stops it."""
    spec = distill_spec(
        teachers[teacher],
        student=SHAPES[student],
        teacher={"gate": "keys"},
        method={"type": method, "scale": 0.1},
        training={"epochs": 2},
    )
    finished = execute(spec, context)
    assert finished.error is None, finished.error.traceback


def losses(context: RecordingContext, name: str = "loss") -> list[float | None]:
    """Return a loss of all steps."""
    return [value for logged in context.of(MetricsLogged) for value in logged.values[name]]


@pytest.mark.parametrize(("method", "student", "teacher"), RUNS)
def test_a_run_that_stopped_and_went_on_equals_one_that_never_stopped(
    teachers: dict[str, Path], tmp_path: Path, method: str, student: str, teacher: str
) -> None:
    """The memory of vectors and the draws of regions are parts of the checkpoint."""
    whole, stopped = RecordingContext(tmp_path / "whole"), StopsAfterAnEpoch(tmp_path / "parts")
    for context in (whole, stopped):
        distilled(teachers, context, method, student, teacher)
    (plan,) = whole.of(DistillationPlanned)
    assert plan.compares
    assert all(value is not None and value > 0 for value in losses(whole, "distill/total"))

    resumed = RecordingContext(tmp_path / "parts")
    distilled(teachers, resumed, method, student, teacher)
    assert len(losses(resumed)) == 2 and losses(resumed) == losses(whole)[2:]
