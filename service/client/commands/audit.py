"""`fgd audit`"""

import itertools
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fgd_core.spec.administration import AuditEntryView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json_models


def audit(
    *,
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this token's name did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this, for example cancel_job.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Only in this project.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only where the target has this in it.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Who changed what, newest first; also what was refused.

    **Example**

    `fgd audit --action cancel_job --target 3f2a`
    """
    with FgdClient(server) as client:
        entries = client.administration.audit(actor=actor, action=action, project=project, target=target)
        found = list(itertools.islice(entries, limit))
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("nothing was changed")
    else:
        output().print(_table(found))


def _table(found: list[AuditEntryView]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("at", "who", "did", "to", "project", "status", "details"):
        table.add_column(heading, no_wrap=heading not in ("to", "details"))
    for entry in found:
        table.add_row(
            f"{entry.at:%Y-%m-%d %H:%M:%S}",
            Text(entry.actor, style="bold"),
            entry.action,
            Text(entry.target),
            entry.project or "",
            Text(str(entry.status), style="" if entry.status < 400 else "red"),
            Text(", ".join(f"{name}={value}" for name, value in entry.details.items()), style="dim"),
        )
    return table
