"""How often a job is started again."""

from typing import Literal

from pydantic import Field

from fgd_core.spec.base import Command


class RetryPolicy(Command):
    """Two budgets, for a run that fails is not a machine that dies. A bad spec and bad data are never retried."""

    failures: int = Field(default=2, ge=0, le=100)
    """Starts again after an error of the run that a repetition may cure: a network that was away."""
    losses: int = Field(default=10, ge=0, le=1000)
    """Starts again after the cluster lost the run: a killed process, a node that died, a machine taken away."""
    on_out_of_memory: Literal["fail", "halve_batch"] = "fail"
    """`halve_batch`: start afresh with half the batch and half the learning rate, out of the budget of failures."""
