"""The files of a job as its runs reach them, through the control plane.

Bytes carry their SHA-256 in both directions (`Repr-Digest`, RFC 9530): what was torn on the way is refused.
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
from workers.reporting.control_plane import ControlPlane

_TIMEOUT_S = 120.0
"""Without a sign of life: a storage behind the control plane may take its time with what it has in full."""
_CHUNK_BYTES = 1 << 20


class TornError(NetworkError):
    """What came is not what was kept."""


class Incoming:
    """A file on its way here."""

    def __init__(self, answer: http.client.HTTPResponse, what: str) -> None:
        self._answer, self._what = answer, what
        self.sha256 = _read_digest(answer.headers.get("Repr-Digest", ""))
        self.size_bytes = int(answer.headers.get("Content-Length") or 0)

    def save(self, target: Path) -> None:
        """
        Raises:
            TornError: the bytes are not those that were announced; nothing is left behind.
            NetworkError: they stopped coming; neither is then.
            OSError: `target` cannot be written.
            Stopped: the run has been asked to stop; neither is then.
        """
        digest = hashlib.sha256()
        try:
            with target.open("xb") as file:
                while chunk := self._read():
                    raise_if_stopped()
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != self.sha256:
                raise TornError("a file has changed on its way from the control plane", file=self._what)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _read(self) -> bytes:
        try:
            chunk = self._answer.read(_CHUNK_BYTES)
            if not chunk and self._answer.length:
                # Cut off, of which `read` says nothing.
                raise http.client.IncompleteRead(chunk, self._answer.length)
            return chunk
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError("the control plane stopped sending a file", file=self._what, cause=str(error)) from error


class ServerFiles:
    """Can be pickled. What its methods raise, `ControlPlane` says."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    def listing(self) -> list[UploadedFile]:
        """All of the job."""
        with self._control_plane.open("GET", "/files") as answer:
            return FileList.model_validate_json(_read_all(answer)).files

    @contextmanager
    def reading(self, path: str) -> Iterator[Incoming]:
        """
        Args:
            path: in the job's folder.
        """
        with self._control_plane.open("GET", _address(path), timeout_s=_TIMEOUT_S) as answer:
            yield Incoming(answer, path)

    @contextmanager
    def reading_checkpoint(self, job_id: str, name: str) -> Iterator[Incoming]:
        """One of another job, to which this one's spec refers."""
        path = f"/checkpoints/{urllib.parse.quote(job_id, safe='')}/{urllib.parse.quote(name, safe='')}"
        with self._control_plane.open("GET", path, timeout_s=_TIMEOUT_S) as answer:
            yield Incoming(answer, f"job:{job_id}/{name}")

    def put(self, path: str, content: BinaryIO, *, size_bytes: int, sha256: str) -> UploadedFile:
        """Keep a file whole, in place of what lies there.

        Args:
            path: in the job's folder, below this attempt's own.
            content: read from its beginning.
        """
        content.seek(0)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size_bytes),
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        }
        with self._control_plane.open(
            "PUT", _address(path), body=content, headers=headers, timeout_s=_TIMEOUT_S
        ) as answer:
            said = _read_all(answer)
        try:
            return UploadedFile.model_validate_json(said)
        except ValidationError as error:
            raise NetworkError(
                "what answers is not the control plane; check FGD_URL", path=path, answer=said[:200].decode("latin1")
            ) from error

    def delete(self, path: str) -> None:
        self._control_plane.open("DELETE", _address(path)).close()


def _address(path: str) -> str:
    return f"/files/{urllib.parse.quote(path)}"


def _read_all(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise NetworkError("the control plane stopped in mid-answer", cause=str(error)) from error


def _read_digest(header: str) -> str | None:
    """In hexadecimal; None where there is none that can be read."""
    for part in header.split(","):
        algorithm, _, value = part.strip().partition("=")
        if algorithm == "sha-256":
            try:
                return base64.b64decode(value.strip(":"), validate=True).hex()
            except binascii.Error:
                return None
    return None
