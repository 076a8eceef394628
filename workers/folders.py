"""Where an attempt writes: a folder of its own, so that one that was replaced and does not know it can spoil nothing.

<job>/attempts/<number>/checkpoints/…   <job>/attempts/<number>/samples.png   <job>/outbox/…
"""

import os
import shutil
from pathlib import Path

CHECKPOINTS = "checkpoints"


def attempt_folder(job_dir: Path, number: int) -> Path:
    """The attempt's folder, with the checkpoints of the one before it, from which it goes on.

    Raises:
        OSError: it cannot be made.
    """
    folder = job_dir / "attempts" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / CHECKPOINTS
    if not own.exists():
        _hand_over(_newest_before(job_dir, number), own)
    return folder


def _newest_before(job_dir: Path, number: int) -> Path | None:
    for earlier in range(number - 1, 0, -1):
        checkpoints = job_dir / "attempts" / str(earlier) / CHECKPOINTS
        if any(checkpoints.glob("*.pt")):
            return checkpoints
    return None


def _hand_over(theirs: Path | None, own: Path) -> None:
    """Link rather than copy: whoever saves a checkpoint writes a new file and moves it into place, so that neither
    attempt's saves reach the other's files."""
    incoming = own.with_name(f".{own.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for path in theirs.glob("*.pt") if theirs is not None else ():
        try:
            os.link(path, incoming / path.name)
        except FileNotFoundError:
            continue  # An attempt that still lives has just replaced it.
        except OSError:
            shutil.copy2(path, incoming / path.name)
    # All of them or none: killed half-way, the next start does it anew.
    incoming.replace(own)
