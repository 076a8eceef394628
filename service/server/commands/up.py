"""`fgd up`"""

import asyncio
import importlib
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from typer import Option

from service.client.console import AsJson, errors_to, output, print_json
from service.client.exits import guarded

if TYPE_CHECKING:
    from service.server.control_plane import Addresses


@guarded
def up(
    *,
    home: Annotated[Path | None, Option(help="Folder for database, checkpoints and logs.  [default: ~/.fgd]")] = None,
    database_url: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="postgresql://user:password@host:5432/name; FGD_DATABASE_URL keeps the password from other users of "
            "this machine.  [default: SQLite in the home]",
        ),
    ] = None,
    host: Annotated[str | None, Option(help="Off the loopback, API tokens are required.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, Option(min=0, max=65535, help="0 takes any free port.  [default: 8321]")] = None,
    ray_address: Annotated[
        str | None, Option(metavar="URL", help="Dashboard of a running Ray; start no local one.")
    ] = None,
    num_cpus: Annotated[int | None, Option(min=1, help="CPUs of the local Ray.  [default: all]")] = None,
    log_format: Annotated[
        Literal["file", "json"] | None,
        Option(
            help="`file`: in the home; `json`: one document per line on standard error.  [default: file at a terminal]"
        ),
    ] = None,
    until_stdin_closes: Annotated[bool, Option("--until-stdin-closes", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Start the control plane and a local Ray that runs its jobs. Ctrl-C stops both.

    After a crash or a `kill -9`, the same command finds the runs that are still active and continues them.

    **Examples**

    `fgd up`

    `fgd up --home ./lab --port 8400 --num-cpus 4`

    `fgd up --ray-address http://127.0.0.1:8265`

    `fgd up --database-url postgresql://fgd@db/fgd --ray-address http://ray:8265 --host 0.0.0.0`
    """
    is_attended = sys.stderr.isatty() or until_stdin_closes
    log_to_stderr = (log_format or ("file" if is_attended else "json")) == "json"
    # In a log, progress is a line as any other.
    report = logging.getLogger("fgd").info if log_to_stderr else _Progress()
    warn = logging.getLogger("fgd").warning if log_to_stderr else _warn
    # Imported by name and only now: FastAPI and SQLAlchemy take seconds, and a person should see progress at once.
    own = importlib.import_module("service.server.options")
    plane = importlib.import_module("service.server.control_plane")
    given = {"home": home, "database.url": database_url, "host": host, "ray.dashboard_url": ray_address}
    if log_to_stderr:
        importlib.import_module("service.logs").configure(as_json=True)
    for hint in own.unknown_variables(os.environ):
        warn(hint)
    settings = own.settings_of(given | {"port": port or None})
    with plane.alone_in(settings.home), plane.bind(settings.host, settings.port if port != 0 else 0) as listening:
        bound = own.settings_of(given | {"port": listening.getsockname()[1]})
        asyncio.run(
            plane.run(
                bound,
                listening,
                num_cpus=num_cpus,
                report=report,
                on_ready=_print_json if as_json else _log if log_to_stderr else _print_panel,
                log_to_stderr=log_to_stderr,
                until_stdin_closes=until_stdin_closes,
            )
        )
        report("all stopped")


class _Progress:
    """Prints progress on standard error, with the seconds since the start."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self("starting")

    def __call__(self, text: str) -> None:
        errors_to().print(f"{time.monotonic() - self._began_s:5.1f} s  {escape(text)}", style="dim", soft_wrap=True)


def _warn(text: str) -> None:
    errors_to().print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


def _log(at: "Addresses") -> None:
    logging.getLogger("fgd").info("fgd is up at %s", at.url)


def _print_json(at: "Addresses") -> None:
    print_json({name: value for name, value in vars(at).items() if name != "owns_ray"})


def _print_panel(at: "Addresses") -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("API", at.url),
        ("docs", at.docs_url),
        ("Ray dashboard", at.dashboard_url),
        ("home", str(at.home)),
        *([("log", str(at.log_file))] if at.log_file is not None else []),
    ):
        table.add_row(f"[dim]{name}[/]", escape(value))
    hint = "in another terminal: [bold]fgd submit examples/demo/teacher.yaml --watch[/]"
    ending = "Ctrl-C stops the server and its Ray" if at.owns_ray else "Ctrl-C stops the server; Ray keeps running"
    table.add_row("", "")
    table.add_row("[dim]next[/]", hint)
    output().print(Panel(table, title="fgd is up", subtitle=ending, expand=False, padding=(1, 2)))
