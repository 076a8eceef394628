"""The `fgd` command: a table of commands, each loaded only when it runs.

`fgd --help` must answer at once, and no command should wait for the imports of another one. So the table names
modules, and `load` imports the module of the command that runs.
"""

import importlib
import importlib.metadata
import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

_NEGATIVE_NUMBER = re.compile(r"-\d+")


class Row(NamedTuple):
    """Says where a command is defined and how `fgd --help` lists it."""

    module: str
    panel: str
    summary: str


_JOBS, _KEEP, _RULE, _HERE = "Jobs", "Housekeeping", "Administration", "On this machine"

# Each module defines a function, or a group of commands, with the command's name.
COMMANDS: Mapping[str, Row] = {
    "demo": Row("service.client.commands.demo", _HERE, "Train a teacher and its student, and compare them."),
    "demo-sweep": Row("service.client.commands.demo", _HERE, "Search the loss weights for a teacher and student."),
    "up": Row("service.server.commands.up", _HERE, "Start the server and a local Ray."),
    "submit": Row("service.client.commands.submit", _JOBS, "Submit a job from a YAML or JSON file."),
    "catalogue": Row("service.client.commands.catalogue", _JOBS, "List everything that a spec can contain."),
    "data": Row("service.client.commands.data", _JOBS, "Register, check, list and show data sets."),
    "weights": Row("service.client.commands.weights", _HERE, "Show what a weights file contains for a detector."),
    "export": Row("service.client.commands.export", _JOBS, "Export a job's detector to ONNX, and check the file."),
    "models": Row("service.client.commands.models", _JOBS, "Name versions of models, and show where they come from."),
    "predict": Row("service.client.commands.predict", _HERE, "Detect objects in images with a checkpoint or export."),
    "recipes": Row("service.client.commands.recipes", _JOBS, "List published teacher-student pairs to submit."),
    "jobs": Row("service.client.commands.jobs", _JOBS, "List jobs, newest first."),
    "watch": Row("service.client.commands.watch", _JOBS, "Follow jobs live, with progress bars."),
    "show": Row("service.client.commands.show", _JOBS, "Show all details of one job."),
    "logs": Row("service.client.commands.logs", _JOBS, "Show a job's events and its process output."),
    "queue": Row("service.client.commands.queue", _JOBS, "Show why each job waits, and when it may start."),
    "priority": Row("service.client.commands.control", _JOBS, "Change a job's priority in the queue."),
    "pause": Row("service.client.commands.control", _JOBS, "Save jobs and stop them until they are resumed."),
    "resume": Row("service.client.commands.control", _JOBS, "Continue paused jobs."),
    "cancel": Row("service.client.commands.control", _JOBS, "Save jobs and stop them."),
    "retry": Row("service.client.commands.control", _JOBS, "Run failed or cancelled jobs again."),
    "delete": Row("service.client.commands.delete", _JOBS, "Delete jobs that are over, with their files."),
    "report": Row("service.client.commands.report", _JOBS, "Show scores side by side, as a table, HTML or CSV."),
    "compare": Row("service.client.commands.compare", _JOBS, "Test which differences are more than chance."),
    "reproduce": Row("service.client.commands.reproduce", _JOBS, "Run a job again, and check that its scores agree."),
    "verify": Row("service.client.commands.verify", _JOBS, "Compute a figure of a report again, chosen at random."),
    "trials": Row("service.client.commands.sweep", _JOBS, "List the trials of a sweep, best first."),
    "sweep": Row("service.client.commands.sweep", _JOBS, "Extend, fork or export a sweep; add or stop a trial."),
    "tokens": Row("service.client.commands.tokens", _RULE, "Create, list and revoke API tokens."),
    "projects": Row("service.client.commands.projects", _RULE, "Show and change shares and limits of projects."),
    "webhooks": Row("service.client.commands.webhooks", _RULE, "Manage URLs that are called when jobs end."),
    "whoami": Row("service.client.commands.tokens", _RULE, "Show the name and role of your token."),
    "audit": Row("service.client.commands.audit", _RULE, "List who changed what."),
    "gc": Row("service.client.commands.gc", _KEEP, "Delete what the retention rules no longer keep."),
    "backup": Row("service.server.commands.backup", _KEEP, "Write all data of a server to one file."),
    "restore": Row("service.server.commands.restore", _KEEP, "Fill an empty database from a backup."),
    "migrate": Row("service.server.commands.migrate", _KEEP, "Upgrade the database to this version's schema."),
}

_LISTS = "`fgd jobs` lists jobs, `fgd show ID` shows one, `fgd watch` follows them live."
_SUBMITS = (
    "`fgd submit SPEC` submits a job; write `kind: {}` in the spec. The folder `examples` has specs to begin with."
)
_PAGES = "The server has pages at /docs and /ray/; `fgd report ID --html FILE` writes a page about a job."
_PREDICTS = "`fgd predict MODEL IMAGES` detects objects in images."
_STARTS = "`fgd up` starts the server and a local Ray."
_STOPS = "Ctrl-C in the terminal of `fgd up` stops the server; `fgd cancel ID` stops a job."

