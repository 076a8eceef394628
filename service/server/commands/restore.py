"""`fgd restore`"""

import asyncio
import importlib
from pathlib import Path
from typing import Annotated

import typer

from service.client.amounts import Amounts
from service.client.console import AsJson, output, print_json
from service.client.exits import guarded
from service.server.opened_home import DatabaseUrl, Home, NamedServer, settings_at


@guarded
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `fgd backup` wrote.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    server: NamedServer = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty database from a backup: all of it or nothing. The server must not run yet.

    Every digest is checked before anything is written. Jobs that ran when the backup was made are taken up again by the
    next server, or found lost and retried.

    **Examples**

    `fgd restore friday.tar --home ./lab`

    `fgd restore friday.tar --database-url postgresql://fgd@db/fgd`
    """
    settings = settings_at(home, database_url, server, command="restore")
    # Imported by name and only now: SQLAlchemy takes a second, and `fgd --help` should not wait for it.
    work = importlib.import_module("service.housekeeping.restore")
    with Amounts() as tell:
        made = asyncio.run(work.restore(settings, file.absolute(), on_progress=tell))
    if as_json:
        print_json({"home": str(settings.home), "manifest": made.model_dump(mode="json")})
        return
    rows = sum(part.num_rows or 0 for part in made.parts)
    said = f"{rows:,} rows of {made.created_at:%Y-%m-%d %H:%M} UTC are in {settings.home}"
    output().print(said if database_url is None else said.replace(str(settings.home), "the database"), markup=False)
    if not made.has_artifacts:
        output().print(
            f"the backup has no files; those of jobs are looked for in {settings.storage_url or settings.storage_dir}",
            style="dim",
            markup=False,
        )
