"""How a group of workers ended, how many workers it gets, and what its driver loads."""

import subprocess
import sys

import pytest

from fgd_core.errors import DataError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.results import ErrorReport
from workers.training.ends import Lost, RankError, end_after
from workers.training.sizes import sizes


class DiedError(Exception):
    """Stands for Ray's errors, which say that an actor died."""


def own() -> RankError:
    return RankError(ErrorReport.of(DataError("an image is missing; restore it", image="7.jpg")))


def collateral() -> RankError:
    gloo = RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:4711")
    return RankError(ErrorReport.of(gloo))


class TestEnd:
    def test_a_dead_worker_counts_more_than_the_errors_of_the_others(self) -> None:
        assert end_after({0: collateral(), 1: DiedError("gone\nfor ever")}) == Lost("worker 1: DiedError: gone")

    def test_workers_that_miss_another_one_have_lost_it_even_if_ray_has_not_noticed(self) -> None:
        end = end_after({0: collateral()})
        assert isinstance(end, Lost) and "Connection closed by peer" in end.cause

    def test_an_error_of_a_worker_is_the_runs_error_with_its_details(self) -> None:
        end = end_after({0: collateral(), 2: own()})
        assert not isinstance(end, Lost) and end.error is not None
        assert (end.error.code, end.error.details) == ("data", {"image": "7.jpg", "worker": 2})


@pytest.mark.parametrize(
    ("workers", "min_workers", "batch", "expected"),
    [
        (4, None, (8, 1), [4]),
        (4, 1, (8, 1), [4, 2, 1]),
        (4, 2, (8, 1), [4, 2]),
        (6, 2, (12, 1), [6, 4, 3, 2]),
        (6, 2, (12, 2), [6, 3, 2]),
    ],
)
def test_a_group_shrinks_only_to_sizes_that_share_the_batch_evenly(
    assignment: Assignment, workers: int, min_workers: int | None, batch: tuple[int, int], expected: list[int]
) -> None:
    spec = assignment.spec.model_copy(deep=True)
    resources = spec.resources.model_copy(update={"workers": workers, "min_workers": min_workers})
    changes = dict(zip(("batch_size", "accumulate"), batch, strict=True))
    training = spec.training.model_copy(update=changes)  # type: ignore[union-attr]
    assert sizes(spec.model_copy(update={"resources": resources, "training": training})) == expected


def test_the_driver_of_a_group_loads_no_torch() -> None:
    code = "import workers.training.driver, sys; print({'torch', 'ray.train.torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
