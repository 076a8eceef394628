"""`fgd migrate`"""

import asyncio

from rich.markup import escape

from service.client.console import AsJson, errors_to, output, print_json
from service.client.exits import guarded
from service.home import make_private, unnoted
from service.server.options import DatabaseUrl, Home, NamedServer, settings_at
from service.store.migrate import head_revision, upgrade_when_reachable


@guarded
def migrate(
    home: Home = None,
    database_url: DatabaseUrl = None,
    server: NamedServer = None,
    as_json: AsJson = False,
) -> None:
    """Upgrade the database to the schema of this version. Waits for a database that is unreachable.

    A server does the same when it starts. If several servers share one database, run this once before you start the new
    versions; the old versions keep running meanwhile. It can be repeated, and run by several people at the same time.

    **Examples**

    `fgd migrate`

    `FGD_DATABASE_URL=postgresql://fgd@db/fgd fgd migrate --json`
    """
    settings = settings_at(home, database_url, server, command="migrate")
    if settings.database.url.startswith("sqlite"):
        make_private(settings.home, settings.database.url, note=unnoted)
    before, after = asyncio.run(upgrade_when_reachable(settings.database.url, _report))
    if as_json:
        print_json({"from": before, "to": after})
    elif before == after:
        newest = "the newest" if after == head_revision() else "newer than this version, which can work with it"
        output().print(f"the schema is at revision {after}, {newest}", markup=False)
    else:
        output().print(f"the schema was at {_named(before)} and is at revision {after} now", markup=False)


def _named(revision: str | None) -> str:
    return "no revision" if revision is None else f"revision {revision}"


def _report(text: str) -> None:
    errors_to().print(escape(text), style="dim", soft_wrap=True)
