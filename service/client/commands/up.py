"""`fgd up`"""

import asyncio
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from service.client.console import AsJson, errors_to, output, print_json

if TYPE_CHECKING:
    from service.client.control_plane import Addresses


def up(
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder for database, checkpoints and logs.  [default: ~/.fgd]")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="A loopback address.  [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.  [default: 8321]")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", metavar="URL", help="Use this Ray (its dashboard's URL); start none.")
    ] = None,
    num_cpus: Annotated[
        int | None, typer.Option("--num-cpus", min=1, help="CPUs that the local Ray gives to jobs.  [default: all]")
    ] = None,
    *,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Start the control plane, and a local Ray for it to run jobs on. Ctrl-C stops both.

    After a crash or a `kill -9`, the same command finds the runs that went on, and takes them up again.

    **Examples**

    `fgd up`

    `fgd up --home ./lab --port 8400 --num-cpus 4`

    `fgd up --ray-address http://127.0.0.1:8265`
    """
    say = _Progress()
    # Imported by name and only now: FastAPI and SQLAlchemy take seconds, and a person should see something at once.
    plane = importlib.import_module("service.client.control_plane")
    settings = plane.settings_of(home=home, host=host, port=port or None, ray_dashboard_url=ray_address)
    with plane.alone_in(settings.home), plane.bind(settings.host, settings.port if port != 0 else 0) as listening:
        bound = plane.settings_of(home=home, host=host, port=listening.getsockname()[1], ray_dashboard_url=ray_address)
        asyncio.run(
            plane.run(
                bound,
                listening,
                num_cpus=num_cpus,
                say=say,
                on_ready=_print_json if as_json else _print_panel,
                until_stdin_closes=until_stdin_closes,
            )
        )
        say("all stopped")


class _Progress:
    """Says on standard error what is waited for, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self("starting")

    def __call__(self, what: str) -> None:
        errors_to().print(f"{time.monotonic() - self._began_s:5.1f} s  {escape(what)}", style="dim", soft_wrap=True)


def _print_json(at: "Addresses") -> None:
    print_json(
        {
            "url": at.url,
            "docs_url": at.docs_url,
            "dashboard_url": at.dashboard_url,
            "home": str(at.home),
            "log_file": str(at.log_file),
            "pid": at.pid,
        }
    )


def _print_panel(at: "Addresses") -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("API", at.url),
        ("docs", at.docs_url),
        ("Ray dashboard", at.dashboard_url),
        *([("its token", f"in {at.home / 'ray_auth_token'}")] if at.owns_ray else []),
        ("home", str(at.home)),
        ("log", str(at.log_file)),
    ):
        table.add_row(f"[dim]{name}[/]", escape(value))
    hint = "in another terminal: [bold]fgd submit examples/demo/teacher.yaml --watch[/]"
    ending = "Ctrl-C stops the server and its Ray" if at.owns_ray else "Ctrl-C stops the server; Ray goes on"
    table.add_row("", "")
    table.add_row("[dim]next[/]", hint)
    output().print(Panel(table, title="fgd is up", subtitle=ending, expand=False, padding=(1, 2)))
