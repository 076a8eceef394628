"""What each kind of job runs."""

import importlib
from collections.abc import Callable, Mapping

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.events import RunFinished
from workers.reporting.context import HttpContext

Runner = Callable[[Assignment, HttpContext], RunFinished]

RUNNERS: Mapping[str, str] = {
    "train": "workers.runs.here",
    "distill": "workers.runs.here",
    "evaluate": "workers.runs.here",
    "check_data": "workers.runs.here",
    "sweep": "workers.tuning.driver",
}
"""By name of the module, whose `run` it is: torch takes seconds to load, and a sweep's driver can do without."""


def runner(kind: str) -> Runner:
    run: Runner = importlib.import_module(RUNNERS[kind]).run
    return run
