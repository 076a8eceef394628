"""Stores files in a bucket of an S3 service, through boto3.

Endpoint, credentials and region come from the variables that all S3 clients read: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION and so on.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from typing_extensions import Buffer

from fgd_core.errors import StorageError
from fgd_core.retrying import RetryPolicy, retry
from service.jobs.retention import StoredFile
from service.storage import errors, paths, threads
from service.storage.base import BLOCK_BYTES, OpenedFile, Upload, digest_of
from service.storage.s3_errors import translated

Answer: TypeAlias = Mapping[str, Any]
"""What S3 answers, as botocore parses it."""

_CLIENT = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 3, "mode": "standard"},
    max_pool_connections=threads.NUM_THREADS,
)
# The client itself retries a request, but not a response that breaks off half-way.
_READING = RetryPolicy(max_tries=2, longest_pause_s=1.0)
# A run replaces its checkpoint every few minutes: a copy may have to start over.
_COPYING = RetryPolicy(max_tries=3, longest_pause_s=0.1)
_READ_AHEAD_BYTES = 4 << 20
_PART_BYTES = 8 << 20
_MAX_PARTS = 9_000
_MAX_DELETIONS = 1000
"""Most objects that S3 deletes in one request."""
_SHA256 = "sha256"
"""Key of the digest in the object's metadata: S3 does not compute the SHA-256 of an object uploaded in parts."""


