"""`fgd tokens`"""

import importlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Group
from rich.text import Text

from fgd_core.spec.administration import NewToken, RoleName, TokenCreated, TokenView
from service.client.checking import checked
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_json, print_json_models
from service.client.exits import guarded
from service.client.fitting import Column, Row, fitted

tokens = typer.Typer(
    rich_markup_mode="markdown",
    help="""API tokens: make, list, revoke. Without a command, list. `fgd` takes its own from FGD_TOKEN.

**Example**

`fgd tokens create --name nightly --role submit --project blood-cells`
""",
)

_COLUMNS = (
    Column(heading="id"),
    Column(heading="name", narrow=10),
    Column(heading="role"),
    Column(heading="project", rank=1),
    Column(heading="valid"),
    Column(heading="last used", rank=2),
    Column(heading="made by", rank=3),
)
_ROLES = ", ".join(get_args(RoleName))


@tokens.callback(invoke_without_command=True)
@guarded
def show(context: typer.Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        _list(server, as_json=as_json)


@tokens.command("list")
@guarded
def list_(server: Server = SERVER, as_json: AsJson = False) -> None:
    """List tokens, newest first; their secrets are nowhere kept.

    **Example**

    `fgd tokens list`
    """
    _list(server, as_json=as_json)


@tokens.command()
@guarded
def create(
    *,
    name: Annotated[str, typer.Option("--name", help="Whose it is, or what uses it; the audit shows it.")],
    role: Annotated[str, typer.Option("--role", help=f"One of {_ROLES}; each may do what those before it may.")],
    project: Annotated[
        str | None, typer.Option("--project", help="The only project that it sees.  [default: all]")
    ] = None,
    expires_in_days: Annotated[float | None, typer.Option("--expires-in-days", min=0.001, max=36500.0)] = None,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="Ask no server: write to the database of this home. For the first token."),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", metavar="URL", help="The same, in this database.")
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown this once.

    **Examples**

    `fgd tokens create --name ana --role admin --home ~/.fgd`

    `FGD_TOKEN=... fgd tokens create --name nightly --role submit --project blood-cells --expires-in-days 90`
    """
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days is not None else None
    asked = checked(NewToken, name=name, role=role, project=project, expires_at=expires_at)
    if home is not None or database_url is not None:
        # Imported by name and only now: the database's libraries take a while, and a server is asked without them.
        first = importlib.import_module("service.server.first_token")
        made: TokenCreated = first.create(asked, home=home, database_url=database_url)
    else:
        with FgdClient(server) as client:
            made = client.administration.create_token(
                asked.name, asked.role, project=asked.project, expires_at=asked.expires_at
            )
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    errors_to().print(
        f"{made.name}: role {made.role}, {_scope(made)}, {_until(made)}. It is shown this once:", markup=False
    )
    # Alone on standard output, so that it can be piped into a file or a secret store.
    output().print(made.token, markup=False, soft_wrap=True)


@tokens.command()
@guarded
def revoke(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `fgd tokens` lists them.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Take tokens back, for good. Requests with them are refused within seconds.

    **Example**

    `fgd tokens revoke 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        revoked = [client.administration.revoke_token(token_id) for token_id in ids]
    if as_json:
        print_json_models(revoked)
        return
    for token in revoked:
        output().print(f"{token.name} {token.token_id} is revoked", markup=False)


def _list(server: str, *, as_json: bool) -> None:
    with FgdClient(server) as client:
        found = client.administration.tokens()
    if as_json:
        print_json_models(found)
    elif not found:
        output().print("no tokens yet; make one with `fgd tokens create`")
    else:
        output().print(token_table(found, width=output().width))


def token_table(found: Sequence[TokenView], *, width: int) -> Group:
    """A row a token; in a narrow terminal who made it and when it was last used are left out."""
    rows = []
    for token in found:
        used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
        cells = (token.token_id, token.name, token.role, token.project or "all", _until(token), used, token.created_by)
        rows.append(Row(cells=tuple(Text(cell) for cell in cells), style="" if _is_good(token) else "dim"))
    return fitted(_COLUMNS, rows, width=width)


def _is_good(token: TokenView) -> bool:
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > datetime.now(UTC))


def _until(token: TokenView) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d}"
    if token.expires_at is None:
        return "for good"
    return f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if _is_good(token) else f"expired {token.expires_at:%Y-%m-%d}"


def _scope(token: TokenView) -> str:
    return f"project {token.project}" if token.project else "all projects"
