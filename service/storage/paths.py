"""Names within a storage."""

from pathlib import PurePosixPath

from service.storage.base import Storage

JOBS = "jobs"
_MAX_BYTES = 900
"""S3 takes 1,024 for a key, the storage's own prefix among them."""
_MAX_NAME_BYTES = 200
"""Disks take 255, and a file on its way in has a longer name."""


def job_folder(job_id: str) -> str:
    return f"{JOBS}/{job_id}"


def of_job(storage: Storage, job_id: str, uri: str) -> str | None:
    """The path of a job's own file; None for everything else, however a run came to name it."""
    path = storage.path_of(uri)
    return path if path is not None and path.startswith(f"{job_folder(job_id)}/") else None


def is_plain(path: str) -> bool:
    """Whether it names a file below the folder that it is put behind, and nothing else, in every storage."""
    names = path.split("/")
    return (
        len(path.encode(errors="surrogatepass")) <= _MAX_BYTES
        and path.isprintable()
        and "\\" not in path
        and all(name not in ("", ".", "..") and len(name.encode()) <= _MAX_NAME_BYTES for name in names)
    )


def name_of(path: str) -> str:
    return PurePosixPath(path).name
