"""`fgd tokens` and `fgd whoami`"""

import importlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, get_args

from rich.console import Group
from rich.text import Text
from typer import Argument, Context, Option, Typer

from fgd_core.spec.administration import NewToken, RoleName, TokenCreated, TokenView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_answer, print_json
from service.client.exits import checked, guarded
from service.client.fitting import Column, Row, fitted

tokens = Typer(
    rich_markup_mode="markdown",
    help="""Create, list and revoke API tokens. Without a subcommand, list them. `fgd` uses the token in FGD_TOKEN.

**Example**

`fgd tokens create --name nightly --role submit --project blood-cells`
""",
)

_COLUMNS = (
    Column("id"),
    Column("name", narrow=10),
    Column("role"),
    Column("project", rank=1),
    Column("valid"),
    Column("last used", rank=2),
    Column("created by", rank=3),
)
_ROLES = ", ".join(get_args(RoleName))


@tokens.callback(invoke_without_command=True)
@tokens.command("list")
@guarded
def list_(context: Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List tokens, newest first. The server stores only hashes of the tokens.

    **Example**

    `fgd tokens list`
    """
    with FgdClient(server) as client:
        found = client.administration.tokens()
    none = "no tokens yet; create one with `fgd tokens create`"
    print_answer(found, lambda: token_table(found, width=output().width) if found else none, as_json=as_json)


@tokens.command()
@guarded
def create(
    *,
    name: Annotated[str, Option(metavar="NAME", help="Who or what uses the token; the audit log shows it.")],
    role: Annotated[str, Option(metavar="ROLE", help=f"One of {_ROLES}; each includes the roles before it.")],
    project: Annotated[
        str | None, Option(metavar="NAME", help="The only project it can access.  [default: all]")
    ] = None,
    expires_in_days: Annotated[
        float | None, Option(metavar="DAYS", min=0.001, max=36500.0, help="Expire after DAYS.  [default: never]")
    ] = None,
    home: Annotated[
        Path | None,
        Option(metavar="DIR", help="Write to the database in this home, without a server; for the first token."),
    ] = None,
    database_url: Annotated[str | None, Option(metavar="URL", help="The same, for this database.")] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Create a token. It is shown only once.

    **Examples**

    `fgd tokens create --name ana --role admin --home ~/.fgd`

    `FGD_TOKEN=... fgd tokens create --name nightly --role submit --project blood-cells --expires-in-days 90`
    """
    expires_at = datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days is not None else None
    new = checked(NewToken, name=name, role=role, project=project, expires_at=expires_at)
    if home is not None or database_url is not None:
        # Imported late and by name: the libraries of the database load slowly, and a request needs none of them.
        first = importlib.import_module("service.server.first_token")
        made: TokenCreated = first.create(new, home=home, database_url=database_url)
    else:
        with FgdClient(server) as client:
            made = client.administration.create_token(
                new.name, new.role, project=new.project, expires_at=new.expires_at
            )
    if as_json:
        print_json(made)
        return
    errors_to().print(
        f"{made.name}: role {made.role}, {_scope(made)}, {_until(made)}. The token is shown only once:", markup=False
    )
    # Nothing else is on standard output, so that a pipe can store the token in a file or a secret store.
    output().print(made.token, markup=False, soft_wrap=True)


@tokens.command()
@guarded
def revoke(
    ids: Annotated[list[str], Argument(metavar="ID...", help="Ids from `fgd tokens`.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Revoke tokens; this cannot be undone. The server refuses requests with them within seconds.

    **Example**

    `fgd tokens revoke 91bc3f2a77c0`
    """
    with FgdClient(server) as client:
        revoked = [client.administration.revoke_token(token_id) for token_id in ids]
    lines = [f"revoked {token.name} {token.token_id}" for token in revoked]
    print_answer(revoked, lambda: "\n".join(lines), as_json=as_json)


@guarded
def whoami(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Show the name, the role and the project of the token in FGD_TOKEN, as the server knows them.

    **Example**

    `fgd whoami`
    """
    with FgdClient(server) as client:
        me = client.administration.who_am_i()
    scope = f"in the project {me.project}" if me.project else "in all projects"
    print_answer(me, lambda: f"{me.name}, with the role {me.role} {scope}", as_json=as_json)


def token_table(found: Sequence[TokenView], *, width: int) -> Group:
    """Return a table with a row per token; a narrow one omits the creator and the last use."""
    rows = []
    for token in found:
        used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
        cells = (token.token_id, token.name, token.role, token.project or "all", _until(token), used, token.created_by)
        rows.append(Row(cells=tuple(Text(cell) for cell in cells), style="" if _is_valid(token) else "dim"))
    return fitted(_COLUMNS, rows, width=width)


def _is_valid(token: TokenView) -> bool:
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > datetime.now(UTC))


def _until(token: TokenView) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d}"
    if token.expires_at is None:
        return "no expiry"
    return (
        f"until {token.expires_at:%Y-%m-%d %H:%M} UTC" if _is_valid(token) else f"expired {token.expires_at:%Y-%m-%d}"
    )


def _scope(token: TokenView) -> str:
    return f"project {token.project}" if token.project else "all projects"
