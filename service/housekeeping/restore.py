"""A backup's memory put into an empty database: all of it or nothing."""

import asyncio
import gzip
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError, StorageError
from service.housekeeping import archive
from service.housekeeping.archive import BackupError, Manifest
from service.housekeeping.backup import PATIENT, SECRET, STORAGE, TABLES, Tell
from service.settings import Settings
from service.store import dump, migrate
from service.store.session import Database


async def restore(settings: Settings, path: Path, *, tell: Tell = lambda *_: None) -> Manifest:
    """Check the whole file, then fill the database, the storage folder and the secret from it.

    Jobs that ran when it was made are adopted or found lost by the server that starts next, by its usual rules.

    Raises:
        BackupError: the file is no whole backup.
        SchemaTooNewError: it was made by a newer version.
        ConflictError: the database, or the storage folder where the backup has one, is not empty.
        StorageError: something cannot be written.
    """
    manifest = await asyncio.to_thread(archive.verify, path, _sums("checking", _size_bytes(path), tell))
    migrate.check_known(manifest.schema_revision)
    database = Database(settings.database_url, PATIENT)
    incoming = settings.storage_dir / ".incoming"
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        revision = await _revision_if_empty(database, settings)
        _check_storage(manifest, settings)
        await asyncio.to_thread(_migrate, settings.database_url, revision, manifest.schema_revision)
        await asyncio.to_thread(_unpack_files, path, manifest, incoming, tell)
        async with database.writing() as session:
            await _load(session, path, manifest, settings, tell)
            # The last thing before the rows: whoever is killed in between finds an empty database.
            _put_in_place(incoming, settings)
        await asyncio.to_thread(migrate.upgrade, settings.database_url)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
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


def _check_storage(manifest: Manifest, settings: Settings) -> None:
    folder = settings.storage_dir / "jobs"
    if manifest.has_artifacts and folder.is_dir() and any(folder.iterdir()):
        raise ConflictError(
            f"the backup brings files, and {folder} has some already; move it away, or give another --home",
            path=str(folder),
        )


def _migrate(database_url: str, present: str | None, wanted: str) -> None:
    """Bring an empty database to the revision of the backup, be it at an older or a newer one."""
    if present not in (None, wanted):
        migrate.downgrade(database_url, "base")
    migrate.upgrade(database_url, wanted)


def _unpack_files(path: Path, manifest: Manifest, incoming: Path, tell: Tell) -> None:
    """What is not in the database, into a folder of its own."""
    shutil.rmtree(incoming, ignore_errors=True)
    wanted = [part for part in manifest.parts if part.name == SECRET or part.name.startswith(STORAGE)]
    say = _sums("files", sum(part.size_bytes for part in wanted), tell)
    try:
        incoming.mkdir(mode=0o700, parents=True)
        for entry, content in archive.entries(path):
            if entry.name == SECRET or entry.name.startswith(STORAGE):
                _write(incoming / entry.name, content)
                say(entry.size)
    except OSError as cause:
        raise StorageError(f"cannot write to {incoming}: {cause.strerror}", path=str(incoming)) from cause


def _write(path: Path, content: IO[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())


async def _load(session: AsyncSession, path: Path, manifest: Manifest, settings: Settings, tell: Tell) -> None:
    move = _moving(manifest.storage_uri, settings.storage_dir.resolve().as_uri())
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


def _moving(from_uri: str, to_uri: str) -> Callable[[str, dict[str, Any]], None]:
    """Have rows name files where they are now."""

    def moved(holder: dict[str, Any]) -> None:
        uri = holder.get("uri")
        if isinstance(uri, str) and uri.startswith(f"{from_uri}/"):
            holder["uri"] = to_uri + uri.removeprefix(from_uri)

    def change(table: str, row: dict[str, Any]) -> None:
        if table == "artifacts":
            moved(row)
        elif table == "events" and isinstance(row["data"], dict):
            moved(row["data"])

    return change


def _put_in_place(incoming: Path, settings: Settings) -> None:
    storage, secret = incoming / STORAGE.rstrip("/"), incoming / SECRET
    try:
        if secret.exists():
            secret.chmod(0o600)
            shutil.move(secret, settings.home / "secret")
        for path in sorted(storage.iterdir()) if storage.exists() else ():
            # Empty, or it would have been refused.
            with suppress(FileNotFoundError, NotADirectoryError):
                (settings.storage_dir / path.name).rmdir()
            path.replace(settings.storage_dir / path.name)
    except OSError as cause:
        raise StorageError(
            f"cannot write to {settings.storage_dir}: {cause.strerror}", home=str(settings.home)
        ) from cause


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _sums(what: str, total: int, tell: Tell) -> Callable[[int], None]:
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        tell(what, min(done, total), total)

    return add
