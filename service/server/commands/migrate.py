"""`fgd migrate`"""

import asyncio
import importlib

from rich.markup import escape

from service.client.console import AsJson, errors_to, output, print_json
from service.client.exits import guarded
from service.home import make_private, unnoted
from service.server.opened_home import DatabaseUrl, Home, NamedServer, settings_at


@guarded
def migrate(
    home: Home = None,
    database_url: DatabaseUrl = None,
    server: NamedServer = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the schema of this version, and end. A database that is away is waited for.

    A server does the same when it starts. Where several serve one database, this comes before the new ones, once; the
    old ones go on meanwhile. It may be called again, and by several at a time.

    **Examples**

    `fgd migrate`

    `FGD_DATABASE_URL=postgresql://fgd@db/fgd fgd migrate --json`
    """
    settings = settings_at(home, database_url, server, command="migrate")
    # Imported by name and only now: SQLAlchemy takes a second, and `fgd --help` should not wait for it.
    work = importlib.import_module("service.store.migrate")
    if settings.database_url.startswith("sqlite"):
        make_private(settings.home, settings.database_url, note=unnoted)
    before, after = asyncio.run(work.upgrade_when_reachable(settings.database_url, _say))
    if as_json:
        print_json({"from": before, "to": after})
    elif before == after:
        newest = "the newest" if after == work.head_revision() else "newer than this version, which can work with it"
        output().print(f"the schema is at revision {after}, {newest}", markup=False)
    else:
        output().print(f"the schema was at {_named(before)} and is at revision {after} now", markup=False)


def _named(revision: str | None) -> str:
    return "no revision" if revision is None else f"revision {revision}"


def _say(what: str) -> None:
    errors_to().print(escape(what), style="dim", soft_wrap=True)
