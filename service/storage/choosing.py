"""The storage that the settings mean."""

import importlib

from service.settings import Settings
from service.storage.base import Storage
from service.storage.folder import FolderStorage
from service.urls import Bucket, place_of


def storage_of(settings: Settings) -> Storage:
    place = place_of(settings.storage_url) if settings.storage_url is not None else settings.storage_dir
    if not isinstance(place, Bucket):
        return FolderStorage(place)
    # By name and only now: the S3 client takes a second and 40 MB, and most servers keep a folder.
    storage: Storage = importlib.import_module("service.storage.s3").S3Storage(place.name, place.prefix)
    return storage
