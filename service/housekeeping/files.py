"""The storage folder: what lies in it, and what belongs to no job."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from fgd_core.errors import StorageError
from service.jobs.retention import StoredFile

_SEEN = ".orphan-since"
"""In a folder of no job: when it was first seen to be that. A day of grace counted from its last change would be none
where the database was restored from a backup, and knows nothing of the jobs of last week."""
_OUTBOX = re.compile(r"attempt-(?P<number>\d+)-(?P<stream>[A-Za-z0-9_.-]+)\.(jsonl|consumed)")


class Orphan(NamedTuple):
    name: str
    num_files: int
    size_bytes: int
    seen_at: datetime | None
    """When it was first seen to belong to no job; None: now."""


def job_folder(storage_dir: Path, job_id: str) -> Path:
    return storage_dir / "jobs" / job_id


def folder_names(storage_dir: Path) -> list[str]:
    """Of all that may be a job's."""
    try:
        with os.scandir(storage_dir / "jobs") as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def listing(folder: Path) -> list[StoredFile]:
    """Every file below `folder`; links are not followed."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(path) / name).lstat()
            except FileNotFoundError:
                continue
            where = (Path(path) / name).relative_to(folder).as_posix()
            # Attempts hand checkpoints on as links: each counts for its share of the one file.
            size_bytes = status.st_size // max(1, status.st_nlink)
            found.append(StoredFile(where, size_bytes, datetime.fromtimestamp(status.st_mtime, UTC)))
    return found


def remove_file(folder: Path, file: StoredFile) -> None:
    """Delete it, unless it is another by now: its job may have been retried in this very moment.

    Raises:
        StorageError: it cannot be deleted.
    """
    path = folder / file.path
    try:
        if datetime.fromtimestamp(path.lstat().st_mtime, UTC) == file.modified_at:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as cause:
        raise _cannot_delete(path, cause) from cause


def remove_folder(folder: Path) -> None:
    """Delete it with all that is in it; none is fine, too.

    Raises:
        StorageError: some of it cannot be deleted.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as cause:
        raise _cannot_delete(folder, cause) from cause


def look_at_orphan(storage_dir: Path, name: str) -> Orphan:
    folder = job_folder(storage_dir, name)
    files = listing(folder)
    try:
        seen_at = datetime.fromisoformat((folder / _SEEN).read_text())
    except (OSError, ValueError):
        seen_at = None
    return Orphan(name, len(files), sum(file.size_bytes for file in files), seen_at)


def note_orphan(storage_dir: Path, name: str, now: datetime) -> None:
    (job_folder(storage_dir, name) / _SEEN).write_text(now.isoformat())


def is_heard(folder: Path, outbox_file: str, last_heard: Mapping[tuple[int, str], int]) -> bool:
    """Whether all that a run wrote into its outbox file is stored.

    Args:
        last_heard: (attempt's number, stream) -> sequence.
    """
    named = _OUTBOX.fullmatch(Path(outbox_file).name)
    if named is None:
        return False
    stored = last_heard.get((int(named["number"]), named["stream"]), 0)
    try:
        return _last_sequence((folder / outbox_file).with_suffix(".jsonl")) <= stored
    except (OSError, ValueError, KeyError, TypeError):
        return False


def forget_orphan_marks(storage_dir: Path, job_ids: Iterable[str]) -> None:
    """Take the mark off what belongs to a job after all."""
    for job_id in job_ids:
        (job_folder(storage_dir, job_id) / _SEEN).unlink(missing_ok=True)


def _last_sequence(path: Path) -> int:
    """Of the last whole line, 0 where there is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    whole = content[: content.rfind(b"\n") + 1].rstrip(b"\n")
    return int(json.loads(whole[whole.rfind(b"\n") + 1 :])["sequence"]) if whole else 0


def _cannot_delete(path: Path, cause: OSError) -> StorageError:
    return StorageError(
        f"cannot delete {path}: {cause.strerror}; see that its folder belongs to the server's user", path=str(path)
    )