# Commands that users of other tools may type, and the commands of fgd that do the same.
HINTS: Mapping[str, str] = {
    **dict.fromkeys(("status", "list", "ls", "ps", "top", "get", "info", "describe"), _LISTS),
    **{kind: _SUBMITS.format(kind) for kind in ("train", "distill", "chain", "evaluate", "study")},
    **dict.fromkeys(("run", "create", "launch", "fit"), _SUBMITS.format("train")),
    **dict.fromkeys(("eval", "test", "score", "val"), _SUBMITS.format("evaluate")),
    **dict.fromkeys(("tune", "search", "optimize"), _SUBMITS.format("sweep")),
    **dict.fromkeys(("ui", "web", "dashboard", "gui", "board", "docs", "ray"), _PAGES),
    **dict.fromkeys(("infer", "inference", "detect"), _PREDICTS),
    **dict.fromkeys(("start", "serve", "server", "init", "install"), _STARTS),
    **dict.fromkeys(("stop", "down", "kill", "shutdown", "exit", "quit"), _STOPS),
    **dict.fromkeys(("rm", "remove"), "`fgd delete ID` deletes a job that is over."),
    **dict.fromkeys(("log", "tail", "output", "events"), "`fgd logs ID` shows them; -f follows them live."),
    **dict.fromkeys(("metrics", "results", "summary", "plot"), "`fgd report ID` shows scores; --html writes a page."),
    **dict.fromkeys(("check", "validate", "lint", "dataset", "datasets"), "`fgd data` checks and lists data sets."),
    **dict.fromkeys(("methods", "detectors", "options"), "`fgd catalogue` lists what a spec can contain."),
    **dict.fromkeys(("login", "auth", "config", "configure"), "FGD_SERVER names the server; FGD_TOKEN holds a token."),
    **dict.fromkeys(("version",), "`fgd --version` prints the version."),
    **dict.fromkeys(("help", "man"), "`fgd --help` lists all commands, `fgd COMMAND --help` explains one."),
}

_HELP = """Distil object detectors: train a small student to imitate a large teacher, and measure what it gains.

[bold]First time:[/] [cyan]fgd demo[/] shows everything in a few minutes. [bold]Then:[/] [cyan]fgd up[/] in one
terminal, and in another one [cyan]fgd submit examples/demo/teacher.yaml --watch[/].

The first characters of a job id are enough if no other id begins with them. Every command accepts [cyan]--json[/].
"""

_EPILOG = "Exit codes: 0 success · 1 job failed or server refused · 2 wrong usage · 3 no server · 130 interrupted"


def main() -> None:
    """Run `fgd` with the arguments of this process."""
    group().main(prog_name="fgd")


class _Commands(TyperGroup):
    """Shows the summaries of the table as help, and loads the real command when one runs.

    `ctx` is a class of the copy of click inside typer, which typer does not export.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {option for param in self.get_params(ctx) for option in param.opts}
        option, command = args[0].partition("=")[0] if args else "", next((w for w in args if w in self.commands), None)
        if option.startswith("-") and option not in known and command is not None and not ctx.resilient_parsing:
            ctx.fail(f"write {option} after the command: fgd {command} … {option}")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as fault:
            # typer leaves the value out of its message; pydantic's error, its cause, has the value.
            errors: list[dict[str, object]] = getattr(fault.__cause__, "errors", list)()
            if errors:
                fault.message += f", not {errors[0]['input']!r}"
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in HINTS and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. {HINTS[args[0]]}")
        name, command, rest = super().resolve_command(ctx, args)
        if name == "priority" and "--" not in rest:
            # A negative number is not an option: `fgd priority 3f2a -10`.
            numbers = [word for word in rest if _NEGATIVE_NUMBER.fullmatch(word)]
            rest = [*(word for word in rest if word not in numbers), *(["--", *numbers] if numbers else [])]
        try:
            return name, load(name) if name else command, rest
        except ModuleNotFoundError as fault:
            if (fault.name or "service").partition(".")[0] in ("fgd_core", "service"):
                raise
            ctx.fail(f"`fgd {name}` needs the package {fault.name}, not installed here; run `pip install fgd[service]`")


def load(name: str) -> TyperCommand | TyperGroup:
    """Import a command, or a group of commands."""
    found = getattr(importlib.import_module(COMMANDS[name].module), name.replace("-", "_"))
    if isinstance(found, typer.Typer):
        commands = typer.main.get_group(found)
        commands.name = name
        return commands
    app = typer.Typer(rich_markup_mode="markdown", add_completion=False)
    app.command(name)(found)
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


def group() -> _Commands:
    """Return the `fgd` command with all rows of the table."""
    app = typer.Typer(
        name="fgd",
        cls=_Commands,
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        # All commands inherit this.
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    found = typer.main.get_command(app)
    assert isinstance(found, _Commands)
    for name, row in COMMANDS.items():
        found.add_command(TyperCommand(name, help=row.summary, rich_help_panel=row.panel))
    return found


def _print_version(is_set: bool) -> None:
    if is_set:
        print(f"fgd {importlib.metadata.version('fgd')}")  # noqa: T201 - rich would have to be loaded for this
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
