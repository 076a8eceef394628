"""Where an attempt writes: a folder of its own, so that one that was replaced and does not know it can spoil nothing.

<job>/attempts/<number>/checkpoints/…   <job>/attempts/<number>/samples.png   <job>/outbox/…
<job>/attempts/<number>/trials/<trial>/<segment>/checkpoints/…
"""

import os
import shutil
from pathlib import Path

CHECKPOINTS = "checkpoints"
REPORT = "report.json"
"""What a trial reached at its newest evaluation, beside its checkpoints."""


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


def segment_folder(attempt_dir: Path, trial: int, segment: int, *, goes_on_from: tuple[int, int] | None) -> Path:
    """The folder of a segment of a trial, with the checkpoints that it goes on from.

    Those are its own from an earlier attempt of the sweep, or else those of the segment that it follows.

    Args:
        attempt_dir: from `attempt_folder`.
        goes_on_from: (trial, segment).
    Raises:
        OSError: it cannot be made.
    """
    folder = attempt_dir / "trials" / str(trial) / str(segment)
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / CHECKPOINTS
    if not own.exists():
        job_dir, number = attempt_dir.parent.parent, int(attempt_dir.name)
        theirs = _newest_before(job_dir, number, f"trials/{trial}/{segment}")
        if theirs is None and goes_on_from is not None:
            theirs = _newest_before(job_dir, number + 1, "trials/{}/{}".format(*goes_on_from))
        _hand_over(theirs, own)
    return folder


def _newest_before(job_dir: Path, number: int, within: str = "") -> Path | None:
    for earlier in range(number - 1, 0, -1):
        checkpoints = job_dir / "attempts" / str(earlier) / within / CHECKPOINTS
        if any(checkpoints.glob("*.pt")):
            return checkpoints
    return None


def _hand_over(theirs: Path | None, own: Path) -> None:
    """Link rather than copy: whoever saves a checkpoint writes a new file and moves it into place, so that neither
    attempt's saves reach the other's files."""
    incoming = own.with_name(f".{own.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for path in [*theirs.glob("*.pt"), *theirs.glob(REPORT)] if theirs is not None else ():
        try:
            os.link(path, incoming / path.name)
        except FileNotFoundError:
            continue  # An attempt that still lives has just replaced it.
        except OSError:
            shutil.copy2(path, incoming / path.name)
    # All of them or none: killed half-way, the next start does it anew.
    incoming.replace(own)
