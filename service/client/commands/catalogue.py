"""`fgd catalogue`"""

from typing import Annotated

import typer

from fgd_core.errors import NotFoundError
from fgd_core.spec.catalogue import Entry
from fgd_core.spec.refusals import closest
from service.catalogue import catalogue as own_catalogue
from service.client.catalogue_tables import details, every, named, names, overview
from service.client.client import FgdClient
from service.client.console import AsJson, output, print_json


def catalogue(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A detector, method, searcher, …, or a section.  [default: all]"),
    ] = None,
    *,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", help="Ask this control plane.  [default: what is installed here]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """All that a spec can ask for; of one thing, its settings with defaults, possible values and help.

    It needs no server: `fgd submit` checks specs against the same.

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
        if as_json:
            print_json(known.model_dump(mode="json"))
        else:
            output().print(overview(every(known)))
            output().print("the settings of one: fgd catalogue NAME", style="dim")
        return
    found = named(known, name)
    if not found:
        raise NotFoundError(f"the catalogue has no {name!r}; {closest(name, names(known))}", name=name)
    if as_json:
        print_json([{"section": section, **entry.model_dump(mode="json")} for section, entry in found])
    elif name in type(known).model_fields:
        output().print(overview(found))
    else:
        entries = {entry.name: entry for _, entry in every(known) if isinstance(entry, Entry)}
        for place, (section, entry) in enumerate(found):
            if place:
                output().print()
            output().print(details(section, entry, defaults=entries))
