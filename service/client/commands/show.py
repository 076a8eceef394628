"""`fgd show`"""

from typing import Annotated

import typer
import yaml
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from fgd_core.spec.views import JobView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.live import STATE_STYLES, duration, number


def show(
    prefix: Annotated[str, typer.Argument(metavar="ID", help="A job id, or the beginning of it.")],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """All there is to know about one job: state and reason, attempts, scores, files, and its spec, ready to copy.

    **Examples**

    `fgd show 3f2a`

    `fgd show 3f2a --json | jq .spec > again.json && fgd submit again.json --set seed=1`
    """
    with FgdClient(server) as client:
        job = client.find(prefix)
    if as_json:
        print_json(job.model_dump(mode="json"))
        return
    console = output()
    console.print(_facts(job))
    for attempt in job.attempts:
        error = f"  {attempt.error.code}: {attempt.error.message}" if attempt.error else ""
        console.print(Text(f"attempt {attempt.number}  {attempt.dashboard_url or attempt.submission_id}{error}"))
    for artifact in job.artifacts:
        size = f"{artifact.size_bytes / 1e6:.2f} MB"
        console.print(Text(f"{artifact.name:<14} {size:>10}  {server.rstrip('/')}{artifact.url}", style="dim"))
    spec = yaml.safe_dump(job.model_dump(mode="json", include={"spec"})["spec"], sort_keys=False)
    console.print(Syntax(spec.rstrip(), "yaml", background_color="default") if console.is_terminal else spec.rstrip())


def _facts(job: JobView) -> Table:
    table = Table.grid(padding=(0, 2))
    at = job.progress

    def add(name: str, value: str | Text | None) -> None:
        if value:
            table.add_row(Text(name, style="dim"), value if isinstance(value, Text) else Text(value))

    add("job", f"{job.name} ({job.kind}) {job.job_id}")
    add("state", Text(job.state, style=STATE_STYLES.get(job.state, "")))
    add("why", job.reason)
    add("waits for", ", ".join(job.waits_for))
    add("submitted", f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}")
    if at.epoch is not None:
        add("progress", f"epoch {at.epoch}/{at.epochs}, step {at.step}/{at.steps}, {duration(at.eta_s)} left")
    if job.result is not None:
        scores = job.result.scores
        add(
            "scores",
            f"AP {number(scores.ap, '.3f')}  AP50 {number(scores.ap50, '.3f')}  on {job.result.num_images} images",
        )
        add("speed", f"{job.result.images_per_s:.1f} images/s on {job.result.device}")
        add("parameters", f"{job.result.num_parameters:,}")
    if job.error is not None:
        add("error", Text(f"{job.error.code}: {job.error.message}", style="red"))
    return table
