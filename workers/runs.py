"""The function that runs each kind of job."""

import importlib
from collections.abc import Callable, Mapping

from fgd_core.spec.events import RunFinished
from fgd_core.spec.jobs import JobSpec
from workers.run_context import HttpContext

Runner = Callable[[JobSpec, HttpContext], RunFinished]

RUNNERS: Mapping[str, str] = {
    "train": "fgd_core.runs:execute",
    "distill": "fgd_core.runs:execute",
    "chain": "fgd_core.runs:execute",
    "evaluate": "fgd_core.runs:execute",
    "check_data": "fgd_core.runs:execute",
    "derive_data": "fgd_core.runs:execute",
    "sweep": "workers.tuning.sweep:run",
}
"""By name: loading torch takes seconds, and the driver of a sweep does not need it."""


def runner(kind: str) -> Runner:
    """Import the module that runs this kind of job, and return its function."""
    module, _, name = RUNNERS[kind].partition(":")
    run: Runner = getattr(importlib.import_module(module), name)
    return run
