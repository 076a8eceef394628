"""Limits the files that a run may read, through environment variables that the control plane sets for its Ray job."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOTS = "FGD_RUN_ROOTS"
"""The folders whose files a run may read, separated as in PATH. If it is not set, the run may read all files."""
JOBS = "FGD_RUN_JOBS"
"""The folder that holds one folder for each job; a run may read none of those. Empty if there is no such folder."""


def environment(roots: Sequence[Path], jobs: Path | None) -> Mapping[str, str]:
    """Return the variables that limit a process and its children; none if they may read all files."""
    if jobs is None and Path("/") in roots:
        return {}
    return {ROOTS: os.pathsep.join(map(str, roots)), JOBS: str(jobs or "")}
