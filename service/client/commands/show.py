"""`fgd show`"""

from collections.abc import Sequence
from datetime import datetime

import yaml
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from fgd_core.spec.applied_methods import AppliedMethod, applied_methods
from fgd_core.spec.event_state import read_event
from fgd_core.spec.event_text import describe, duration, number
from fgd_core.spec.events import StoredEvent
from fgd_core.spec.plans import DistillationPlanned
from fgd_core.spec.results import RunResult
from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, JobId, Server, output, print_json, size
from service.client.exits import guarded
from service.client.live import STATE_STYLES
from service.client.predicting import predicted, priced
from service.jobs.forecast.wording import in_report


@guarded
def show(
    prefix: JobId,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show all details of one job: state and reason, attempts and how each ended, scores, files, spec.

    **Examples**

    `fgd show 3f2a`

    `fgd show 3f2a --json | jq .spec > again.json && fgd submit again.json --set seed=1`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
        requests = client.requests(job.job_id) if not as_json else []
        plan = client.plan(job.job_id) if job.kind in ("distill", "chain") and not as_json else None
        record = client.record(job.job_id) if not as_json else None
        order = client.teacher_order(job.job_id) if job.kind == "chain" and not as_json else None
        prediction = predicted(client, job.job_id, job.kind) if not as_json else None
        cost = priced(client, job.job_id, job.kind) if not as_json else None
    if as_json:
        print_json(job)
        return
    console = output()
    console.print(_facts(job, requests, plan))
    if prediction is not None and prediction.predictions:
        console.print(Text(in_report(job.name, prediction) or prediction.sentence))
    if cost is not None:
        console.print(Text(cost.sentence))
    # A spec that a newer server stores is a dict here.
    methods = applied_methods(job.spec, order) if not isinstance(job.spec, dict) else []
    if methods:
        console.print(method_table(methods))
    if job.attempts:
        console.print(_attempts(job))
    ran = record.newest.provenance if record is not None and record.newest is not None else None
    if ran is not None:
        console.print(
            Text(f"{ran.code.in_words()}, {len(ran.packages)} packages, {ran.machine.processor}", style="dim")
        )
    width = max((len(artifact.name) for artifact in job.artifacts), default=0)
    for artifact in job.artifacts:
        url = f"{server.rstrip('/')}{artifact.url}"
        console.print(Text(f"{artifact.name:<{width}} {size(artifact.size_bytes):>9}  {url}", style="dim"))
    spec = yaml.safe_dump(job.model_dump(mode="json", include={"spec"})["spec"], sort_keys=False)
    console.print(Syntax(spec.rstrip(), "yaml", background_color="default") if console.is_terminal else spec.rstrip())


def method_table(methods: Sequence[AppliedMethod]) -> Table:
    """Return a table of the methods that a job distils with; teachers and stages have columns if there are several."""
    has_stages, has_shares = any(each.stage for each in methods), any(each.share < 1 for each in methods)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading, is_shown in (("stage", has_stages), ("teacher", has_stages or has_shares), ("share", has_shares)):
        if is_shown:
            table.add_column(heading, overflow="fold")
    table.add_column("method", no_wrap=True)
    table.add_column("scale", justify="right", no_wrap=True)
    table.add_column("terms of the loss, with their weights")
    for stage, teacher, share, part in methods:
        source = [stage] * has_stages + [teacher] * (has_stages or has_shares) + [f"{share:.0%}"] * has_shares
        table.add_row(*map(Text, (*source, part.title, part.scale_in_words, part.terms_in_words)))
    return table


def _speed(result: RunResult) -> str:
    text = f"{result.images_per_s:.1f} images/s on {result.device}"
    if result.speed is None:
        return text
    text += f", {result.speed.latency_ms:.1f} ms per image (spread {result.speed.spread:.0%})"
    return f"{text}; not comparable: {result.speed.disturbed_by}" if result.speed.disturbed_by else text


def _attempts(job: JobView) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("attempt", "started", "took", "ended", "error", "Ray dashboard"):
        table.add_column(heading, no_wrap=heading not in ("error", "Ray dashboard"))
    for attempt in job.attempts:
        began_at, ended_at = attempt.started_at or attempt.created_at, attempt.ended_at
        took_s = (ended_at - began_at).total_seconds() if ended_at else None
        # Between the end and the release of an attempt the cluster may still hold its resources.
        is_held = ended_at is not None and attempt.released_at is None
        error = f"{attempt.error.code}: {attempt.error.message}" if attempt.error else ""
        changes = ", ".join(f"{path}={value}" for path, value in attempt.spec_changes.items())
        table.add_row(
            f"{attempt.number}" + (f" with {changes}" if changes else ""),
            _moment(began_at),
            duration(took_s),
            Text((attempt.cause or "running") + (", not yet released" if is_held else "")),
            Text(error, style="red"),
            Text(attempt.dashboard_url or "no longer", style="dim"),
        )
    return table


def _moment(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _facts(job: JobView, requests: Sequence[StoredEvent], plan: DistillationPlanned | None) -> Table:
    table = Table.grid(padding=(0, 2))
    progress = job.progress

    def add(name: str, value: str | Text | None) -> None:
        if value:
            table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(value))

    add("job", f"{job.name} ({job.kind}) {job.job_id}")
    add("state", Text(job.state, style=STATE_STYLES.get(job.state, "")))
    # The reason of a failed job is its error, which has a separate line.
    add("why", job.reason if job.error is None or job.reason != job.error.message else None)
    add("waits for", ", ".join(job.waits_for) if not job.study_runs else None)
    if job.part_of is not None:
        add("part of", f"study {job.part_of.name} {job.part_of.job_id}, arm {job.part_of.arm}")
    for run in job.study_runs:
        state = Text.assemble(f"{run.arm}, seed {run.seed}: ", (run.state, STATE_STYLES.get(run.state, "")))
        add("run", state.append(f" {run.job_id}", style="dim"))
    by = f" by {job.submitted_by}" if job.submitted_by else ""
    add("submitted", f"{_moment(job.created_at)}{by}")
    for request in requests:
        event = read_event(request)
        add("event", f"{_moment(request.at)}  {describe(event)}" if event is not None else None)
    preemptible = ", may be paused for an urgent one" if job.preemptible else ""
    add("project", f"{job.project}, priority {job.priority}{preemptible}")
    retried = ((job.failures, "failure", "failures"), (job.losses, "loss", "losses"))
    counts = [f"{count} {one if count == 1 else many}" for count, one, many in retried if count]
    add("retries", " and ".join(counts))
    for part in plan.sentence().split("; ") if plan is not None else []:
        add("plan", part)
    if progress.epoch is not None:
        steps = f"epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}"
        stage = f"{progress.stage}, " if progress.stage is not None else ""
        add("progress", f"{stage}{steps}, {duration(progress.eta_s)} left")
    if job.result is not None:
        scores = job.result.scores
        add(
            "scores",
            f"AP {number(scores.ap, '.3f')}  AP50 {number(scores.ap50, '.3f')}  on {job.result.num_images} images",
        )
        for part, of_part in scores.parts().items():
            add(part, f"AP {number(of_part.ap, '.3f')}  AP50 {number(of_part.ap50, '.3f')}")
        add("speed", _speed(job.result))
        add("parameters", f"{job.result.num_parameters:,}")
    if job.error is not None:
        add("error", Text(f"{job.error.code}: {job.error.message}", style="red"))
    return table
