"""The folders of attempts: each attempt writes into its own, so that a stale attempt can damage nothing.

<job>/attempts/<number>/checkpoints/…   <job>/attempts/<number>/samples.png   <job>/outbox/…
<job>/attempts/<number>/trials/<trial>/<segment>/checkpoints/…
"""

import os
import shutil
from pathlib import Path

CHECKPOINTS = "checkpoints"
REPORT = "report.json"
"""The scores of a trial's newest evaluation, in the folder of its checkpoints."""


def attempt_folder(job_dir: Path, number: int) -> Path:
    """Make the attempt's folder, with links to the checkpoints of the attempt before, from which it continues.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = job_dir / "attempts" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / CHECKPOINTS
    if not own.exists():
        _link_checkpoints(_newest_before(job_dir, number), own)
    return folder


def segment_folder(attempt_dir: Path, trial: int, segment: int, *, goes_on_from: tuple[int, int] | None) -> Path:
    """Make the folder of a trial's segment, with links to the checkpoints from which it continues.

    These are the segment's own checkpoints from an earlier attempt of the sweep, or else those of `goes_on_from`.

    Args:
        attempt_dir: from `attempt_folder`.
        goes_on_from: (trial, segment) that this segment follows.
    Raises:
        OSError: the folder cannot be made.
    """
    folder = attempt_dir / "trials" / str(trial) / str(segment)
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / CHECKPOINTS
    if not own.exists():
        job_dir, number = attempt_dir.parent.parent, int(attempt_dir.name)
        source = _newest_before(job_dir, number, f"trials/{trial}/{segment}")
        if source is None and goes_on_from is not None:
            source = _newest_before(job_dir, number + 1, "trials/{}/{}".format(*goes_on_from))
        _link_checkpoints(source, own)
    return folder


def _newest_before(job_dir: Path, number: int, within: str = "") -> Path | None:
    for earlier in range(number - 1, 0, -1):
        checkpoints = job_dir / "attempts" / str(earlier) / within / CHECKPOINTS
        if any(checkpoints.glob("*.pt")):
            return checkpoints
    return None


def _link_checkpoints(source: Path | None, own: Path) -> None:
    """Link the checkpoints rather than copy them.

    A save writes a new file and moves it into place, so a save of one attempt does not change the other's files.
    """
    incoming = own.with_name(f".{own.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for path in [*source.glob("*.pt"), *source.glob(REPORT)] if source is not None else ():
        try:
            os.link(path, incoming / path.name)
        except FileNotFoundError:
            continue  # An attempt that is still alive has just replaced this file.
        except OSError:
            shutil.copy2(path, incoming / path.name)
    # All files or none: if the process is killed before this line, the next start links them again.
    incoming.replace(own)
