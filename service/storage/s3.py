"""A storage in a bucket of an S3 service, through fsspec's s3fs.

Endpoint, credentials and region come from the variables that all S3 clients know: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION and so on.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, TypeVar, cast

import fsspec

from service.jobs.retention import StoredFile
from service.storage import errors, paths
from service.storage.base import BLOCK_BYTES, OpenedFile, Upload, digest_of
from service.storage.s3_errors import translated

_Result = TypeVar("_Result")

_CONNECT_S = 5
_READ_S = 30
_ATTEMPTS = 3
"""By the client itself; s3fs then tries once more."""
_READ_AHEAD_BYTES = 4 << 20
_PART_BYTES = 8 << 20
_MAX_PARTS = 9_000
_DELETED_AT_ONCE = 1000
_SHA256 = "sha256"
"""Goes with the object as metadata, for S3 knows no digest of what came in parts."""


class S3Storage:
    """
    Args:
        prefix: below which all of it lies in the bucket; may be empty.
    """

    folder: Path | None = None

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._uri = f"s3://{bucket}/{prefix}".rstrip("/")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self._s3 = fsspec.filesystem(
            "s3",
            # What another process has written must be seen, and another instance's endpoint must not be taken over.
            use_listings_cache=False,
            skip_instance_cache=True,
            client_kwargs={"region_name": region} if region else {},
            config_kwargs={
                "connect_timeout": _CONNECT_S,
                "read_timeout": _READ_S,
                "retries": {"total_max_attempts": _ATTEMPTS, "mode": "standard"},
            },
        )
        self._s3.retries = 2

    @property
    def uri(self) -> str:
        return self._uri

    def check(self) -> None:
        path = f".check-{token_hex(4)}"
        self.ping()
        self.write(path, b"fgd")
        self.delete(path)

    def ping(self) -> None:
        self._call("list_objects_v2", Prefix=self._prefix, MaxKeys=1)

    def uri_of(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def path_of(self, uri: str) -> str | None:
        path = uri.removeprefix(f"{self.uri}/")
        return path if path != uri and paths.is_plain(path) else None

    def find(self, path: str) -> StoredFile | None:
        head = self._head(path)
        return StoredFile(path, head["ContentLength"], _seconds(head["LastModified"])) if head is not None else None

    def listing(self, folder: str = "") -> list[StoredFile]:
        prefix = f"{self._prefix}{folder}/" if folder else self._prefix
        return [
            StoredFile(item["Key"].removeprefix(prefix), item["Size"], _seconds(item["LastModified"]))
            for page in self._pages(Prefix=prefix)
            for item in page.get("Contents", ())
            # Some tools mark "folders" so.
            if not item["Key"].endswith("/")
        ]

    def folder_names(self, folder: str) -> list[str]:
        prefix = f"{self._prefix}{folder}/"
        found = (name for page in self._pages(Prefix=prefix, Delimiter="/") for name in _folders(page))
        return sorted(name.removeprefix(prefix).rstrip("/") for name in found)

    def open(self, path: str) -> OpenedFile:
        def opened() -> Any:
            return self._s3.open(f"{self._bucket}/{self._key(path)}", "rb", block_size=_READ_AHEAD_BYTES)

        file = self._done(opened, path)
        if file.details["type"] != "file":
            raise errors.gone(self.uri_of(path))
        return OpenedFile(
            cast(BinaryIO, _Reading(file, self._done, path)), file.size, _seconds(file.details["LastModified"])
        )

    def read(self, path: str) -> bytes:
        with self.open(path).file as file:
            return file.read()

    def sha256(self, path: str) -> str:
        head = self._head(path)
        if head is None:
            raise errors.gone(self.uri_of(path))
        known = head.get("Metadata", {}).get(_SHA256)
        if known:
            return str(known)
        with self.open(path).file as file:
            return digest_of(file)

    def write(self, path: str, content: bytes) -> None:
        metadata = {_SHA256: hashlib.sha256(content).hexdigest()}
        self._call("put_object", path, Body=content, Metadata=metadata)

    def writing(self, path: str, *, size_bytes: int, sha256: str | None = None) -> "S3Upload":
        metadata = {_SHA256: sha256} if sha256 else {}

        def call(method: str, **named: Any) -> Any:
            return self._call(method, path, **named)

        return S3Upload(call, metadata, part_bytes=max(_PART_BYTES, -(-size_bytes // _MAX_PARTS)))

    def delete(self, path: str, *, modified_at: datetime | None = None) -> None:
        if modified_at is not None:
            present = self.find(path)
            if present is None or present.modified_at != modified_at:
                return
        self._call("delete_object", path)

    def delete_folder(self, folder: str) -> None:
        pages = self._pages(Prefix=f"{self._key(folder)}/")
        keys = [{"Key": item["Key"]} for page in pages for item in page.get("Contents", ())]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            refused = self._call("delete_objects", Delete=some).get("Errors")
            if refused:
                raise errors.StorageRefusedError(
                    f"cannot delete {refused[0]['Key']} in {self.uri}: {refused[0].get('Message')}; "
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
            self._download(path, Path(copy.name))
            yield Path(copy.name)

    def abort_uploads(self, *, before: datetime, dry_run: bool = False) -> int:
        found = self._call("list_multipart_uploads", Prefix=self._prefix).get("Uploads", ())
        old = [upload for upload in found if upload["Initiated"] < before]
        for upload in old if not dry_run else ():
            path = upload["Key"].removeprefix(self._prefix)
            # It may have come to its end in this moment, or to the bucket's own rules.
            with suppress(errors.FileGoneError):
                self._call("abort_multipart_upload", path, UploadId=upload["UploadId"])
        return len(old)

    def _download(self, path: str, to: Path) -> None:
        # Once more where it was replaced meanwhile: a run's checkpoint is, every few minutes.
        for is_last_try in (False, False, True):
            try:
                with self.open(path).file as file, to.open("wb") as copy:
                    while block := file.read(BLOCK_BYTES):
                        copy.write(block)
                return
            except errors.FileChangedError:
                if is_last_try:
                    raise
            except OSError as cause:
                raise errors.from_os_error("write", str(to), cause) from cause

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _head(self, path: str) -> Mapping[str, Any] | None:
        if not paths.is_plain(path):
            return None
        try:
            head: Mapping[str, Any] = self._call("head_object", path)
        except errors.FileGoneError:
            return None
        return head

    def _pages(self, **named: Any) -> Iterator[Mapping[str, Any]]:
        token: str | None = None
        while True:
            page = self._call("list_objects_v2", **named, **({"ContinuationToken": token} if token else {}))
            yield page
            if not page.get("IsTruncated"):
                return
            token = page["NextContinuationToken"]

    def _call(self, method: str, path: str | None = None, **named: Any) -> Any:
        where = {"Bucket": self._bucket} | ({"Key": self._key(path)} if path is not None else {})
        return self._done(lambda: self._s3.call_s3(method, **where, **named), path)

    def _done(self, work: Callable[[], _Result], path: str | None) -> _Result:
        """Do it, with errors that name the bucket and the cure."""
        try:
            return work()
        except Exception as cause:
            uri = self.uri_of(path) if path is not None else self.uri
            error = translated(cause, bucket=self._bucket, uri=uri, is_file=path is not None)
            if error is None:
                raise
            raise error from cause


class S3Upload(Upload):
    """What is small comes as one object, the rest in parts that become one at the end."""

    def __init__(self, call: Callable[..., Any], metadata: Mapping[str, str], *, part_bytes: int) -> None:
        self._call = call
        self._metadata = metadata
        self._part_bytes = part_bytes
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, block: bytes) -> None:
        self._buffer += block
        if len(self._buffer) >= self._part_bytes:
            self._send_part()

    def commit(self) -> None:
        if self._upload_id is None:
            self._call("put_object", Body=bytes(self._buffer), Metadata=self._metadata)
            return
        if self._buffer:
            self._send_part()
        self._call("complete_multipart_upload", UploadId=self._upload_id, MultipartUpload={"Parts": self._parts})
        self._upload_id = None

    def discard(self) -> None:
        if self._upload_id is not None:
            # Where the service is away, housekeeping does it later.
            with suppress(Exception):
                self._call("abort_multipart_upload", UploadId=self._upload_id)
            self._upload_id = None

    def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._call("create_multipart_upload", Metadata=self._metadata)["UploadId"]
        number = len(self._parts) + 1
        sent = self._call("upload_part", UploadId=self._upload_id, PartNumber=number, Body=bytes(self._buffer))
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._buffer.clear()


class _Reading(io.RawIOBase):
    """An object as a file. It is fetched piece by piece, all of them of the object that was there at first."""

    def __init__(self, file: Any, done: Callable[[Callable[[], Any], str], Any], path: str) -> None:
        self._file = file
        self._done = done
        self._path = path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._done(lambda: self._file.read(size), self._path)
        return block

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()


def _folders(page: Mapping[str, Any]) -> Iterator[str]:
    for found in page.get("CommonPrefixes", ()):
        yield found["Prefix"]


def _seconds(moment: datetime) -> datetime:
    """Whole seconds: a list tells of more than a look at the one file does."""
    return moment.astimezone(UTC).replace(microsecond=0)
