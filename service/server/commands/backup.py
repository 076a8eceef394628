"""`fgd backup`"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from service.client.amounts import Amounts
from service.client.console import AsJson, output, print_json, size
from service.client.exits import guarded
from service.housekeeping import backup as housekeeping
from service.server.options import DatabaseUrl, Home, NamedServer, settings_at


@guarded
def backup(
    file: Annotated[Path, Argument(metavar="FILE", help="File to write; it appears when it is complete.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    *,
    with_artifacts: Annotated[
        bool, Option("--with-artifacts", help="Include checkpoints, logs and all other files of jobs.")
    ] = False,
    server: NamedServer = None,
    as_json: AsJson = False,
) -> None:
    """Write a consistent copy of everything that a server stores to one file, while the server runs.

    This command opens the server's home and database itself, so run it on the server's machine.

    `fgd restore` reads the file into SQLite or PostgreSQL, whichever it came from. The file holds the server's secret
    and the signing secrets of webhooks. Only its owner can read it; keep it so.

    **Examples**

    `fgd backup friday.tar`

    `fgd backup friday.tar --home ./lab --with-artifacts`
    """
    settings = settings_at(home, database_url, server, command="backup")
    with Amounts() as tell:
        made = asyncio.run(
            housekeeping.backup(
                settings, file.absolute(), with_artifacts=with_artifacts, now=datetime.now(UTC), on_progress=tell
            )
        )
    num_bytes = file.stat().st_size
    if as_json:
        print_json({"file": str(file.absolute()), "size_bytes": num_bytes, "manifest": made})
        return
    rows = sum(part.num_rows or 0 for part in made.parts)
    num_files = sum(part.name.startswith("storage/") for part in made.parts)
    files = f", {num_files} files" if with_artifacts else ""
    output().print(f"{file}: {rows:,} rows{files}, {size(num_bytes)}", markup=False)
