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
    "export": "fgd_core.runs:execute",
    "check_data": "fgd_core.runs:execute",
    "derive_data": "fgd_core.runs:execute",
    "sweep": "workers.tuning.sweep:run",
    "study": "workers.studying:run",
}
"""By name: loading torch takes seconds, and the driver of a sweep does not need it."""

_SEVERAL_WORKERS = "workers.training.driver:run"


def runs_here(spec: JobSpec) -> bool:
    """Return whether this process itself carries out the job; otherwise it is the driver of other processes."""
    # The resources of a study are those of its runs.
    return spec.kind == "study" or (spec.kind != "sweep" and spec.resources.workers == 1)


def runner(spec: JobSpec) -> Runner:
    """Import the module that runs this job, and return its function."""
    by_name = RUNNERS[spec.kind] if runs_here(spec) or spec.kind == "sweep" else _SEVERAL_WORKERS
    module, _, name = by_name.partition(":")
    run: Runner = getattr(importlib.import_module(module), name)
    return run
