"""How a command ends: its exit code, and its last words on an error."""

import functools
import json
from collections.abc import Callable
from typing import Any, ParamSpec

import typer

from fgd_core.errors import FgdError
from service.client.console import errors_to, print_json
from service.client.errors import UnreachableError, UsageError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Let a user's error end `command` with a sentence and an exit code, never with a traceback.

    With `--json` the error is one JSON document on standard output: {"error": {code, message, details}}.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FgdError as error:
            if kwargs.get("as_json"):
                print_json({"error": {"code": error.code, "message": error.message, "details": error.details}})
            else:
                _explain(error)
            raise typer.Exit(_exit_code(error)) from error

    return run


def _exit_code(error: FgdError) -> int:
    match error:
        case UnreachableError():
            return EXIT_UNREACHABLE
        case UsageError():
            return EXIT_USAGE
    return EXIT_REFUSED


def _explain(error: FgdError) -> None:
    console = errors_to()
    console.print("[bold red]error[/]", end=" ")
    console.print(error.message, markup=False)
    for reason in _reasons(error):
        where = reason.get("loc") or "the job"
        line = f" (line {reason['line']})" if reason.get("line") else ""
        console.print(f"  [bold]{_plain(where)}[/]{line}", end=": ")
        console.print(reason.get("message", ""), markup=False)
    for name, value in error.details.items():
        if name != "reasons":
            shown = value if isinstance(value, str) else json.dumps(value)
            console.print(f"  {name}: {shown}", markup=False, style="dim")


def _reasons(error: FgdError) -> list[dict[str, Any]]:
    reasons = error.details.get("reasons")
    return [reason for reason in reasons if isinstance(reason, dict)] if isinstance(reasons, list) else []


def _plain(text: object) -> str:
    return str(text).replace("[", "\\[")
