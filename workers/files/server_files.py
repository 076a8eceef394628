"""A job's files over HTTP, through the control plane.

Every transfer carries the SHA-256 of its bytes (`Repr-Digest`, RFC 9530); the receiver rejects bytes that do not match.
"""

import base64
import binascii
import hashlib
import http.client
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from fgd_core.errors import NetworkError
from fgd_core.spec.attempts import FileList, UploadedFile
from fgd_core.stopping import raise_if_stopped
from workers.control_plane import ControlPlane

_TIMEOUT_S = 120.0
"""Without a byte received: a storage behind the control plane may take long to store a complete file."""
_CHUNK_BYTES = 1 << 20


class CorruptFileError(NetworkError):
    """The received bytes are not the stored bytes."""


class Incoming:
    """A file that is being received."""

    def __init__(self, answer: http.client.HTTPResponse, what: str) -> None:
        self._answer, self._what = answer, what
        self.sha256 = _read_digest(answer.headers.get("Repr-Digest", ""))
        self.size_bytes = int(answer.headers.get("Content-Length") or 0)

    def save(self, target: Path) -> None:
        """Write the file to `target`; after an error, `target` does not exist.

        Raises:
            CorruptFileError: the bytes do not match their announced digest.
            NetworkError: the transfer broke off.
            OSError: `target` cannot be written.
            Stopped: the run was asked to stop.
        """
        digest = hashlib.sha256()
        try:
            with target.open("xb") as file:
                while chunk := self._read():
                    raise_if_stopped()
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != self.sha256:
                raise CorruptFileError("a file was corrupted on its way from the control plane", file=self._what)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _read(self) -> bytes:
        try:
            chunk = self._answer.read(_CHUNK_BYTES)
            if not chunk and self._answer.length:
                # `read` does not report a connection that broke off.
                raise http.client.IncompleteRead(chunk, self._answer.length)
            return chunk
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(
                "the control plane stopped sending a file; the run retries", file=self._what, cause=str(error)
            ) from error


class ServerFiles:
    """Lists, reads, writes and deletes the job's files. It can be pickled. For errors, see `ControlPlane`."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    def listing(self) -> list[UploadedFile]:
        """List all files of the job."""
        return FileList.model_validate_json(self._control_plane.request("GET", "/files")).files

    @contextmanager
    def reading(self, path: str) -> Iterator[Incoming]:
        """Open a file of the job.

        Args:
            path: relative to the job's folder.
        """
        with self._control_plane.open("GET", _address(path), timeout_s=_TIMEOUT_S) as answer:
            yield Incoming(answer, path)

    @contextmanager
    def reading_checkpoint(self, job_id: str, name: str) -> Iterator[Incoming]:
        """Open a checkpoint of another job, to which this job's spec refers."""
        path = f"/checkpoints/{urllib.parse.quote(job_id, safe='')}/{urllib.parse.quote(name, safe='')}"
        with self._control_plane.open("GET", path, timeout_s=_TIMEOUT_S) as answer:
            yield Incoming(answer, f"job:{job_id}/{name}")

    def put(self, path: str, content: BinaryIO, *, size_bytes: int, sha256: str) -> UploadedFile:
        """Store a file, replacing the one at `path`.

        Args:
            path: relative to the job's folder, and inside this attempt's own folder.
            content: sent from its beginning.
        """
        content.seek(0)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size_bytes),
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        }
        answer = self._control_plane.request("PUT", _address(path), body=content, headers=headers, timeout_s=_TIMEOUT_S)
        try:
            return UploadedFile.model_validate_json(answer)
        except ValidationError as error:
            raise self._control_plane.unexpected_answer(answer) from error

    def delete(self, path: str) -> None:
        """Delete a file of the job."""
        self._control_plane.open("DELETE", _address(path)).close()


def _address(path: str) -> str:
    return f"/files/{urllib.parse.quote(path)}"


def _read_digest(header: str) -> str | None:
    """Parse the SHA-256 of a `Repr-Digest` header, in hexadecimal; None if there is no valid one."""
    for part in header.split(","):
        algorithm, _, value = part.strip().partition("=")
        if algorithm == "sha-256":
            try:
                return base64.b64decode(value.strip(":"), validate=True).hex()
            except binascii.Error:
                return None
    return None
