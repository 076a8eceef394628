"""What each kind of job runs. Importing this loads torch."""

from collections.abc import Callable, Mapping

from fgd_core import runs
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunFinished
from fgd_core.training.context import RunContext

Runner = Callable[[Assignment, RunContext], RunFinished]


def run_here(assignment: Assignment, context: RunContext) -> RunFinished:
    """The whole run in this process, on one device."""
    return runs.execute(assignment.spec, context)


RUNNERS: Mapping[str, Runner] = {"train": run_here, "distill": run_here, "evaluate": run_here}
