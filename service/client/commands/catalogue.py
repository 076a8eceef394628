"""`fgd catalogue`"""

from typing import Annotated

from rich.console import Group
from rich.text import Text
from typer import Argument, Option

from fgd_core.errors import NotFoundError
from fgd_core.spec.catalogue import Entry
from fgd_core.spec.refusals import closest
from service.catalogue import catalogue as own_catalogue
from service.client.catalogue_tables import all_entries, details, entries_named, names, overview
from service.client.client import FgdClient
from service.client.console import AsJson, output, print_answer, print_json
from service.client.exits import guarded


@guarded
def catalogue(
    name: Annotated[
        str | None, Argument(metavar="NAME", help="A detector, method, searcher, … or a section.  [default: list all]")
    ] = None,
    *,
    server: Annotated[
        str | None, Option(metavar="URL", help="Use the catalogue of this server.  [default: this installation's]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List everything that a spec can contain; for one name, show its settings with defaults, possible values and help.

    No server is needed: `fgd submit` checks specs against the same catalogue.

    **Examples**

    `fgd catalogue`

    `fgd catalogue retinanet`

    `fgd catalogue searchers --json | jq -r '.[].name'`
    """
    if server is None:
        known = own_catalogue()
    else:
        with FgdClient(server) as client:
            known = client.catalogue()
    if name is None:
        hint = Text("show the settings of one: fgd catalogue NAME", style="dim")
        print_answer(known, lambda: Group(overview(all_entries(known)), hint), as_json=as_json)
        return
    found = entries_named(known, name)
    if not found:
        raise NotFoundError(f"the catalogue has no entry {name!r}; {closest(name, names(known))}", name=name)
    if as_json:
        print_json([{"section": section, **entry.model_dump(mode="json")} for section, entry in found])
    elif name in type(known).model_fields:
        output().print(overview(found))
    else:
        entries = {entry.name: entry for _, entry in all_entries(known) if isinstance(entry, Entry)}
        for index, (section, entry) in enumerate(found):
            if index:
                output().print()
            output().print(details(section, entry, defaults=entries))
