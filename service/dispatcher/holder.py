"""The name under which a control plane holds the dispatcher's lease: a new random name at each start.

A control plane that starts again in the same home takes over the lease of its previous start at once: it holds the
home's lock, so the previous process has ended. A copy of the home, on another machine or in another folder, is not the
same home: there the previous process may be alive, so its lease has to expire.
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
    """Names a holder of leases."""

    name: str
    former: str | None = None
    """The name of the previous start in this home, if that process has certainly ended."""

    @classmethod
    def at(cls, home: Path) -> "Holder":
        """Choose a new name and store it in the home. The caller must hold the home's lock.

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
    """The content of `dispatcher.json`."""

    name: str
    place: str


def _read(path: Path) -> _Note | None:
    try:
        return _Note.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _place_of(home: Path) -> str:
    """Return an identity that a copy of the folder, or of the whole machine, does not share."""
    status = home.stat()
    boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
    return f"{boot_id}:{status.st_dev}:{status.st_ino}"
