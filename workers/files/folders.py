"""The folders of attempts: each attempt writes into its own, so that a stale attempt can damage nothing.

<job>/attempts/<number>/checkpoints/…   <job>/attempts/<number>/samples.png   <job>/outbox/…
<job>/attempts/<number>/trials/<trial>/<segment>/checkpoints/…
<job>/attempts/<number>/stages/<stage>/checkpoints/…
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fgd_core.spec.chains import CHAIN_RECORD, STAGES, stage_folder

CHECKPOINTS = "checkpoints"
REPORT = "report.json"
"""The scores of a trial's newest evaluation, in the folder of its checkpoints."""


def attempt_folder(job_dir: Path, number: int) -> Path:
    """Make the attempt's folder, with links to the checkpoints of earlier attempts, from which it continues.

    These are the checkpoints of the run itself and, for a chain, those of each stage.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = job_dir / "attempts" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    for within in ("", *_stages_before(job_dir, number)):
        own = folder / within / CHECKPOINTS
        if not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            _link_checkpoints(_newest_before(job_dir, number, within), own)
    return folder


def is_continued_from(name: str) -> bool:
    """Return whether a run continues from the file of this name in a folder of checkpoints."""
    return name.endswith(".pt") or name in (REPORT, CHAIN_RECORD)


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
        if any(is_continued_from(path.name) and path.name != REPORT for path in checkpoints.glob("*")):
            return checkpoints
    return None


def _stages_before(job_dir: Path, number: int) -> Iterator[str]:
    """Yield the folder, within an attempt's folder, of each stage that an earlier attempt has begun."""
    attempts = (job_dir / "attempts" / str(earlier) for earlier in range(1, number))
    names = {path.name for attempt in attempts for path in (attempt / STAGES).glob("*")}
    yield from map(stage_folder, sorted(names))


def _link_checkpoints(source: Path | None, own: Path) -> None:
    """Link the checkpoints rather than copy them.

    A save writes a new file and moves it into place, so a save of one attempt does not change the other's files.
    """
    incoming = own.with_name(f".{own.name}.incoming")
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for path in filter(lambda path: is_continued_from(path.name), source.glob("*")) if source is not None else ():
        try:
            os.link(path, incoming / path.name)
        except FileNotFoundError:
            continue  # An attempt that is still alive has just replaced this file.
        except OSError:
            shutil.copy2(path, incoming / path.name)
    # All files or none: if the process is killed before this line, the next start links them again.
    incoming.replace(own)
