"""`fgd backup`"""

import asyncio
import importlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from service.client.amounts import Amounts
from service.client.console import AsJson, output, print_json, size
from service.client.exits import guarded
from service.server.opened_home import DatabaseUrl, Home, NamedServer, settings_at


@guarded
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; it appears once it is whole.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    *,
    with_artifacts: Annotated[
        bool, typer.Option("--with-artifacts", help="Also checkpoints, logs and all other files of jobs.")
    ] = False,
    server: NamedServer = None,
    as_json: AsJson = False,
) -> None:
    """Write everything that a server keeps to one file, of one moment, while it goes on working.

    It opens the server's home and database itself, so it belongs on the server's machine.

    `fgd restore` reads it into either database, whichever it was made from. It holds the server's secret and what
    webhooks are signed with: only its owner can read it, and so it should stay.

    **Examples**

    `fgd backup friday.tar`

    `fgd backup friday.tar --home ./lab --with-artifacts`
    """
    settings = settings_at(home, database_url, server, command="backup")
    # Imported by name and only now: SQLAlchemy takes a second, and `fgd --help` should not wait for it.
    work = importlib.import_module("service.housekeeping.backup")
    with Amounts() as tell:
        made = asyncio.run(
            work.backup(
                settings, file.absolute(), with_artifacts=with_artifacts, now=datetime.now(UTC), on_progress=tell
            )
        )
    num_bytes = file.stat().st_size
    if as_json:
        print_json({"file": str(file.absolute()), "size_bytes": num_bytes, "manifest": made.model_dump(mode="json")})
        return
    rows = sum(part.num_rows or 0 for part in made.parts)
    num_files = sum(part.name.startswith("storage/") for part in made.parts)
    files = f", {num_files} files" if with_artifacts else ""
    output().print(f"{file}: {rows:,} rows{files}, {size(num_bytes)}", markup=False)
