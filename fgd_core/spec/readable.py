"""Which files a run may read, as the control plane says in the environment of its Ray job."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOTS = "FGD_RUN_ROOTS"
"""The folders whose files a run may read, separated like PATH; not set: all."""
JOBS = "FGD_RUN_JOBS"
"""The folder within them that holds a folder for each job, of which a run may not read any; empty: there is none."""


def environment(roots: Sequence[Path], jobs: Path | None) -> Mapping[str, str]:
    """What confines a process and all that it starts; nothing where all may be read."""
    if jobs is None and Path("/") in roots:
        return {}
    return {ROOTS: os.pathsep.join(map(str, roots)), JOBS: str(jobs or "")}
