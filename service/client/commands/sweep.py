"""`fgd sweep`"""

import math
from typing import Annotated, Any

import typer
import yaml
from pydantic import JsonValue
from rich.markup import escape

from fgd_core.spec.jobs import SweepSpec
from fgd_core.spec.trials import MoreBudget
from fgd_core.spec.views import JobView
from service.client.checking import checked
from service.client.client import FgdClient
from service.client.commands.jobs import jobs
from service.client.commands.submit import with_whole_ids
from service.client.commands.trials import objectives_of
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.errors import UsageError
from service.client.exits import guarded
from service.client.spec_file import changed
from service.client.trial_table import values_text

sweep = typer.Typer(
    rich_markup_mode="markdown",
    help="""Add to a sweep, stop a trial of it, search on, fork. Without a command, list sweeps.

**Examples**

`fgd sweep extend 3f2a --trials 20`

`fgd sweep fork 3f2a --set 'space.method.alpha={type: log_uniform, low: 1e-4, high: 1e-2}'`
""",
)

Sweep = Annotated[str, typer.Argument(metavar="ID", help="A sweep's id, or the beginning of it.")]


@sweep.callback(invoke_without_command=True)
@guarded
def show(context: typer.Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is None:
        jobs(None, kind="sweep", server=server, as_json=as_json)


@sweep.command()
@guarded
def add(
    prefix: Sweep,
    values: Annotated[list[str], typer.Argument(metavar="FIELD=VALUE...", help="Fields of the base, values in YAML.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Have these values tried next, whatever the searcher thinks. Fields that are left out stay as in the base.

    **Example**

    `fgd sweep add 3f2a method.alpha=0.002 method.temperature=0.8`
    """
    wanted = _values(values)
    with FgdClient(server) as client:
        asked = client.sweeps.add(client.find(prefix).job_id, wanted)
    if as_json:
        print_json(asked.model_dump(mode="json"))
    else:
        output().print(f"tried next: {values_text(asked.values)}", markup=False)


@sweep.command()
@guarded
def stop(
    prefix: Sweep,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="Its number, as `fgd trials` tells it.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Ask one trial to save and stop; the others go on.

    **Example**

    `fgd sweep stop 3f2a 7`
    """
    with FgdClient(server) as client:
        asked = client.sweeps.stop(client.find(prefix).job_id, trial)
    if as_json:
        print_json(asked.model_dump(mode="json"))
    else:
        output().print(f"trial {asked.trial}, at epoch {asked.epoch} of {asked.epochs}, is asked to stop")


@sweep.command()
@guarded
def extend(
    prefix: Sweep,
    *,
    trials: Annotated[int, typer.Option("--trials", min=0)] = 0,
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Over all trials.")] = 0,
    gpu_hours: Annotated[float, typer.Option("--gpu-hours", min=0.0)] = 0.0,
    wall_clock_s: Annotated[float, typer.Option("--wall-clock-s", min=0.0)] = 0.0,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Search on with so much more than its budget. A sweep that is over goes on where it ended, nothing is run again.

    **Example**

    `fgd sweep extend 3f2a --trials 20`
    """
    more = checked(MoreBudget, trials=trials, epochs=epochs, gpu_hours=gpu_hours, wall_clock_s=wall_clock_s)
    with FgdClient(server) as client:
        job = client.sweeps.extend(client.find(prefix).job_id, more)
    _say(job, as_json=as_json)


@sweep.command()
@guarded
def fork(
    prefix: Sweep,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a field: `--set budget.trials=40`. Repeatable."),
    ] = None,
    *,
    name: Annotated[str | None, typer.Option("--name", help="In place of that of the sweep.")] = None,
    printing: Annotated[bool, typer.Option("--print", help="Write the spec in YAML, and submit nothing.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """A sweep with a changed space or budget, in which the trials of this one count: nothing is run again.

    A dimension is changed by its path, `--set space.method.alpha.high=0.1`, and taken out with the value `null`.

    **Examples**

    `fgd sweep fork 3f2a --set 'space.method.temperature={type: log_uniform, low: 0.1, high: 10}'`

    `fgd sweep fork 3f2a --print > wider.yaml`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        objectives_of(job)
        assert isinstance(job.spec, SweepSpec)
        document: dict[str, Any] = job.spec.model_dump(mode="json", exclude_unset=True)
        document |= {"kind": "sweep", "fork": job.job_id}
        spec = changed(document, f"the spec of {job.job_id}", overrides=overrides or (), name=name)
        if printing:
            _print(spec.model_dump(mode="json", exclude_unset=True), as_json=as_json)
            return
        forked = client.submit(with_whole_ids(spec, client))
    _say(forked, as_json=as_json)


def _values(words: list[str]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for word in words:
        field, equals, text = word.partition("=")
        if not equals or not field:
            raise UsageError(f"{word!r} is no value; write FIELD=VALUE, as in method.alpha=0.002")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as cause:
            raise UsageError(f"{word!r}: {text!r} is not a YAML value; put quotes around it") from cause
        found[field] = _number(value) if isinstance(value, str) else value
    return found


def _number(text: str) -> str | float:
    """YAML takes 1e-3, which has no dot, for text."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        output().print(yaml.safe_dump(document, sort_keys=False), markup=False, soft_wrap=True, end="")


def _say(job: JobView, *, as_json: bool) -> None:
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    output().print(f"[bold]{escape(job.name)}[/] {job.job_id} is {job.state}")
    output().print(f"  follow it: fgd watch {job.job_id}", style="dim")
