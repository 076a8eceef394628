"""Runs a command: checks its options, explains its errors, and chooses its exit code."""

import contextlib
import functools
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ParamSpec, TypeVar, cast

import typer
from pydantic import JsonValue, ValidationError
from rich.markup import escape

from fgd_core.errors import FgdError
from fgd_core.spec.base import Command
from service.client.console import errors_to, print_json
from service.client.errors import UnreachableError, UsageError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_INTERRUPTED = 130

_CLIENT_VARIABLES = frozenset({"FGD_SERVER", "FGD_TOKEN", "FGD_TOKEN_FILE"})

C = TypeVar("C", bound=Command)
P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Return the command with its errors explained: a message and an exit code in place of a traceback.

    With `--json` the error is one JSON document on standard output: {"error": {code, message, details}}. The function
    of a group of commands runs only if no subcommand follows.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if _is_before_subcommand(kwargs.get("context")):
                return
            if command.__name__ != "up":
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


@contextlib.contextmanager
def interruptible(message: str = "") -> Iterator[None]:
    """End the command with 130 if Ctrl-C interrupts the block, after a message that says what continues."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if message:
            errors_to().print(f"\n{message}")
        raise typer.Exit(EXIT_INTERRUPTED) from interrupt


def checked(model: type[C], **options: object) -> C:
    """Return the options of a command as a model.

    Raises:
        UsageError: options have wrong values; the message names each option and its value.
    """
    try:
        return model.model_validate(options)
    except ValidationError as cause:
        faults = cause.errors(include_url=False)
        raise UsageError(
            "; ".join(f"{_option(fault['loc'])} {fault['input']!r}: {fault['msg']}" for fault in faults)
        ) from cause


def _option(loc: tuple[int | str, ...]) -> str:
    return f"--{str(loc[0]).replace('_', '-')}"


def _is_before_subcommand(context: object) -> bool:
    """Return whether a group's own function runs before its subcommand.

    Raises:
        UsageError: options stand before the subcommand, which would not receive them.
    """
    # The argument is an instance of a base class of typer.Context, which typer does not export.
    group = cast("typer.Context | None", context)
    if group is None or group.invoked_subcommand is None:
        return False
    given = [
        option.opts[0] for option in group.command.params if option.name is not None and _is_typed(group, option.name)
    ]
    if given:
        called = f"{group.command_path} {group.invoked_subcommand}"
        raise UsageError(f"write {' and '.join(given)} after the subcommand: {called} … {' … '.join(given)}")
    return True


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    # Compared by name: the class belongs to the copy of click inside typer.
    return source is not None and source.name == "COMMANDLINE"


def _warn_of_misspelt_variables() -> None:
    """Warn of a misspelt variable: with a misspelt FGD_SERVER the command would use another server.

    `fgd up` checks its variables itself.
    """
    if all(name in _CLIENT_VARIABLES for name in os.environ if name.upper().startswith("FGD_")):
        return
    # Imported late and by name: most environments have no other variable of fgd. Without the packages of the server the
    # known variables cannot be listed, and no server can be started.
    try:
        options = importlib.import_module("service.server.options")
    except ModuleNotFoundError:
        return
    for hint in options.unknown_variables(os.environ, only_near=True):
        errors_to().print(f"warning: {hint}", style="yellow", markup=False)


def _missing_package(fault: ModuleNotFoundError) -> UsageError:
    """Return the error for a package of another extra; raise `fault` again if the module is one of ours."""
    package = (fault.name or "").partition(".")[0]
    if package in ("", "fgd_core", "service", "workers", "migrations"):
        raise fault
    extra = package if package == "optuna" else "service"
    return UsageError(f"this command needs the package {package}, not installed here; run `pip install fgd[{extra}]`")


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
        # The message already contains the findings of a data set, and some of the other details.
        shown = value if isinstance(value, str) else json.dumps(value)
        if name not in ("reasons", "findings") and shown and shown not in error.message:
            console.print(f"  {name}: {shown}", markup=False, style="dim")


def _reasons(error: FgdError) -> list[dict[str, JsonValue]]:
    reasons = error.details.get("reasons")
    return [reason for reason in reasons if isinstance(reason, dict)] if isinstance(reasons, list) else []


def _headline(error: FgdError, reasons: Sequence[Mapping[str, JsonValue]]) -> str:
    """Return the message, or only the number of reasons if the message repeats the reasons that follow."""
    if reasons and error.message == "; ".join(f"{reason.get('loc')}: {reason.get('message')}" for reason in reasons):
        return "refused for this reason:" if len(reasons) == 1 else f"refused for these {len(reasons)} reasons:"
    return error.message


def _origin(reason: Mapping[str, JsonValue]) -> str:
    """Return ` (line 7)` or ` (--name 'a/b')`: where the refused value is written."""
    places = [f"line {reason['line']}"] if reason.get("line") else []
    options = reason.get("options")
    places += [str(option) for option in options] if isinstance(options, list) else []
    return f" ({', '.join(places)})" if places else ""
