"""`fgd queue`"""

from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from fgd_core.spec.views import NodeView, QueuedJob, QueueView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.live import duration

_STYLES = {"starts_now": "green", "too_large": "bold red", "cluster_away": "bold yellow"}


def queue(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Why each waiting job waits, and when it may start at the earliest, in the order in which they are looked at.

    **Examples**

    `fgd queue`

    `fgd queue --json | jq '.items[] | select(.code == "too_large")'`
    """
    with FgdClient(server) as client:
        found = client.queue()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    output().print(_table(found) if found.items else "no job waits")
    if found.num_waiting > len(found.items):
        output().print(f"and {found.num_waiting - len(found.items)} more", style="dim")
    output().print(_cluster(found.nodes), style="dim")


def _table(found: QueueView) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("", "id", "name", "project", "priority", "asks for", "may start", "why"):
        is_number = heading in ("", "priority")
        table.add_column(heading, no_wrap=heading != "why", justify="right" if is_number else "left")
    now = datetime.now(UTC)
    for job in found.items:
        table.add_row(
            str(job.position),
            job.job_id,
            Text(job.name, style="bold"),
            job.project,
            str(job.priority),
            (f"{job.pieces} × " if job.pieces > 1 else "") + _amount(job.cpus, job.gpus),
            _may_start(job, now),
            Text(job.message, style=_STYLES.get(job.code, "")),
        )
    return table


def _may_start(job: QueuedJob, now: datetime) -> str:
    if job.code == "starts_now":
        return "now"
    if job.code == "too_large":
        return "never"
    if job.not_before is None:
        return "–"
    return f"in {duration(max(0.0, (job.not_before - now).total_seconds()))}"


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU" + (f" {gpus:g} GPU" if gpus else "")


def _cluster(nodes: list[NodeView] | None) -> str:
    if nodes is None:
        return "the Ray cluster cannot be reached; jobs wait for it"
    cpus, gpus = sum(node.cpus_total for node in nodes), sum(node.gpus_total for node in nodes)
    free_gpus = sum(node.gpus_free for node in nodes)
    gpu_part = f", {free_gpus:g} of {gpus:g} GPUs" if gpus else ""
    free_cpus = sum(node.cpus_free for node in nodes)
    return f"free: {free_cpus:g} of {cpus:g} CPUs{gpu_part}, on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"
