"""A backup's memory put into an empty database: all of it or nothing."""

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError, StorageError
from service.home import make_private, unnoted
from service.housekeeping import archive
from service.housekeeping.archive import BackupError, Manifest
from service.housekeeping.backup import PATIENT, SECRET, STORAGE, TABLES, Tell
from service.settings import Settings
from service.storage import threads
from service.storage.base import BLOCK_BYTES, Storage
from service.storage.choosing import storage_of
from service.store import dump, migrate
from service.store.session import Database

_RESTORING = ".restoring"
"""In the storage while files come into it, so that whoever is killed meanwhile can begin anew."""


async def restore(settings: Settings, path: Path, *, tell: Tell = lambda *_: None) -> Manifest:
    """Check the whole file, then fill the database, the storage and the secret from it.

    Jobs that ran when it was made are adopted or found lost by the server that starts next, by its usual rules. Into
    which kind of storage it goes is all the same.

    Raises:
        BackupError: the file is no whole backup.
        SchemaTooNewError: it was made by a newer version.
        ConflictError: the database, or the storage where the backup has files, is not empty.
        StorageError: something cannot be written.
    """
    manifest = await asyncio.to_thread(archive.verify, path, _sums("checking", _size_bytes(path), tell))
    migrate.check_known(manifest.schema_revision)
    database, storage = Database(settings.database_url, PATIENT), storage_of(settings)
    try:
        make_private(settings.home, settings.database_url, note=unnoted)
        revision = await _revision_if_empty(database, settings)
        await threads.run(_check_storage, manifest, storage)
        await asyncio.to_thread(_migrate, settings.database_url, revision, manifest.schema_revision)
        try:
            secret = await threads.run(_unpack, path, manifest, storage, tell)
            async with database.writing() as session:
                await _load(session, path, manifest, storage, tell)
                # The last thing before the rows: whoever is killed in between finds an empty database.
                await threads.run(_conclude, secret, storage, settings)
        except BaseException:
            await threads.run(_clear, manifest, storage)
            raise
        await asyncio.to_thread(migrate.upgrade, settings.database_url)
    finally:
        await database.close()
    return manifest


async def _revision_if_empty(database: Database, settings: Settings) -> str | None:
    """The revision that the database is at; None where it has no schema.

    Raises:
        ConflictError: it holds a row.
    """
    async with database.reading() as session:
        for table in await dump.tables(session):
            num_rows = await dump.count(session, table)
            if num_rows:
                raise ConflictError(
                    f"the database is not empty: it has {num_rows} {table.name.replace('_', ' ')}; "
                    "restore into a new one, with another --home or --database-url",
                    home=str(settings.home),
                )
        return await migrate.current_revision(session)


def _check_storage(manifest: Manifest, storage: Storage) -> None:
    if storage.find(_RESTORING) is not None:
        # All that is there was put there by a restore that was killed: it began with an empty storage, too.
        _clear(manifest, storage)
    for name in _tops(manifest):
        if storage.find(name) is not None or storage.listing(name) or storage.folder_names(name):
            where = storage.uri_of(name)
            raise ConflictError(
                f"the backup brings files, and {where} has some already; move it away, or give another --home or "
                "FGD_STORAGE_URL",
                uri=where,
            )


def _tops(manifest: Manifest) -> list[str]:
    """What the backup has right in the storage: folders, and maybe a file."""
    files = (part.name.removeprefix(STORAGE) for part in manifest.parts if part.name.startswith(STORAGE))
    return sorted({name.partition("/")[0] for name in files})


def _clear(manifest: Manifest, storage: Storage) -> None:
    """Take away what a restore that does not come to its end has put there."""
    for name in _tops(manifest):
        if storage.find(name) is not None:
            storage.delete(name)
        else:
            storage.delete_folder(name)
    storage.delete(_RESTORING)


def _migrate(database_url: str, present: str | None, wanted: str) -> None:
    """Bring an empty database to the revision of the backup, be it at an older or a newer one."""
    if present not in (None, wanted):
        migrate.downgrade(database_url, "base")
    migrate.upgrade(database_url, wanted)


def _unpack(path: Path, manifest: Manifest, storage: Storage, tell: Tell) -> bytes | None:
    """Put the files in the storage; the secret, if the backup has one."""
    secret: bytes | None = None
    digests = {part.name: part.sha256 for part in manifest.parts}
    say = _sums("files", sum(part.size_bytes for part in manifest.parts if part.name.startswith(STORAGE)), tell)
    storage.write(_RESTORING, manifest.created_at.isoformat().encode())
    for entry, content in archive.entries(path):
        if entry.name == SECRET:
            secret = content.read()
        if not entry.name.startswith(STORAGE):
            continue
        where = entry.name.removeprefix(STORAGE)
        with storage.writing(where, size_bytes=entry.size, sha256=digests.get(entry.name)) as incoming:
            while block := content.read(BLOCK_BYTES):
                incoming.write(block)
            incoming.commit()
        say(entry.size)
    return secret


async def _load(session: AsyncSession, path: Path, manifest: Manifest, storage: Storage, tell: Tell) -> None:
    move = _moving(manifest.storage_uri, storage)
    say = _sums("rows", sum(part.num_rows or 0 for part in manifest.parts), tell)
    tables = {table.name: table for table in await dump.tables(session)}
    # In the archive they are in the order in which rows may refer to each other.
    for entry, content in archive.entries(path):
        if not entry.name.startswith(TABLES):
            continue
        part = manifest.part(entry.name)
        table = tables.get(entry.name.removeprefix(TABLES).removesuffix(".jsonl.gz"))
        if part is None or table is None:
            raise BackupError(f"{path} holds {entry.name}, which its schema does not know", path=str(path))
        num_rows = 0
        with gzip.open(content) as lines:
            async for num_more in dump.load(session, table, part.columns, lines, move):
                num_rows += num_more
                say(num_more)
        if num_rows != part.num_rows:
            raise BackupError(f"{path}: {entry.name} has {num_rows} rows, not {part.num_rows}", path=str(path))
        await dump.number_on(session, table)


def _moving(from_uri: str, storage: Storage) -> Callable[[str, dict[str, Any]], None]:
    """Have rows name files where they are now, wherever in a row they do."""

    def moved(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(f"{from_uri}/"):
            path = value.removeprefix(f"{from_uri}/")
            return storage.uri_of(unquote(path) if from_uri.startswith("file:") else path)
        if isinstance(value, dict):
            return {name: moved(each) for name, each in value.items()}
        return [moved(each) for each in value] if isinstance(value, list) else value

    def change(table: str, row: dict[str, Any]) -> None:
        for column in _NAMING_FILES.get(table, ()):
            row[column] = moved(row[column])

    return change


_NAMING_FILES = {"artifacts": ("uri",), "events": ("data",), "jobs": ("result",)}


def _conclude(secret: bytes | None, storage: Storage, settings: Settings) -> None:
    place = settings.home / "secret"
    try:
        if secret is not None:
            with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secret)
            place.chmod(0o600)
    except OSError as cause:
        raise StorageError(f"cannot write {place}: {cause.strerror}", home=str(settings.home)) from cause
    storage.delete(_RESTORING)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sums(what: str, total: int, tell: Tell) -> Callable[[int], None]:
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        tell(what, min(done, total), total)

    return add
