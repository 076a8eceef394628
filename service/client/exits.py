"""How a command ends: its exit code, and its last words on an error."""

import functools
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import typer
from rich.markup import escape

from fgd_core.errors import FgdError
from service.client.console import errors_to, print_json
from service.client.errors import UnreachableError, UsageError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130

_CLIENT_VARIABLES = frozenset({"FGD_SERVER", "FGD_TOKEN", "FGD_TOKEN_FILE"})

P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Let a user's error end `command` with a sentence and an exit code, never with a traceback.

    With `--json` the error is one JSON document on standard output: {"error": {code, message, details}}.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if not _is_before_subcommand(kwargs.get("context")) and command.__name__ != "up":
                _warn_of_misspelt_variables()
            command(*args, **kwargs)
        except (FgdError, ModuleNotFoundError) as fault:
            error = fault if isinstance(fault, FgdError) else _missing_package(fault)
            if kwargs.get("as_json"):
                print_json({"error": {"code": error.code, "message": error.message, "details": error.details}})
            else:
                _explain(error)
            raise typer.Exit(_exit_code(error)) from fault

    return run


def _is_before_subcommand(context: Any) -> bool:
    """
    Raises:
        UsageError: options stand before the subcommand, which would not get them.
    """
    if context is None or context.invoked_subcommand is None:
        return False
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name is not None and _is_typed(context, option.name)
    ]
    if given:
        called = f"{context.command_path} {context.invoked_subcommand}"
        raise UsageError(f"{' and '.join(given)} must stand behind the whole command: {called} … {' … '.join(given)}")
    return True


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    # By its name: the class is typer's own copy of click's.
    return source is not None and source.name == "COMMANDLINE"


def _warn_of_misspelt_variables() -> None:
    """A misspelt FGD_SERVER would send the command to another server without a word. `fgd up` does this itself."""
    if all(name in _CLIENT_VARIABLES for name in os.environ if name.upper().startswith("FGD_")):
        return
    # Imported by name and only now: most environments have no other variable of ours. Without the server's packages the
    # known variables cannot be listed, and no server can be started either.
    try:
        own = importlib.import_module("service.server.options")
    except ModuleNotFoundError:
        return
    for hint in own.unknown_variables(os.environ, only_near=True):
        errors_to().print(f"warning: {hint}", style="yellow", markup=False)


def _missing_package(fault: ModuleNotFoundError) -> UsageError:
    """Return the error for a package of another extra; raise `fault` again if the module is one of ours."""
    package = (fault.name or "").partition(".")[0]
    if package in ("", "fgd_core", "service", "workers", "migrations"):
        raise fault
    return UsageError(f"this command needs the package {package}, not installed here; run `pip install fgd[service]`")


def _exit_code(error: FgdError) -> int:
    match error:
        case UnreachableError():
            return EXIT_UNREACHABLE
        case UsageError():
            return EXIT_USAGE
    return EXIT_REFUSED


def _explain(error: FgdError) -> None:
    console = errors_to()
    reasons = _reasons(error)
    console.print("[bold red]error[/]", end=" ")
    console.print(_headline(error, reasons), markup=False)
    for reason in reasons:
        if len(reasons) == 1 and reason.get("message") == error.message:
            break
        where = reason.get("loc") or "the job"
        console.print(f"  [bold]{escape(str(where))}[/]{escape(_origin(reason))}", end=": ")
        console.print(reason.get("message", ""), markup=False)
    for name, value in error.details.items():
        # The message names each finding of a data set already.
        shown = value if isinstance(value, str) else json.dumps(value)
        # What the message says already is not said again.
        if name not in ("reasons", "findings") and shown and shown not in error.message:
            console.print(f"  {name}: {shown}", markup=False, style="dim")


def _reasons(error: FgdError) -> list[dict[str, Any]]:
    reasons = error.details.get("reasons")
    return [reason for reason in reasons if isinstance(reason, dict)] if isinstance(reasons, list) else []


def _headline(error: FgdError, reasons: Sequence[Mapping[str, Any]]) -> str:
    """The message; of a server's refusal, which only joins the reasons, how many there are: they stand below."""
    if reasons and error.message == "; ".join(f"{reason.get('loc')}: {reason.get('message')}" for reason in reasons):
        return "refused, for this reason:" if len(reasons) == 1 else f"refused, for these {len(reasons)} reasons:"
    return error.message


def _origin(reason: Mapping[str, Any]) -> str:
    """` (line 7)`, ` (--name 'a/b')`: where the refused value was written."""
    said = [f"line {reason['line']}"] if reason.get("line") else []
    said += [str(option) for option in reason.get("options") or ()]
    return f" ({', '.join(said)})" if said else ""