class S3Storage:
    """Stores files as objects of one bucket.

    Args:
        prefix: the path in the bucket below which all objects are stored; may be empty.
    """

    folder: Path | None = None

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._uri = f"s3://{bucket}/{prefix}".rstrip("/")
        # boto3 itself reads AWS_DEFAULT_REGION only.
        self._client = Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=_CLIENT)

    @property
    def uri(self) -> str:
        return self._uri

    def check(self) -> None:
        path = f".check-{token_hex(4)}"
        self.ping()
        self.write(path, b"fgd")
        self.delete(path)

    def ping(self) -> None:
        self.call("list_objects_v2", Prefix=self._prefix, MaxKeys=1)

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def path_of(self, uri: str) -> str | None:
        path = uri.removeprefix(f"{self.uri}/")
        return path if path != uri and paths.is_plain(path) else None

    def find(self, path: str) -> StoredFile | None:
        head = self._head(path)
        return StoredFile(path, head.size_bytes, head.modified_at) if head is not None else None

    def listing(self, folder: str = "") -> list[StoredFile]:
        prefix = f"{self._prefix}{folder}/" if folder else self._prefix
        return [
            StoredFile(item["Key"].removeprefix(prefix), item["Size"], _whole_seconds(item["LastModified"]))
            for page in self.pages("list_objects_v2", Prefix=prefix)
            for item in page.get("Contents", ())
            # Some tools store an empty object with such a key to mark a folder.
            if not item["Key"].endswith("/")
        ]

    def folder_names(self, folder: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        pages = self.pages("list_objects_v2", Prefix=prefix, Delimiter="/")
        found = (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ()))
        return sorted(name.removeprefix(prefix).rstrip("/") for name in found)

    def open(self, path: str) -> OpenedFile:
        head = self._existing_head(path)
        file = io.BufferedReader(_ObjectReader(self, path, head), _READ_AHEAD_BYTES)
        return OpenedFile(cast(BinaryIO, file), head.size_bytes, head.modified_at)

    def read(self, path: str) -> bytes:
        with self.open(path).file as file:
            return file.read()

    def sha256(self, path: str) -> str:
        known = self._existing_head(path).sha256
        if known:
            return known
        with self.open(path).file as file:
            return digest_of(file)

    def write(self, path: str, content: bytes) -> None:
        self.call("put_object", path, Body=content, Metadata={_SHA256: hashlib.sha256(content).hexdigest()})

    def writing(self, path: str, *, size_bytes: int, sha256: str | None = None) -> "S3Upload":
        metadata = {_SHA256: sha256} if sha256 else {}
        return S3Upload(self, path, metadata, part_bytes=max(_PART_BYTES, -(-size_bytes // _MAX_PARTS)))

    def delete(self, path: str, *, modified_at: datetime | None = None) -> None:
        if modified_at is not None:
            present = self.find(path)
            if present is None or present.modified_at != modified_at:
                return
        self.call("delete_object", path)

    def delete_folder(self, folder: str) -> None:
        pages = self.pages("list_objects_v2", Prefix=f"{self._prefix}{folder}/")
        keys = [{"Key": item["Key"]} for page in pages for item in page.get("Contents", ())]
        for start in range(0, len(keys), _MAX_DELETIONS):
            batch = {"Objects": keys[start : start + _MAX_DELETIONS], "Quiet": True}
            failures = self.call("delete_objects", Delete=batch).get("Errors")
            if failures:
                raise errors.StorageRefusedError(
                    f"cannot delete {failures[0]['Key']} in {self.uri}: {failures[0].get('Message')}; "
                    "give these credentials the right to delete",
                    uri=self.uri_of(folder),
                )

    def local_path(self, path: str) -> Path | None:
        return None

    @contextmanager
    def local_copy(self, path: str, *, near: Path | None = None, max_bytes: int | None = None) -> Iterator[Path]:
        found = self.find(path)
        if found is None or (max_bytes is not None and found.size_bytes > max_bytes):
            raise errors.gone(self.uri_of(path))
        with tempfile.NamedTemporaryFile(dir=near, prefix="fgd-") as copy:
            retry(lambda: self._download(path, Path(copy.name)), on=errors.FileChangedError, policy=_COPYING)
            yield Path(copy.name)

    def abort_uploads(self, *, before: datetime, dry_run: bool = False) -> int:
        pages = self.pages("list_multipart_uploads", Prefix=self._prefix)
        old = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Initiated"] < before]
        for upload in old if not dry_run else ():
            # Its writer may complete the upload meanwhile, or a rule of the bucket may abort it.
            with suppress(errors.FileGoneError):
                path = upload["Key"].removeprefix(self._prefix)
                self.call("abort_multipart_upload", path, UploadId=upload["UploadId"])
        return len(old)

    def call(self, operation: str, path: str | None = None, **parameters: object) -> Answer:
        """Call one S3 operation.

        Args:
            path: of the object that the operation is about; None if it is about the bucket.
        Raises:
            StorageError: the operation failed; the message names the bucket or the file and the cure.
            FileGoneError: the object does not exist.
        """
        if path is not None:
            parameters["Key"] = self._prefix + path
        with self.translating(path):
            answer: Answer = getattr(self._client, operation)(Bucket=self._bucket, **parameters)
            return answer

    def pages(self, operation: str, **parameters: object) -> Iterator[Answer]:
        """Yield the pages of an S3 operation that lists the bucket.

        Raises:
            StorageError: the operation failed.
        """
        with self.translating(None):
            yield from self._client.get_paginator(operation).paginate(Bucket=self._bucket, **parameters)

    @contextmanager
    def translating(self, path: str | None) -> Iterator[None]:
        """Raise errors of the S3 client as our own, which name the bucket or the file and the cure."""
        try:
            yield
        except (BotoCoreError, ClientError) as cause:
            uri = self.uri_of(path) if path is not None else self.uri
            raise translated(cause, bucket=self._bucket, uri=uri, is_file=path is not None) from cause

    def _download(self, path: str, target: Path) -> None:
        with self.open(path).file as file:
            try:
                with target.open("wb") as copy:
                    while block := file.read(BLOCK_BYTES):
                        copy.write(block)
            except OSError as cause:
                raise errors.from_os_error("write", str(target), cause) from cause

    def _head(self, path: str) -> "_Head | None":
        if not paths.is_plain(path):
            return None
        try:
            head = self.call("head_object", path)
        except errors.FileGoneError:
            return None
        modified_at = _whole_seconds(head["LastModified"])
        return _Head(head["ContentLength"], modified_at, head["ETag"], head.get("Metadata", {}).get(_SHA256))

    def _existing_head(self, path: str) -> "_Head":
        head = self._head(path)
        if head is None:
            raise errors.gone(self.uri_of(path))
        return head


class S3Upload(Upload):
    """Uploads a small file as one object, and a large one in parts that S3 joins at the end."""

    def __init__(self, storage: S3Storage, path: str, metadata: Mapping[str, str], *, part_bytes: int) -> None:
        self._storage = storage
        self._path = path
        self._metadata = metadata
        self._part_bytes = part_bytes
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, object]] = []

    def write(self, block: bytes) -> None:
        self._buffer += block
        if len(self._buffer) >= self._part_bytes:
            self._send_part()

    def commit(self) -> None:
        if self._upload_id is None:
            self._storage.call("put_object", self._path, Body=bytes(self._buffer), Metadata=self._metadata)
            return
        if self._buffer:
            self._send_part()
        parts = {"Parts": self._parts}
        self._storage.call("complete_multipart_upload", self._path, UploadId=self._upload_id, MultipartUpload=parts)
        self._upload_id = None

    def discard(self) -> None:
        if self._upload_id is not None:
            # If the service does not answer, a later housekeeping pass aborts the upload.
            with suppress(StorageError, errors.FileGoneError):
                self._storage.call("abort_multipart_upload", self._path, UploadId=self._upload_id)
            self._upload_id = None

    def _send_part(self) -> None:
        if self._upload_id is None:
            created = self._storage.call("create_multipart_upload", self._path, Metadata=self._metadata)
            self._upload_id = created["UploadId"]
        part = {"UploadId": self._upload_id, "PartNumber": len(self._parts) + 1}
        sent = self._storage.call("upload_part", self._path, Body=bytes(self._buffer), **part)
        self._parts.append({"PartNumber": part["PartNumber"], "ETag": sent["ETag"]})
        self._buffer.clear()


class _Head(NamedTuple):
    size_bytes: int
    modified_at: datetime
    etag: str
    sha256: str | None


class _ObjectReader(io.RawIOBase):
    """Reads ranges of an object; every range is of the version that was opened.

    Raises:
        FileChangedError: another version has replaced it.
    """

    def __init__(self, storage: S3Storage, path: str, head: _Head) -> None:
        self._storage = storage
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
        body = self._storage.call("get_object", self._path, **wanted)["Body"]
        with self._storage.translating(self._path):
            block: bytes = body.read()
            return block


def _whole_seconds(moment: datetime) -> datetime:
    """Return a time without its fraction of a second, which S3 reports in a listing but not for a single object."""
    return moment.astimezone(UTC).replace(microsecond=0)
