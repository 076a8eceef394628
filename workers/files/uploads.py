"""The thread that hands a run's files to the control plane, while training goes on.

What a resumed run finds must fit together, wherever this one was killed. So `last.pt` always goes after everything that
was saved before it: the best checkpoint that it has in mind, and the report on it, are there when it is. Every file
takes the place of its older version only when it is there in full, which is why `previous.pt` needs no keeping.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol

from fgd_core.errors import FgdError, SpecError, StaleAttemptError, StorageError
from fgd_core.spec.attempts import UploadedFile
from fgd_core.spec.events import Warned
from workers.reporting import backoff

LAST = "last.pt"
"""What a run goes on from; sent after everything else that waits."""
_MAX_REFUSALS = 3
"""A refusal may come from bytes that were torn on the way, once or twice."""


class Keeper(Protocol):
    def put(self, path: str, content: BinaryIO, *, size_bytes: int, sha256: str) -> UploadedFile: ...


@dataclass
class _Version:
    """A file as it was when it was given; whoever saves the next one writes a new file, and does not reach this one."""

    path: str
    content: BufferedReader
    size_bytes: int
    sha256: str | None
    then: Callable[[UploadedFile], None]
    num_refusals: int = 0


class Uploads:
    """Sends files for as long as the process lives, and tries until the control plane is back.

    Of a path that is saved again before it was sent, only the newest version is.

    Args:
        warn: told once of each kind of trouble that a person should know of, from the thread.
        on_stale: called from the thread when the control plane says that this attempt is over; nothing is sent then.
    """

    def __init__(self, files: Keeper, *, warn: Callable[[Warned], None], on_stale: Callable[[], None]) -> None:
        self._files, self._warn, self._on_stale = files, warn, on_stale
        self._changed = threading.Condition()
        self._waiting: dict[str, _Version] = {}
        self._sending: dict[str, _Version] = {}
        self._refused: dict[str, str] = {}
        self._complaint = ""
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="fgd-uploads", daemon=True)
        self._thread.start()

    def give(self, path: str, local: Path, then: Callable[[UploadedFile], None], *, sha256: str | None = None) -> None:
        """Have a file kept. Returns at once.

        Args:
            path: in the job's folder.
            then: called from the thread once it is kept; never for a version that a newer one overtook.
            sha256: if it is known.
        Raises:
            OSError: `local` cannot be read.
        """
        content = local.open("rb")
        version = _Version(path, content, os.fstat(content.fileno()).st_size, sha256, then)
        with self._changed:
            overtaken = self._waiting.pop(path, None)
            self._waiting[path] = version
            self._changed.notify_all()
        if overtaken is not None:
            overtaken.content.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all that was given is kept or refused; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._sending, timeout_s)

    @property
    def refused(self) -> dict[str, str]:
        """Why, by path, of those whose newest version the control plane will not have."""
        with self._changed:
            return dict(self._refused)

    def close(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    self._forget()
                    return
                self._sending, self._waiting = _in_order(self._waiting), {}
            try:
                self._send_all()
                failures = 0
            except StaleAttemptError:
                self.close()
                self._on_stale()
            except Exception as error:
                # Anything may answer at this address while the control plane restarts; and this thread must not die.
                self._complain(error)
                time.sleep(backoff.pause_s(failures))
                failures += 1

    def _send_all(self) -> None:
        try:
            for version in [*self._sending.values()]:
                if self._is_closed:
                    return
                self._send(version)
        finally:
            with self._changed:
                # What was not sent waits again, unless it was overtaken in the meantime.
                for path, version in self._sending.items():
                    if path in self._waiting:
                        version.content.close()
                    else:
                        self._waiting[path] = version
                self._sending = {}
                self._changed.notify_all()

    def _send(self, version: _Version) -> None:
        if version.sha256 is None:
            version.content.seek(0)
            version.sha256 = hashlib.file_digest(version.content, "sha256").hexdigest()
        refusal = None
        try:
            kept = self._files.put(version.path, version.content, size_bytes=version.size_bytes, sha256=version.sha256)
        except SpecError as error:
            version.num_refusals += 1
            if version.num_refusals < _MAX_REFUSALS:
                raise
            refusal = error
        if refusal is None:
            version.then(kept)
            self._complaint = ""
        else:
            self._warn(_warning(version.path, refusal))
        with self._changed:
            if refusal is None:
                self._refused.pop(version.path, None)
            else:
                self._refused[version.path] = str(refusal)
            del self._sending[version.path]
            self._changed.notify_all()
        version.content.close()

    def _forget(self) -> None:
        for version in self._waiting.values():
            version.content.close()
        self._waiting = {}
        self._changed.notify_all()

    def _complain(self, error: Exception) -> None:
        if type(error).__name__ == self._complaint:
            return
        self._complaint = type(error).__name__
        sys.stderr.write(f"handing over files: {error}\n")
        sys.stderr.flush()
        if isinstance(error, StorageError):
            message = "the control plane's storage is full; this run goes on and tries again until there is space"
            self._warn(Warned(code="files_wait", message=message, details={"cause": str(error)}))


def _in_order(waiting: dict[str, _Version]) -> dict[str, _Version]:
    return dict(sorted(waiting.items(), key=lambda item: item[0].rpartition("/")[2] == LAST))


def _warning(path: str, error: FgdError) -> Warned:
    message = f"the control plane does not take {path}, so it is lost with this node: {error.message}"
    return Warned(code="file_refused", message=message, details={"path": path, **error.details})
