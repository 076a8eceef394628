"""`fgd sweep` and `fgd trials`"""

import importlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import JsonValue
from typer import Argument, Context, Option, Typer

from fgd_core.errors import NotFoundError
from fgd_core.spec.event_text import values_text
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.search import Objective
from fgd_core.spec.sweep_report import TrialView
from fgd_core.spec.trials import MoreBudget
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.commands.jobs import jobs
from service.client.commands.submit import print_submitted, with_full_ids
from service.client.console import (
    SERVER,
    AsJson,
    Server,
    output,
    print_answer,
    print_json,
    print_written,
    write_file,
)
from service.client.errors import UsageError
from service.client.exits import checked, guarded
from service.client.spec_file import changed, yaml_value
from service.client.trial_table import trial_table

sweep = Typer(
    rich_markup_mode="markdown",
    help="""Extend, fork or export a sweep, add or stop a trial. Without a subcommand, list sweeps.

**Examples**

`fgd sweep extend 3f2a --trials 20`

`fgd sweep fork 3f2a --set 'space.method.alpha={type: log_uniform, low: 1e-4, high: 1e-2}'`
""",
)

SweepId = Annotated[str, Argument(metavar="ID", help="A sweep's id, or its first characters.")]


@sweep.callback(invoke_without_command=True)
@guarded
def show(context: Context, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List the sweeps if no subcommand follows."""
    jobs(None, kind="sweep", server=server, as_json=as_json)


@sweep.command()
@guarded
def add(
    prefix: SweepId,
    values: Annotated[list[str], Argument(metavar="FIELD=VALUE...", help="Fields of the base, with values in YAML.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Add a trial with these values; it is the next to run, whatever the searcher suggests. Other fields keep the
    values of the base.

    **Example**

    `fgd sweep add 3f2a method.alpha=0.002 method.temperature=0.8`
    """
    wanted = _values(values)
    with FgdClient(server) as client:
        added = client.sweeps.add(client.find(prefix).job_id, wanted)
    print_answer(added, lambda: f"next trial: {values_text(added.values)}", as_json=as_json)


@sweep.command()
@guarded
def stop(
    prefix: SweepId,
    trial: Annotated[int, Argument(metavar="TRIAL", min=0, help="A trial's number, from `fgd trials`.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Ask one trial to save and stop; the others continue.

    **Example**

    `fgd sweep stop 3f2a 7`
    """
    with FgdClient(server) as client:
        stopping = client.sweeps.stop(client.find(prefix).job_id, trial)
    text = f"asked trial {stopping.trial} to stop, at epoch {stopping.epoch} of {stopping.epochs}"
    print_answer(stopping, lambda: text, as_json=as_json)


@sweep.command()
@guarded
def extend(
    prefix: SweepId,
    *,
    trials: Annotated[int, Option(metavar="N", min=0, help="More trials.")] = 0,
    epochs: Annotated[int, Option(metavar="N", min=0, help="More epochs, over all trials.")] = 0,
    gpu_hours: Annotated[float, Option(metavar="HOURS", min=0.0, help="More GPU hours.")] = 0.0,
    wall_clock_s: Annotated[float, Option(metavar="SECONDS", min=0.0, help="More seconds of running time.")] = 0.0,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Add to a sweep's budget. A sweep that is over continues where it ended and repeats no trial.

    **Example**

    `fgd sweep extend 3f2a --trials 20`
    """
    more = checked(MoreBudget, trials=trials, epochs=epochs, gpu_hours=gpu_hours, wall_clock_s=wall_clock_s)
    with FgdClient(server) as client:
        job = client.sweeps.extend(client.find(prefix).job_id, more)
    print_submitted(job, as_json=as_json)


@sweep.command()
@guarded
def fork(
    prefix: SweepId,
    overrides: Annotated[
        list[str] | None,
        Option("--set", metavar="PATH=VALUE", help="Change a field: `--set budget.trials=40`. Repeatable."),
    ] = None,
    *,
    name: Annotated[str | None, Option(metavar="NAME", help="Use this name in place of the sweep's.")] = None,
    printing: Annotated[bool, Option("--print", help="Print the spec as YAML, and submit nothing.")] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Submit a sweep with another space or budget that uses the trials of this one and repeats none of them.

    `--set space.method.alpha.high=0.1` changes a dimension by its path; the value `null` removes it.

    **Examples**

    `fgd sweep fork 3f2a --set 'space.method.temperature={type: log_uniform, low: 0.1, high: 10}'`

    `fgd sweep fork 3f2a --print > wider.yaml`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        objectives_of(job)
        assert isinstance(job.spec, SweepSpec)
        document: dict[str, JsonValue] = job.spec.model_dump(mode="json", exclude_unset=True)
        document |= {"kind": "sweep", "fork": job.job_id}
        spec = changed(document, f"the spec of {job.job_id}", overrides=overrides or (), name=name)
        if printing:
            _print(spec.model_dump(mode="json", exclude_unset=True), as_json=as_json)
            return
        forked = client.submit(with_full_ids(spec, client))
    print_submitted(forked, as_json=as_json)


@sweep.command()
@guarded
def export(
    prefix: SweepId,
    *,
    optuna: Annotated[
        Path | None, Option(metavar="FILE", help="Write the study into this SQLite file of Optuna; others in it stay.")
    ] = None,
    csv: Annotated[
        Path | None, Option(metavar="FILE", help="Write a row per trial, with the columns of Ray Tune's dataframe.")
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Write the trials of a sweep for other tools, also while it runs.

    Optuna's file needs `pip install fgd[optuna]`. A second export of a sweep replaces the first.

    **Examples**

    `fgd sweep export 3f2a --optuna studies.db && optuna-dashboard sqlite:///studies.db`

    `fgd sweep export 3f2a --csv trials.csv`
    """
    if optuna is None and csv is None:
        raise UsageError("nothing to write; name a file with --optuna or --csv")
    with FgdClient(server) as client:
        job = client.find(prefix)
        objectives_of(job)
        if optuna is not None:
            _export_to_optuna(job, client.sweeps.trials(job.job_id).items, optuna)
        if csv is not None:
            write_file(csv, client.sweeps.trials_csv(job.job_id))
    written = [path for path in (optuna, csv) if path is not None]
    if as_json:
        print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        print_written(path)


def _export_to_optuna(job: JobView, found: Sequence[TrialView], path: Path) -> None:
    assert isinstance(job.spec, SweepSpec)
    # By name: only this option needs Optuna.
    write = importlib.import_module("service.client.optuna_export").write
    write(path, job.job_id, job.spec, found, submitted_at=job.created_at)


@guarded
def trials(prefix: SweepId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """List the trials of a sweep, best first: how far each one is, its score, and its values.

    **Examples**

    `fgd trials 3f2a`

    `fgd trials 3f2a --json | jq '.items[] | select(.state == "failed").error.message'`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        found = client.sweeps.trials(job.job_id)
    if as_json:
        print_json(found)
        return
    if not found.items:
        output().print(f"the sweep is {job.state} and has started no trial yet")
        return
    output().print(trial_table(found.items, objectives_of(job), width=output().width))
    counts = Counter(trial.state for trial in found.items)
    output().print(" · ".join(f"{count} {state}" for state, count in counts.items()), style="dim")


def objectives_of(job: JobView) -> tuple[Objective, ...]:
    """Return the objectives of a sweep; raises NotFoundError if the job is not a sweep of a known version."""
    if not isinstance(job.spec, SweepSpec):
        raise NotFoundError(f"job {job.job_id} is of kind {job.kind!r}; `fgd jobs --kind sweep` lists the sweeps")
    return job.spec.objectives or (Objective(),)


def _values(words: list[str]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for word in words:
        field, equals, text = word.partition("=")
        if not equals or not field:
            raise UsageError(f"{word!r} has no value; write FIELD=VALUE, as in method.alpha=0.002")
        value = yaml_value(text, option=word)
        found[field] = _number(value) if isinstance(value, str) else value
    return found


def _number(text: str) -> str | float:
    """Return the number that a text stands for: YAML reads 1e-3, which has no dot, as text."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _print(document: dict[str, JsonValue], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
    else:
        output().print(yaml.safe_dump(document, sort_keys=False), markup=False, soft_wrap=True, end="")
