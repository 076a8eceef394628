"""`fgd queue`"""

from datetime import UTC, datetime

from rich.console import Group
from rich.text import Text

from fgd_core.spec.event_text import duration
from fgd_core.spec.views import NodeView, QueuedJob, QueueView
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json
from service.client.exits import guarded
from service.client.fitting import Column, Row, fitted

_STYLES = {"starts_now": "green", "too_large": "bold red", "growing": "cyan", "cluster_away": "bold yellow"}

_COLUMNS = (
    Column("", is_number=True),
    Column("id"),
    Column("name", narrow=16),
    Column("project", rank=1),
    Column("priority", is_number=True, rank=2),
    Column("needs"),
    Column("may start"),
)


@guarded
def queue(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Show why each waiting job waits and when it can start at the earliest, in the order of the queue.

    **Examples**

    `fgd queue`

    `fgd queue --json | jq '.items[] | select(.code == "too_large")'`
    """
    with FgdClient(server) as client:
        found = client.queue()
    if as_json:
        print_json(found)
        return
    output().print(queue_table(found, width=output().width) if found.items else "no jobs are waiting")
    if found.num_waiting > len(found.items):
        output().print(f"and {found.num_waiting - len(found.items)} more", style="dim")
    output().print(_cluster(found.nodes), style="dim")


def queue_table(found: QueueView, *, width: int) -> Group:
    """Return a table with a row per waiting job; a narrow one omits the least important columns."""
    now = datetime.now(UTC)
    rows = []
    for job in found.items:
        cells = (
            str(job.position),
            job.job_id,
            Text(job.name, style="bold"),
            job.project,
            str(job.priority),
            "".join(f"{number} × " for number in (job.pieces, job.workers) if number > 1) + _amount(job.cpus, job.gpus),
            _may_start(job, now),
        )
        rows.append(Row(cells=cells, label=job.job_id, note=Text(job.message, style=_STYLES.get(job.code, ""))))
    return fitted(_COLUMNS, rows, width=width, wrap_notes=True)


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
    """Return the free CPUs and GPUs of the cluster in words."""
    if nodes is None:
        return "the Ray cluster cannot be reached; jobs wait until it can"
    cpus, gpus = sum(node.cpus_total for node in nodes), sum(node.gpus_total for node in nodes)
    free_gpus = sum(node.gpus_free for node in nodes)
    gpu_part = f", {free_gpus:g} of {gpus:g} GPUs" if gpus else ""
    free_cpus = sum(node.cpus_free for node in nodes)
    return f"free: {free_cpus:g} of {cpus:g} CPUs{gpu_part}, on {len(nodes)} node{'s' if len(nodes) != 1 else ''}"
