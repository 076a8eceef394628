"""Restores a backup into an empty database and storage: either all of it or nothing."""

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError, StorageError
from service.home import make_private, unnoted
from service.housekeeping import archive
from service.housekeeping.archive import BackupError, Manifest
from service.housekeeping.backup import PATIENT, SECRET, STORAGE, TABLES, OnProgress
from service.settings import Settings
from service.storage import threads
from service.storage.base import BLOCK_BYTES, Storage
from service.storage.choosing import storage_of
from service.store import dump, migrate
from service.store.session import Database
from service.store.tables.json_values import JsonObject

_RESTORING = ".restoring"
"""Exists in the storage while a restore copies files. If the restore is killed, the next one may start over."""


async def restore(settings: Settings, path: Path, *, on_progress: OnProgress = lambda *_: None) -> Manifest:
    """Verify the backup, then restore the storage, the secret and the database from it.

    The next server to start adopts the jobs that ran at the time of the backup, or marks them lost, by its usual rules.
    The kind of storage may differ from that of the backup.

    Raises:
        BackupError: the file is not a complete backup.
        SchemaTooNewError: a newer version of fgd created the backup.
        ConflictError: the database is not empty, or the storage has files where the backup has some.
        StorageError: the files or the secret cannot be written.
    """
    manifest = await asyncio.to_thread(archive.verify, path, _progress_sum("checking", _size_bytes(path), on_progress))
    migrate.check_known(manifest.schema_revision)
    database, storage = Database(settings.database.url, PATIENT), storage_of(settings)
    try:
        make_private(settings.home, settings.database.url, note=unnoted)
        revision = await _revision_if_empty(database, settings)
        await threads.run(_check_storage, manifest, storage)
        await asyncio.to_thread(_migrate, settings.database.url, revision, manifest.schema_revision)
        try:
            secret = await threads.run(_unpack, path, manifest, storage, on_progress)
            async with database.writing() as session:
                await _load(session, path, manifest, storage, on_progress)
                # Just before the commit: if the restore is killed in between, the database is still empty.
                await threads.run(_write_secret, secret, storage, settings)
        except BaseException:
            await threads.run(_clear, manifest, storage)
            raise
        await asyncio.to_thread(migrate.upgrade, settings.database.url)
    finally:
        await database.close()
    return manifest


async def _revision_if_empty(database: Database, settings: Settings) -> str | None:
    """Return the schema revision of the database; None if it has no schema.

    Raises:
        ConflictError: a table has rows.
    """
    async with database.reading() as session:
        for table in await dump.tables(session):
            num_rows = await dump.count(session, table)
            if num_rows:
                raise ConflictError(
                    f"the database is not empty: it has {num_rows} {table.name.replace('_', ' ')}; "
                    "restore into a new one with another --home or --database-url",
                    home=str(settings.home),
                )
        return await migrate.current_revision(session)


def _check_storage(manifest: Manifest, storage: Storage) -> None:
    if storage.find(_RESTORING) is not None:
        # A killed restore wrote these files: it also started with an empty storage.
        _clear(manifest, storage)
    for name in _top_level_names(manifest):
        if storage.find(name) is not None or storage.listing(name) or storage.folder_names(name):
            where = storage.uri_of(name)
            raise ConflictError(
                f"the backup contains files, but {where} already exists; move it away, or choose another --home or "
                "FGD_STORAGE_URL",
                uri=where,
            )


def _top_level_names(manifest: Manifest) -> list[str]:
    """Return the names of the folders and files at the top level of the backup's storage."""
    files = (part.name.removeprefix(STORAGE) for part in manifest.parts if part.name.startswith(STORAGE))
    return sorted({name.partition("/")[0] for name in files})


def _clear(manifest: Manifest, storage: Storage) -> None:
    """Delete the files that an unfinished restore has written."""
    for name in _top_level_names(manifest):
        if storage.find(name) is not None:
            storage.delete(name)
        else:
            storage.delete_folder(name)
    storage.delete(_RESTORING)


