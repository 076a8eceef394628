"""`fgd restore`"""

import asyncio
from pathlib import Path
from typing import Annotated

from typer import Argument

from service.client.amounts import Amounts
from service.client.console import AsJson, output, print_json
from service.client.exits import guarded
from service.housekeeping import restore as housekeeping
from service.server.options import DatabaseUrl, Home, NamedServer, settings_at


@guarded
def restore(
    file: Annotated[Path, Argument(metavar="FILE", help="File that `fgd backup` wrote.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    server: NamedServer = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty database from a backup, completely or not at all. The server must not run yet.

    All checksums are verified before anything is written. Jobs that ran when the backup was made are continued by the
    next server, or marked lost and retried.

    **Examples**

    `fgd restore friday.tar --home ./lab`

    `fgd restore friday.tar --database-url postgresql://fgd@db/fgd`
    """
    settings = settings_at(home, database_url, server, command="restore")
    with Amounts() as tell:
        made = asyncio.run(housekeeping.restore(settings, file.absolute(), on_progress=tell))
    if as_json:
        print_json({"home": str(settings.home), "manifest": made})
        return
    rows = sum(part.num_rows or 0 for part in made.parts)
    target = settings.home if database_url is None else "the database"
    output().print(f"{rows:,} rows of {made.created_at:%Y-%m-%d %H:%M} UTC are in {target}", markup=False)
    if not made.has_artifacts:
        output().print(
            f"the backup has no files; those of jobs are read from {settings.storage.url or settings.storage.dir}",
            style="dim",
            markup=False,
        )
