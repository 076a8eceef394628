"""What a run needs from the cluster, and how often it starts again."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from fgd_core.spec.base import Command


class Resources(Command):
    """What one run takes from the cluster. Each worker lies on one node; several workers may lie on several nodes."""

    cpus: int = Field(default=1, ge=1)
    """CPU cores of each worker. PyTorch uses the same number of threads."""
    gpus: int = Field(default=0, ge=0, le=1)
    """GPUs of each worker, 0 or 1."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes that train one job together, on any nodes. They share each batch evenly, so `training.batch_size` must
    be a multiple of it. Only for train, distill, chain, and the trials of a sweep."""
    min_workers: int | None = Field(default=None, ge=1)
    """For a training that may shrink: it starts, and after a loss goes on, with any number of workers from this one up
    to `workers` that the cluster has room for. Default: always all `workers`."""

    @model_validator(mode="after")
    def _min_workers_fit(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(
                f"min_workers is {self.min_workers}, but workers is {self.workers}; raise workers, or lower min_workers"
            )
        return self

    @property
    def least_workers(self) -> int:
        """The number of workers without which the job neither starts nor goes on."""
        return self.workers if self.min_workers is None else self.min_workers

    @property
    def all_gpus(self) -> int:
        """GPUs of all workers together."""
        return self.gpus * self.workers

    @property
    def images_unit(self) -> int:
        """The number of images that both `workers` and `min_workers` share evenly; batch sizes are multiples of it."""
        return math.lcm(self.workers, self.least_workers)


class RetryPolicy(Command):
    """How often a job is started again: one budget for errors of the run, one for machines that die.

    A job with a wrong spec or wrong data is never started again.
    """

    failures: int = Field(default=2, ge=0, le=100)
    """Restarts after an error that a second try may cure, for example a network failure."""
    losses: int = Field(default=10, ge=0, le=1000)
    """Restarts after the cluster lost the run: its process was killed, or its node died or was taken away."""
    on_out_of_memory: Literal["fail", "halve_batch"] = "fail"
    """What happens when memory runs out. `fail` ends the job. `halve_batch` trains from the beginning with half the
    batch size and half the learning rate; each time counts as one of `failures`. The batch stays large enough for all
    workers, and for a method that compares images (`composed` with `transform: images`)."""
