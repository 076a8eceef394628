"""Opens the storage of the settings, and checks it when a server starts."""

import importlib
from collections.abc import Callable

from service.settings import Settings
from service.storage import threads
from service.storage.base import Storage
from service.storage.errors import StorageAwayError
from service.storage.folder import FolderStorage
from service.urls import Bucket, place_of


def storage_of(settings: Settings) -> Storage:
    """Return the storage that the settings name. Does not connect to it."""
    place = place_of(settings.storage.url) if settings.storage.url is not None else settings.storage.dir
    if not isinstance(place, Bucket):
        return FolderStorage(place)
    # Imported only if needed: the S3 client takes time and memory to load, and most servers use a folder.
    storage: Storage = importlib.import_module("service.storage.s3").S3Storage(place.name, place.prefix)
    return storage


async def check_at_startup(storage: Storage, report: Callable[[str], None]) -> None:
    """Write and delete a test file. If the storage does not answer, only report it: a server can start without it.

    Raises:
        StorageError: the storage answers but cannot be written, or the bucket does not exist.
    """
    try:
        await threads.run(storage.check)
    except StorageAwayError as error:
        report(f"starting without a storage for now: {error.message}")
