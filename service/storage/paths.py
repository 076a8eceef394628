"""Defines the paths inside a storage and checks them."""

from pathlib import PurePosixPath

from service.storage.base import Storage

JOBS = "jobs"
_MAX_BYTES = 900
"""S3 allows 1,024 for a key, including the storage's prefix."""
_MAX_NAME_BYTES = 200
"""Disks allow 255, and the partial file of an upload has a longer name."""


def job_folder(job_id: str) -> str:
    """Return the path of a job's folder."""
    return f"{JOBS}/{job_id}"


def of_job(storage: Storage, job_id: str, uri: str) -> str | None:
    """Return the path of a file in the job's own folder; None for any other URI that a run may have reported."""
    path = storage.path_of(uri)
    return path if path is not None and path.startswith(f"{job_folder(job_id)}/") else None


def is_plain(path: str) -> bool:
    """Return whether a relative path names a file inside its folder in every kind of storage."""
    names = path.split("/")
    return (
        len(path.encode(errors="surrogatepass")) <= _MAX_BYTES
        and path.isprintable()
        and "\\" not in path
        and all(name not in ("", ".", "..") and len(name.encode()) <= _MAX_NAME_BYTES for name in names)
    )


def name_of(path: str) -> str:
    """Return the last part of a path."""
    return PurePosixPath(path).name
