"""The `fgd` command: a table of commands, each loaded only when it is called.

`fgd --help` must answer at once, and no command should pay for the imports of another; so the table names modules, and
the one asked for is imported by its name.
"""

import importlib
import importlib.metadata
import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from service.client.hints import HINTS

_BELOW_ZERO = re.compile(r"-\d+")
_GUARD = "service.client.exits"


class Row(NamedTuple):
    module: str
    panel: str
    summary: str


_JOBS, _KEEP, _RULE, _HERE = "Jobs", "Housekeeping", "Who may do what", "On this machine"

# The function, or the group of functions, has the command's name.
COMMANDS: Mapping[str, Row] = {
    "demo": Row("service.client.commands.demo", _HERE, "Watch a teacher teach a student, here and now."),
    "demo-sweep": Row("service.client.commands.demo_sweep", _HERE, "Watch a search for the weights that suit a pair."),
    "up": Row("service.server.commands.up", _HERE, "Start the control plane and a local Ray."),
    "submit": Row("service.client.commands.submit", _JOBS, "Hand in a job from a YAML or JSON file."),
    "catalogue": Row("service.client.commands.catalogue", _JOBS, "All that a spec can ask for, with help."),
    "data": Row("service.client.commands.data", _JOBS, "Data sets by name: add, check, list, show."),
    "weights": Row("service.client.commands.weights", _HERE, "What a file of weights holds for a detector."),
    "recipes": Row("service.client.commands.recipes", _JOBS, "Published pairs, ready to be handed in."),
    "jobs": Row("service.client.commands.jobs", _JOBS, "List jobs, newest first."),
    "watch": Row("service.client.commands.watch", _JOBS, "Follow jobs live, with bars."),
    "show": Row("service.client.commands.show", _JOBS, "All there is to know about one job."),
    "logs": Row("service.client.commands.logs", _JOBS, "What a job reported, and what its process printed."),
    "queue": Row("service.client.commands.queue", _JOBS, "Why each job waits, and when it may start."),
    "priority": Row("service.client.commands.priority", _JOBS, "Change a job's place in the queue."),
    "pause": Row("service.client.commands.pause", _JOBS, "Have jobs save and stand still."),
    "resume": Row("service.client.commands.resume", _JOBS, "Let paused jobs go on."),
    "cancel": Row("service.client.commands.cancel", _JOBS, "Ask jobs to save and stop."),
    "retry": Row("service.client.commands.retry", _JOBS, "Try failed or cancelled jobs again."),
    "delete": Row("service.client.commands.delete", _JOBS, "Delete jobs that are over, with their files."),
    "report": Row("service.client.commands.report", _JOBS, "Scores side by side, as a table, HTML or CSV."),
    "compare": Row("service.client.commands.compare", _JOBS, "Which differences are more than chance."),
    "trials": Row("service.client.commands.trials", _JOBS, "The trials of a sweep, the best ahead."),
    "sweep": Row("service.client.commands.sweep", _JOBS, "Add to a sweep, stop a trial, search on, fork."),
    "tokens": Row("service.client.commands.tokens", _RULE, "API tokens: make, list, revoke."),
    "projects": Row("service.client.commands.projects", _RULE, "Shares and limits of projects, and what they use."),
    "webhooks": Row("service.client.commands.webhooks", _RULE, "Who is told of the ends of jobs."),
    "whoami": Row("service.client.commands.whoami", _RULE, "Who the server takes you for."),
    "audit": Row("service.client.commands.audit", _RULE, "Who changed what."),
    "gc": Row("service.client.commands.gc", _KEEP, "Put away what the rules no longer keep."),
    "backup": Row("service.server.commands.backup", _KEEP, "Everything that a server keeps, in one file."),
    "restore": Row("service.server.commands.restore", _KEEP, "Fill an empty database from such a file."),
    "migrate": Row("service.server.commands.migrate", _KEEP, "Bring the database to this version's schema."),
}

_HELP = """Distil object detectors: a big teacher, a small student, and the figures that tell what it brought.

[bold]First time:[/] [cyan]fgd demo[/] shows all of it in minutes. [bold]Then:[/] [cyan]fgd up[/] in one terminal,
in another [cyan]fgd submit examples/demo/teacher.yaml --watch[/].

Job ids may be shortened as long as they stay unique. Every command takes [cyan]--json[/].
"""

_EPILOG = "Exit codes: 0 done · 1 the job failed or the server refused · 2 usage · 3 no server · 130 interrupted"


def main() -> None:
    group().main(prog_name="fgd")


class _Commands(TyperGroup):
    """Shows the table's summaries for help, and swaps in the real command when one is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {option for param in self.get_params(ctx) for option in param.opts}
        option, command = args[0].partition("=")[0] if args else "", next((w for w in args if w in self.commands), None)
        if option.startswith("-") and option not in known and command is not None and not ctx.resilient_parsing:
            ctx.fail(f"{option} must stand behind the command: fgd {command} … {option}")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as fault:
            # Raised from pydantic's error, which knows what was typed; typer leaves it out.
            errors: list[dict[str, Any]] = getattr(fault.__cause__, "errors", list)()
            if errors:
                fault.message += f", and not {errors[0]['input']!r}"
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in HINTS and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{args[0]}'. {HINTS[args[0]]}")
        name, command, rest = super().resolve_command(ctx, args)
        if name == "priority" and "--" not in rest:
            # A number below zero is no option: `fgd priority 3f2a -10`.
            numbers = [word for word in rest if _BELOW_ZERO.fullmatch(word)]
            rest = [*(word for word in rest if word not in numbers), *(["--", *numbers] if numbers else [])]
        try:
            return name, load(name) if name else command, rest
        except ModuleNotFoundError as fault:
            if (fault.name or "service").partition(".")[0] in ("fgd_core", "service"):
                raise
            ctx.fail(f"`fgd {name}` needs the package {fault.name}, not installed here; run `pip install fgd[service]`")


def load(name: str) -> TyperCommand | TyperGroup:
    """The command of that name, or the group of commands, its module imported and its errors guarded."""
    found = getattr(importlib.import_module(COMMANDS[name].module), name.replace("-", "_"))
    if isinstance(found, typer.Typer):
        commands = typer.main.get_group(found)
        commands.name = name
        return commands
    app = typer.Typer(rich_markup_mode="markdown", add_completion=False)
    guarded = importlib.import_module(_GUARD).guarded(found)
    app.command(name)(guarded)
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


def group() -> _Commands:
    app = typer.Typer(
        name="fgd",
        cls=_Commands,
        help=_HELP,
        epilog=_EPILOG,
        no_args_is_help=True,
        rich_markup_mode="rich",
        # All commands inherit it.
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    found = typer.main.get_command(app)
    assert isinstance(found, _Commands)
    for name, row in COMMANDS.items():
        found.add_command(TyperCommand(name, help=row.summary, rich_help_panel=row.panel))
    return found


def _print_version(asked: bool) -> None:
    """Print the version, and end."""
    if asked:
        print(f"fgd {importlib.metadata.version('fgd')}")  # noqa: T201 - no library of ours is loaded for this
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Say which fgd this is.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
