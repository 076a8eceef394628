"""Where a command writes: people read tables on a terminal, programs read JSON on standard output."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from service.client.address import DEFAULT_URL

# A pipe has no width; a table cut at 80 columns is of no use there.
_PIPE_WIDTH = 160

Server = Annotated[
    str, typer.Option("--server", envvar="FGD_SERVER", metavar="URL", help="The control plane to talk to.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, for programs.")]

SERVER: str = DEFAULT_URL


def output() -> Console:
    return _console(stderr=False)


def errors_to() -> Console:
    return _console(stderr=True)


def print_json(document: Any) -> None:
    """One JSON document on one line of standard output, at once: a reader may wait for it."""
    sys.stdout.write(json.dumps(document, default=str) + "\n")
    sys.stdout.flush()


def print_json_models(models: Sequence[Any]) -> None:
    print_json([model.model_dump(mode="json") for model in models])


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    return console
