"""`fgd submit`"""

from pathlib import Path
from typing import Annotated

from rich.console import Group
from rich.markup import escape
from rich.text import Text
from typer import Argument, Option

from fgd_core.errors import SpecError
from fgd_core.spec.checkpoint_references import checkpoint_references
from fgd_core.spec.costs import CostEstimate, JobCost
from fgd_core.spec.drafts import DraftView
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.prediction import PredictionView
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.commands.watch import follow_to_the_end
from service.client.console import SERVER, AsJson, Server, output, print_answer
from service.client.errors import UsageError
from service.client.exits import guarded
from service.client.predicting import predicted, priced
from service.client.spec_file import locate, read_spec


@guarded
def submit(
    source: Annotated[str, Argument(metavar="SPEC", help="A YAML or JSON file, - for standard input, or recipe:NAME.")],
    overrides: Annotated[
        list[str] | None,
        Option("--set", metavar="PATH=VALUE", help="Change a field: `--set training.epochs=3`. Repeatable."),
    ] = None,
    *,
    name: Annotated[str | None, Option(metavar="NAME", help="Use this name in place of the file's.")] = None,
    under: Annotated[
        Path | None, Option(metavar="DIR", help="Folder for relative paths in the file.  [default: its own]")
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Submit nothing: check the spec, and print what the job would reach and cost.")
    ] = False,
    watching: Annotated[bool, Option("--watch", help="Follow the job until it is over, as `fgd watch` does.")] = False,
    key: Annotated[
        str | None,
        Option("--idempotency-key", metavar="KEY", help="A second submission with this key returns the first job."),
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Submit a job. The spec is checked first; every fault is shown with its line.

    Relative paths in the file start from the file's folder, or from `--under`. Relative paths in a recipe or in `--set`
    start from the current folder. A checkpoint may be that of another job, `job:<id>/best`; the job then waits for the
    other one.

    **Examples**

    `fgd submit examples/demo/teacher.yaml --watch`

    `fgd submit examples/demo/distilled.yaml --set teacher.checkpoint=job:3f2a/best --set training.epochs=12`

    `fgd submit recipe:retinanet_r50_from_x101 --under /data`

    `fgd submit study.yaml --dry-run`
    """
    spec = read_spec(source, overrides=overrides or (), name=name, under=under)
    with FgdClient(server) as client:
        complete = with_full_ids(spec, client)
        try:
            if dry_run:
                _print_draft(spec, client.check(complete), as_json=as_json)
                return
            job = client.submit(complete, idempotency_key=key)
        except SpecError as refusal:
            locate(refusal, source, overrides=overrides or (), name=name)
            raise
        if watching:
            if not as_json:
                output().print(f"[bold]{escape(job.name)}[/] {job.job_id}")
            follow_to_the_end(client, [job], as_json=as_json)
        else:
            print_submitted(job, as_json=as_json)
            if not as_json:
                _print_method(spec)
                print_forecasts(predicted(client, job.job_id, job.kind), priced(client, job.job_id, job.kind))


def print_submitted(job: JobView, *, as_json: bool) -> None:
    """Print the state of a job that the server has just queued, and how to follow it."""
    waited = f"its {len(job.study_runs)} runs" if job.study_runs else ", ".join(job.waits_for)
    waits = f", waits for {waited}" if waited else ""
    state = Text.assemble((job.name, "bold"), f" {job.job_id} is {job.state}{waits}")
    hint = Text(f"  follow it: fgd watch {job.job_id}", style="dim")
    print_answer(job, lambda: Group(state, hint), as_json=as_json)


def _print_draft(spec: JobSpec, found: DraftView, *, as_json: bool) -> None:
    print_answer(found, lambda: Text("the server would accept this job; nothing was submitted"), as_json=as_json)
    if not as_json:
        _print_method(spec)
        print_forecasts(found.prediction, found.cost)


def _print_method(spec: JobSpec) -> None:
    """Say how a student will be distilled, because a spec may leave each part of it out."""
    if isinstance(spec, DistillSpec | ChainSpec):
        settings = spec.method.model_dump(mode="json", include={"scale", "temperature"})
        details = "".join(f", {name} {value}" for name, value in settings.items())
        output().print(Text(f"  method {spec.method.name()}{details}"))


def print_forecasts(prediction: PredictionView | None, cost: JobCost | CostEstimate | None) -> None:
    """Print what a job will reach and cost, as far as earlier runs say it."""
    if prediction is not None and prediction.predictions:
        output().print(Text(f"  {prediction.sentence}"))
    if cost is not None:
        output().print(Text(f"  {cost.sentence}"))


def with_full_ids(spec: JobSpec, client: FgdClient) -> JobSpec:
    """Return the spec with full job ids in its checkpoint references and in the sweeps that it names."""
    try:
        references = checkpoint_references(spec)
    except ValueError as cause:
        raise UsageError(str(cause)) from cause
    if isinstance(spec, SweepSpec):
        fork = client.find(spec.fork).job_id if spec.fork is not None else None
        learned = tuple(client.find(job_id).job_id for job_id in spec.warm_start)
        spec = spec.model_copy(update={"fork": fork, "warm_start": learned})
    text = spec.model_dump_json()
    for reference in references:
        full = reference.model_copy(update={"job_id": client.find(reference.job_id).job_id})
        text = text.replace(f'"{reference}"', f'"{full}"')
    return type(spec).model_validate_json(text)
