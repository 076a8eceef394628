"""`fgd restore`"""

import asyncio
import importlib
from pathlib import Path
from typing import Annotated

import typer

from service.client.amounts import Amounts
from service.client.console import AsJson, output, print_json


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `fgd backup` wrote.")],
    home: Annotated[
        Path | None, typer.Option("--home", help="The new server's folder.  [default: FGD_HOME, or ~/.fgd]")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", metavar="URL", help="Its database, where that is to be elsewhere.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty database from a backup: all of it or nothing. The server must not run yet.

    Every digest is checked before anything is written. Jobs that ran when the backup was made are taken up again by the
    next server, or found lost and retried.

    **Examples**

    `fgd restore friday.tar --home ./lab`

    `fgd restore friday.tar --database-url postgresql://fgd@db/fgd`
    """
    plane = importlib.import_module("service.client.control_plane")
    work = importlib.import_module("service.housekeeping.restore")
    settings = plane.settings_of(home=home, database_url=database_url)
    with Amounts() as tell:
        made = asyncio.run(work.restore(settings, file.absolute(), tell=tell))
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
