"""The thread that uploads a run's files to the control plane while training continues.

The files that a resumed run finds must fit together, whenever the upload was cut short. So `last.pt` is sent after all
files that were saved before it: when it is stored, the best checkpoint and the report to which it refers are stored,
too. A file replaces its older version only when the upload is complete, so `previous.pt` needs no upload.
"""

import hashlib
import http.client
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol

from fgd_core.errors import FgdError, SpecError, StaleAttemptError, StorageError
from fgd_core.retrying import Backoff
from fgd_core.spec.attempts import UploadedFile
from fgd_core.spec.events import Warned
from workers.control_plane import BACKGROUND_RETRIES
from workers.run_log import ErrorLog

LAST = "last.pt"
"""The checkpoint from which a run continues; it is sent after all other files."""
_MAX_REFUSALS = 3
"""The control plane refuses bytes that were corrupted on the way; this happens once or twice, not three times."""


class FileStore(Protocol):
    """Stores files."""

    def put(self, path: str, content: BinaryIO, *, size_bytes: int, sha256: str) -> UploadedFile: ...


@dataclass
class _Version:
    """A file as it was when it was added. A later save writes a new file, so this open file does not change."""

    path: str
    content: BufferedReader
    size_bytes: int
    sha256: str | None
    on_stored: Callable[[UploadedFile], None]
    num_refusals: int = 0


class Uploads:
    """Sends files for as long as the process lives, retrying until the control plane is back, up to 30 days.

    If a path is saved again before its upload, only the newest version is sent.

    Args:
        warn: called from the thread, once for each kind of problem that a person should know.
        on_stale: called from the thread when the control plane says that this attempt is over; the uploads then end.
    """

    def __init__(self, files: FileStore, *, warn: Callable[[Warned], None], on_stale: Callable[[], None]) -> None:
        self._files, self._warn, self._on_stale = files, warn, on_stale
        self._changed = threading.Condition()
        self._waiting: dict[str, _Version] = {}
        self._sending: dict[str, _Version] = {}
        self._refused: dict[str, str] = {}
        self._errors = ErrorLog("uploading files")
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="fgd-uploads", daemon=True)
        self._thread.start()

    def add(
        self, path: str, local: Path, on_stored: Callable[[UploadedFile], None], *, sha256: str | None = None
    ) -> None:
        """Queue a file. Returns at once.

        Args:
            path: relative to the job's folder.
            on_stored: called from the thread once the file is stored; never for a version that a newer one replaced.
            sha256: None if it is unknown.
        Raises:
            OSError: `local` cannot be read.
        """
        content = local.open("rb")
        version = _Version(path, content, os.fstat(content.fileno()).st_size, sha256, on_stored)
        with self._changed:
            replaced = self._waiting.pop(path, None)
            self._waiting[path] = version
            self._changed.notify_all()
        if replaced is not None:
            replaced.content.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until all queued files are stored or refused; returns True if they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._sending, timeout_s)

    @property
    def refused(self) -> dict[str, str]:
        """The reason, by path, for files whose newest version the control plane did not accept."""
        with self._changed:
            return dict(self._refused)

    def close(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        backoff = Backoff(BACKGROUND_RETRIES)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if self._is_closed:
                    self._drop_waiting()
                    return
                self._sending, self._waiting = _in_order(self._waiting), {}
            try:
                self._send_all()
                backoff.succeeded()
            except StaleAttemptError:
                self.close()
                self._on_stale()
            except (FgdError, OSError, ValueError, http.client.HTTPException) as error:
                # Any server may answer at this address while the control plane restarts; this thread must not die.
                self._report(error)
                pause_s = backoff.failed()
                if pause_s is None:
                    self._refuse_waiting(error)
                else:
                    time.sleep(pause_s)

    def _send_all(self) -> None:
        try:
            for version in [*self._sending.values()]:
                if self._is_closed:
                    return
                self._send(version)
        finally:
            with self._changed:
                # Unsent versions wait again, unless a newer version has replaced them.
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
            stored = self._files.put(
                version.path, version.content, size_bytes=version.size_bytes, sha256=version.sha256
            )
        except SpecError as error:
            version.num_refusals += 1
            if version.num_refusals < _MAX_REFUSALS:
                raise
            refusal = error
        if refusal is None:
            version.on_stored(stored)
            self._errors.clear()
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

    def _drop_waiting(self) -> None:
        for version in self._waiting.values():
            version.content.close()
        self._waiting = {}
        self._changed.notify_all()

    def _refuse_waiting(self, error: Exception) -> None:
        """Give up on the queued files: the retries have ended."""
        with self._changed:
            self._refused |= {path: str(error) for path in self._waiting}
            self._drop_waiting()

    def _report(self, error: Exception) -> None:
        if self._errors.write(error) and isinstance(error, StorageError):
            message = "the control plane's storage is full; this run continues and retries until there is space"
            self._warn(Warned(code="files_wait", message=message, details={"cause": str(error)}))


def _in_order(waiting: dict[str, _Version]) -> dict[str, _Version]:
    return dict(sorted(waiting.items(), key=lambda item: item[0].rpartition("/")[2] == LAST))


def _warning(path: str, error: FgdError) -> Warned:
    message = f"the control plane rejected {path}, so the file is lost when this node ends: {error.message}"
    return Warned(code="file_refused", message=message, details={"path": path, **error.details})
