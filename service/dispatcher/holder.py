"""Under which name a control plane holds the dispatcher's lease: a random one at each start.

Whoever comes back in the same home takes the lease of the start before over at once: the home's lock says that nobody
else is in there, so the former process is gone. A copy of the home on another machine, or in another folder, is not the
same home: there the former process may well be alive, so its lease has to expire.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from fgd_core.errors import StorageError
from fgd_core.spec.base import Fact

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    name: str
    former: str | None = None
    """Of the start before in this home, where that is certain to have ended."""

    @classmethod
    def at(cls, home: Path) -> "Holder":
        """Only for whoever holds the home's lock.

        Raises:
            StorageError: the home cannot be written.
        """
        path = home / "dispatcher.json"
        try:
            place = _place_of(home)
            before = _read(path)
            note = _Note(name=secrets.token_hex(16), place=place)
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(note.model_dump_json())
            partial.replace(path)
        except OSError as cause:
            raise StorageError(f"cannot write {path}: {cause.strerror}", path=str(path)) from cause
        return cls(note.name, before.name if before is not None and before.place == place else None)


class _Note(Fact):
    """What the home keeps."""

    name: str
    place: str


def _read(path: Path) -> _Note | None:
    try:
        return _Note.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _place_of(home: Path) -> str:
    """What a copy of a folder, or of its whole machine, does not have in common with it."""
    status = home.stat()
    boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
    return f"{boot_id}:{status.st_dev}:{status.st_ino}"
