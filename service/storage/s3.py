"""Stores files in a bucket of an S3 service."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from fgd_core.retrying import RetryPolicy, retry
from service.jobs.retention import StoredFile
from service.storage import errors, paths
from service.storage.base import BLOCK_BYTES, OpenedFile, Storage, digest_of
from service.storage.s3_bucket import S3Bucket
from service.storage.s3_files import ObjectHead, S3Upload, open_object

# A run replaces its checkpoint every few minutes: a copy may have to start over.
_COPYING = RetryPolicy(max_tries=3, longest_pause_s=0.1)
_MAX_DELETIONS = 1000
"""Most objects that S3 deletes in one request."""
_SHA256 = "sha256"
"""Key of the digest in the object's metadata: S3 does not compute the SHA-256 of an object uploaded in parts."""


class S3Storage(Storage):
    """Stores files as objects of one bucket.

    Args:
        prefix: the path in the bucket below which all objects are stored; may be empty.
    """

    folder: Path | None = None

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = S3Bucket(bucket, prefix)

    @property
    def uri(self) -> str:
        return self._bucket.uri

    def ping(self) -> None:
        self._bucket.call("list_objects_v2", Prefix=self._bucket.prefix, MaxKeys=1)

    def uri_of(self, path: str) -> str:
        return self._bucket.uri_of(path)

    def path_of(self, uri: str) -> str | None:
        path = uri.removeprefix(f"{self.uri}/")
        return path if path != uri and paths.is_plain(path) else None

    def find(self, path: str) -> StoredFile | None:
        head = self._head(path)
        return StoredFile(path, head.size_bytes, head.modified_at) if head is not None else None

    def listing(self, folder: str = "") -> list[StoredFile]:
        prefix = f"{self._bucket.prefix}{folder}/" if folder else self._bucket.prefix
        return [
            StoredFile(item["Key"].removeprefix(prefix), item["Size"], _whole_seconds(item["LastModified"]))
            for page in self._bucket.pages("list_objects_v2", Prefix=prefix)
            for item in page.get("Contents", ())
            # Some tools store an empty object with such a key to mark a folder.
            if not item["Key"].endswith("/")
        ]

    def folder_names(self, folder: str) -> list[str]:
        prefix = f"{self._bucket.prefix}{folder}/"
        pages = self._bucket.pages("list_objects_v2", Prefix=prefix, Delimiter="/")
        found = (item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ()))
        return sorted(name.removeprefix(prefix).rstrip("/") for name in found)

    def open(self, path: str) -> OpenedFile:
        head = self._existing_head(path)
        return OpenedFile(open_object(self._bucket, path, head), head.size_bytes, head.modified_at)

    def sha256(self, path: str) -> str:
        known = self._existing_head(path).sha256
        if known:
            return known
        with self.open(path).file as file:
            return digest_of(file)

    def write(self, path: str, content: bytes) -> None:
        self._bucket.call("put_object", path, Body=content, Metadata={_SHA256: hashlib.sha256(content).hexdigest()})

    def writing(self, path: str, *, size_bytes: int, sha256: str | None = None) -> S3Upload:
        metadata = {_SHA256: sha256} if sha256 else {}
        return S3Upload(self._bucket, path, metadata, size_bytes=size_bytes)

    def delete(self, path: str, *, modified_at: datetime | None = None) -> None:
        if modified_at is not None:
            present = self.find(path)
            if present is None or present.modified_at != modified_at:
                return
        self._bucket.call("delete_object", path)

    def delete_folder(self, folder: str) -> None:
        pages = self._bucket.pages("list_objects_v2", Prefix=f"{self._bucket.prefix}{folder}/")
        keys = [{"Key": item["Key"]} for page in pages for item in page.get("Contents", ())]
        for start in range(0, len(keys), _MAX_DELETIONS):
            batch = {"Objects": keys[start : start + _MAX_DELETIONS], "Quiet": True}
            failures = self._bucket.call("delete_objects", Delete=batch).get("Errors")
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
        pages = self._bucket.pages("list_multipart_uploads", Prefix=self._bucket.prefix)
        old = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Initiated"] < before]
        for upload in old if not dry_run else ():
            # Its writer may complete the upload meanwhile, or a rule of the bucket may abort it.
            with suppress(errors.FileGoneError):
                path = upload["Key"].removeprefix(self._bucket.prefix)
                self._bucket.call("abort_multipart_upload", path, UploadId=upload["UploadId"])
        return len(old)

    def _download(self, path: str, target: Path) -> None:
        with self.open(path).file as file, errors.translating("write", str(target)), target.open("wb") as copy:
            while block := file.read(BLOCK_BYTES):
                copy.write(block)

    def _head(self, path: str) -> ObjectHead | None:
        if not paths.is_plain(path):
            return None
        try:
            head = self._bucket.call("head_object", path)
        except errors.FileGoneError:
            return None
        modified_at = _whole_seconds(head["LastModified"])
        return ObjectHead(head["ContentLength"], modified_at, head["ETag"], head.get("Metadata", {}).get(_SHA256))

    def _existing_head(self, path: str) -> ObjectHead:
        head = self._head(path)
        if head is None:
            raise errors.gone(self.uri_of(path))
        return head


def _whole_seconds(moment: datetime) -> datetime:
    """Return a time without its fraction of a second, which S3 reports in a listing but not for a single object."""
    return moment.astimezone(UTC).replace(microsecond=0)