def _migrate(database_url: str, present: str | None, wanted: str) -> None:
    """Migrate an empty database, up or down, to the revision of the backup."""
    if present not in (None, wanted):
        migrate.downgrade(database_url, "base")
    migrate.upgrade(database_url, wanted)


def _unpack(path: Path, manifest: Manifest, storage: Storage, on_progress: OnProgress) -> bytes | None:
    """Copy the files of the backup to the storage; return the secret, or None if the backup has none."""
    secret: bytes | None = None
    digests = {part.name: part.sha256 for part in manifest.parts}
    num_bytes = sum(part.size_bytes for part in manifest.parts if part.name.startswith(STORAGE))
    add_bytes = _progress_sum("files", num_bytes, on_progress)
    storage.write(_RESTORING, manifest.created_at.isoformat().encode())
    for entry, content in archive.entries(path):
        if entry.name == SECRET:
            secret = content.read()
        if not entry.name.startswith(STORAGE):
            continue
        where = entry.name.removeprefix(STORAGE)
        with storage.writing(where, size_bytes=entry.size, sha256=digests.get(entry.name)) as upload:
            while block := content.read(BLOCK_BYTES):
                upload.write(block)
            upload.commit()
        add_bytes(entry.size)
    return secret


async def _load(
    session: AsyncSession, path: Path, manifest: Manifest, storage: Storage, on_progress: OnProgress
) -> None:
    """Insert the rows of all tables.

    Raises:
        BackupError: the backup has a table that the schema does not have, or a wrong number of rows.
    """
    change_uris = _uri_changer(manifest.storage_uri, storage)
    add_rows = _progress_sum("rows", sum(part.num_rows or 0 for part in manifest.parts), on_progress)
    tables = {table.name: table for table in await dump.tables(session)}
    # The archive stores a table after the tables that its rows refer to.
    for entry, content in archive.entries(path):
        if not entry.name.startswith(TABLES):
            continue
        part = manifest.part(entry.name)
        table = tables.get(entry.name.removeprefix(TABLES).removesuffix(".jsonl.gz"))
        if part is None or table is None:
            raise BackupError(f"{path} contains {entry.name}, which is not a table of its schema", path=str(path))
        num_rows = 0
        with gzip.open(content) as lines:
            async for num_more in dump.load(session, table, part.columns, lines, change_uris):
                num_rows += num_more
                add_rows(num_more)
        if num_rows != part.num_rows:
            raise BackupError(
                f"{path}: expected {part.num_rows} rows in {entry.name}, found {num_rows}; use another copy of it",
                path=str(path),
            )
        await dump.continue_numbering(session, table)


def _uri_changer(from_uri: str, storage: Storage) -> dump.Change:
    """Return a function that replaces the backup's storage URI by the current one in each column that has URIs."""

    def moved(value: object) -> object:
        if isinstance(value, str) and value.startswith(f"{from_uri}/"):
            path = value.removeprefix(f"{from_uri}/")
            return storage.uri_of(unquote(path) if from_uri.startswith("file:") else path)
        if isinstance(value, dict):
            return {name: moved(each) for name, each in value.items()}
        return [moved(each) for each in value] if isinstance(value, list) else value

    def change(table: str, row: JsonObject) -> None:
        for column in _NAMING_FILES.get(table, ()):
            row[column] = moved(row[column])

    return change


_NAMING_FILES = {"artifacts": ("uri",), "events": ("data",), "jobs": ("result",)}


def _write_secret(secret: bytes | None, storage: Storage, settings: Settings) -> None:
    """Write the secret, if there is one, and delete the mark of the unfinished restore."""
    path = settings.home / "secret"
    try:
        if secret is not None:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secret)
            path.chmod(0o600)
    except OSError as cause:
        raise StorageError(
            f"cannot write {path}: {cause.strerror}; check that the folder belongs to this user",
            home=str(settings.home),
        ) from cause
    storage.delete(_RESTORING)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _progress_sum(what: str, total: int, on_progress: OnProgress) -> Callable[[int], None]:
    """Return a function that adds an amount to the progress of a step and reports the sum."""
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        on_progress(what, min(done, total), total)

    return add
