"""What the commands have in common that open a server's home and database themselves, and ask no server."""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.client.errors import UsageError

if TYPE_CHECKING:
    from service.settings import Settings

Home = Annotated[Path | None, typer.Option("--home", help="The server's folder.  [default: FGD_HOME, or ~/.fgd]")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", metavar="URL", help="Its database, where that is elsewhere.")
]
# Read only to be refused: work that is meant for a named server must not be done on the home of another.
NamedServer = Annotated[str | None, typer.Option("--server", envvar="FGD_SERVER", metavar="URL", hidden=True)]


def settings_at(home: Path | None, database_url: str | None, server: str | None, *, command: str) -> "Settings":
    """Settings of the server whose home or database is named, else of the default home.

    Raises:
        UsageError: a setting cannot be; or only a server is named, whose home nobody knows here.
    """
    is_named = home is not None or database_url is not None
    if server and not is_named and not {"FGD_HOME", "FGD_DATABASE_URL"} & os.environ.keys():
        raise UsageError(
            f"`fgd {command}` opens a server's home and database, and cannot ask {server} (of --server or FGD_SERVER); "
            "on the machine of that server, add --home or --database-url"
        )
    # Imported by name and only now: the settings bring SQLAlchemy, and `fgd --help` should not wait for it.
    settings: Settings = importlib.import_module("service.server.options").settings_of(
        home=home, database_url=database_url
    )
    return settings
