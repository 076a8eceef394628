"""Reads and writes one object of an S3 bucket as a file."""

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO, NamedTuple, cast

from typing_extensions import Buffer

from fgd_core.errors import StorageError
from fgd_core.retrying import RetryPolicy, retry
from service.storage import errors
from service.storage.base import Upload
from service.storage.s3_bucket import S3Bucket

# The client itself retries a request, but not a response that breaks off half-way.
_READING = RetryPolicy(max_tries=2, longest_pause_s=1.0)
_READ_AHEAD_BYTES = 4 << 20
_PART_BYTES = 8 << 20
_MAX_PARTS = 9_000


class ObjectHead(NamedTuple):
    """Describes one version of an object."""

    size_bytes: int
    modified_at: datetime
    etag: str
    sha256: str | None


def open_object(bucket: S3Bucket, path: str, head: ObjectHead) -> BinaryIO:
    """Return a buffered, seekable reader of one version of an object."""
    return cast(BinaryIO, io.BufferedReader(_ObjectReader(bucket, path, head), _READ_AHEAD_BYTES))


class S3Upload(Upload):
    """Uploads a small file as one object, and a large one in parts that S3 joins at the end."""

    def __init__(self, bucket: S3Bucket, path: str, metadata: Mapping[str, str], *, size_bytes: int) -> None:
        self._bucket = bucket
        self._path = path
        self._metadata = metadata
        self._part_bytes = max(_PART_BYTES, -(-size_bytes // _MAX_PARTS))
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, object]] = []

    def write(self, block: bytes) -> None:
        self._buffer += block
        if len(self._buffer) >= self._part_bytes:
            self._send_part()

    def commit(self) -> None:
        if self._upload_id is None:
            self._bucket.call("put_object", self._path, Body=bytes(self._buffer), Metadata=self._metadata)
            return
        if self._buffer:
            self._send_part()
        parts = {"Parts": self._parts}
        self._bucket.call("complete_multipart_upload", self._path, UploadId=self._upload_id, MultipartUpload=parts)
        self._upload_id = None

    def discard(self) -> None:
        if self._upload_id is not None:
            # If the service does not answer, a later housekeeping pass aborts the upload.
            with suppress(StorageError, errors.FileGoneError):
                self._bucket.call("abort_multipart_upload", self._path, UploadId=self._upload_id)
            self._upload_id = None

    def _send_part(self) -> None:
        if self._upload_id is None:
            created = self._bucket.call("create_multipart_upload", self._path, Metadata=self._metadata)
            self._upload_id = created["UploadId"]
        part = {"UploadId": self._upload_id, "PartNumber": len(self._parts) + 1}
        sent = self._bucket.call("upload_part", self._path, Body=bytes(self._buffer), **part)
        self._parts.append({"PartNumber": part["PartNumber"], "ETag": sent["ETag"]})
        self._buffer.clear()


class _ObjectReader(io.RawIOBase):
    """Reads ranges of an object; every range is of the version that was opened.

    Raises:
        FileChangedError: another version has replaced it.
    """

    def __init__(self, bucket: S3Bucket, path: str, head: ObjectHead) -> None:
        self._bucket = bucket
        self._path = path
        self._head = head
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._head.size_bytes}[whence]
        self._position = start + offset
        return self._position

    def readall(self) -> bytes:
        return self._fetch(self._head.size_bytes - self._position)

    def readinto(self, buffer: Buffer) -> int:
        target = memoryview(buffer)
        block = self._fetch(len(target))
        target[: len(block)] = block
        return len(block)

    def _fetch(self, num_bytes: int) -> bytes:
        end = min(self._position + num_bytes, self._head.size_bytes)
        if end <= self._position:
            return b""
        block = retry(lambda: self._fetch_once(end), on=errors.StorageAwayError, policy=_READING)
        self._position = end
        return block

    def _fetch_once(self, end: int) -> bytes:
        wanted = {"Range": f"bytes={self._position}-{end - 1}", "IfMatch": self._head.etag}
        body = self._bucket.call("get_object", self._path, **wanted)["Body"]
        with self._bucket.translating(self._path):
            block: bytes = body.read()
            return block
