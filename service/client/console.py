"""Where commands write, and the options that most commands share.

People read tables on a terminal; programs read JSON on standard output.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType

from fgd_core.errors import StorageError
from service.client.connecting import DEFAULT_URL

# A pipe has no width; tables cut at 80 columns would lose data there.
_PIPE_WIDTH = 160

Server = Annotated[str, typer.Option("--server", envvar="FGD_SERVER", metavar="URL", help="The server's URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, for programs.")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id, or its first characters.")]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs, or their first characters.")]

SERVER: str = DEFAULT_URL


def output() -> Console:
    """Return the console for results, on standard output."""
    return _console(stderr=False)


def errors_to() -> Console:
    """Return the console for errors and progress, on standard error."""
    return _console(stderr=True)


def print_json(document: object) -> None:
    """Write a document, which may hold models, on one line of standard output; flush, because a reader may wait."""
    sys.stdout.write(json.dumps(document, default=_as_json) + "\n")
    sys.stdout.flush()


def print_answer(answer: object, text: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Write an answer as JSON for programs, or `text` for people; brackets in a string are no markup."""
    if as_json:
        print_json(answer)
    else:
        output().print(text(), markup=False)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that an option names; raises StorageError if that fails."""
    try:
        path.write_bytes(content)
    except OSError as cause:
        raise StorageError(f"cannot write {path}: {cause.strerror}; choose another path", path=str(path)) from cause


def print_written(path: Path, *, beside_json: bool = False) -> None:
    """Name a file that the command has written.

    Args:
        beside_json: write to standard error, because standard output has one JSON document.
    """
    (errors_to() if beside_json else output()).print(f"written: {path}", markup=False, soft_wrap=True)


def away_notice(url: str) -> str:
    """Return the notice of a live view for a server that does not answer."""
    return f"{url} does not answer; jobs continue to run, and this view continues when the server answers again"


def size(num_bytes: float) -> str:
    """Format `1536` as `1.5 kB`, in powers of 1000, as disk manufacturers do."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB", "GB"):
        num_bytes /= 1000
        if num_bytes < 999.5:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} TB"


def _as_json(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_WIDTH)
    return console
