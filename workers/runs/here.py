"""The whole run in this process, on one device."""

from fgd_core import runs
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunFinished
from fgd_core.spec.jobs import SweepSpec
from fgd_core.training.context import RunContext


def run(assignment: Assignment, context: RunContext) -> RunFinished:
    assert not isinstance(assignment.spec, SweepSpec)
    return runs.execute(assignment.spec, context)
