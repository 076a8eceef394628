"""What a run needs from the cluster, and how often it starts again."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.base import Command


class Resources(Command):
    """What one run takes on one node of the cluster."""

    cpus: int = Field(default=1, ge=1)
    """CPU cores. PyTorch uses the same number of threads."""
    gpus: int = Field(default=0, ge=0, le=1)
    """GPUs, 0 or 1."""


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
    batch size and half the learning rate; each time counts as one of `failures`."""
