"""Writes the database, the secret and the stored files of a running control plane to one file."""

import gzip
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import NotFoundError
from service.housekeeping.archive import Manifest, Writer, writing
from service.settings import Settings
from service.storage.base import Storage
from service.storage.choosing import storage_of
from service.storage.errors import FileGoneError
from service.store import dump, migrate
from service.store.engines import Limits
from service.store.session import Database
from service.store.statements import read_consistently

TABLES, STORAGE, SECRET = "tables/", "storage/", "secret"

PATIENT = Limits(statement_s=3600.0, lock_s=3600.0, idle_in_transaction_s=3600.0)

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the current step, the amount done, and the total: both in rows or in bytes."""


async def backup(
    settings: Settings, path: Path, *, with_artifacts: bool, now: datetime, on_progress: OnProgress = lambda *_: None
) -> Manifest:
    """Write the database, the secret and, if requested, the files of jobs to `path`.

    The rows are a snapshot of one moment. The files are copied afterwards: a run may write a file meanwhile, so a file
    may be newer than the row that names it.

    Raises:
        NotFoundError: the database does not exist or has no schema.
        StorageError: the backup file cannot be written, or the storage cannot be read.
    """
    _check_database_exists(settings)
    database, storage = Database(settings.database.url, PATIENT), storage_of(settings)
    try:
        with writing(path) as archive:
            async with database.reading() as session:
                await read_consistently(session)
                revision = await migrate.current_revision(session)
                if revision is None:
                    raise _no_database(settings)
                await _add_tables(archive, session, path.parent, on_progress)
            secret = settings.home / "secret"
            if settings.secret is None and secret.is_file():
                with secret.open("rb") as content:
                    archive.add(SECRET, content, secret.stat().st_size)
            if with_artifacts:
                _add_storage(archive, storage, path.parent, on_progress)
            manifest = Manifest(
                fgd_version=version("fgd"),
                created_at=now,
                schema_revision=revision,
                storage_uri=storage.uri,
                has_artifacts=with_artifacts,
                parts=list(archive.parts),
            )
            archive.finish(manifest)
            return manifest
    finally:
        await database.close()


def _check_database_exists(settings: Settings) -> None:
    """Raise NotFoundError if the SQLite file is missing. SQLite itself would create an empty one."""
    scheme, _, place = settings.database.url.partition(":///")
    if scheme.startswith("sqlite") and not Path(place.partition("?")[0]).is_file():
        raise _no_database(settings)


def _no_database(settings: Settings) -> NotFoundError:
    return NotFoundError(
        f"no fgd database in {settings.home}; pass --home or --database-url of the control plane",
        home=str(settings.home),
    )


async def _add_tables(archive: Writer, session: AsyncSession, folder: Path, on_progress: OnProgress) -> None:
    tables = [table for table in await dump.tables(session) if dump.is_dumped(table)]
    counts = {table.name: await dump.count(session, table) for table in tables}
    done, total = 0, sum(counts.values())
    for table in tables:
        # Written to the disk first: a tar archive stores the size of a part before its content.
        with tempfile.TemporaryFile(dir=folder) as file:
            num_rows = 0
            async for num_more in _write(session, table, file):
                num_rows += num_more
                done += num_more
                on_progress("rows", done, total)
            size_bytes = file.tell()
            file.seek(0)
            name = f"{TABLES}{table.name}.jsonl.gz"
            archive.add(name, file, size_bytes, num_rows=num_rows, columns=dump.columns(table))


async def _write(session: AsyncSession, table: Table, file: IO[bytes]) -> AsyncIterator[int]:
    """Write all rows of a table and yield the number of rows of each chunk."""
    with gzip.open(file, "wb", compresslevel=3) as packed:
        async for lines in dump.rows(session, table):
            packed.write("".join(f"{line}\n" for line in lines).encode())
            yield len(lines)


def _add_storage(archive: Writer, storage: Storage, folder: Path, on_progress: OnProgress) -> None:
    found = [file for file in storage.listing() if not file.path.endswith(".partial")]
    done, total = 0, sum(file.size_bytes for file in found)
    for file in found:
        try:
            with storage.local_copy(file.path, near=folder) as place, place.open("rb") as content:
                # Measured again: a newer file may have replaced the listed one. The open file does not change any more.
                size_bytes = content.seek(0, 2)
                content.seek(0)
                archive.add(f"{STORAGE}{file.path}", content, size_bytes)
        except (FileGoneError, FileNotFoundError):
            continue  # The job was deleted meanwhile, or the file is a link.
        done += file.size_bytes
        on_progress("bytes", min(done, total), total)
