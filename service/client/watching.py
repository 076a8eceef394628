"""Shows several jobs live until all are over."""

from collections.abc import Sequence
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.spinner import Spinner

from fgd_core.spec.views import JobSummary, JobView
from service.client.client import FgdClient
from service.client.following import follow
from service.client.live import bars
from service.client.sweep_status import SweepStatus, initial_status
from service.client.trial_table import sweep_view


def watch(client: FgdClient, jobs: Sequence[JobSummary], console: Console, *, as_json: bool = False) -> list[JobView]:
    """Show jobs until all are over: bars on a terminal, plain lines elsewhere, JSON lines on request.

    Returns:
        The jobs as they ended, in the order of `jobs`.
    """
    statuses = {job.job_id: initial_status(job) for job in jobs}
    spinner = Spinner("dots")

    def view(notice: str) -> RenderableType:
        sweeps = [status for status in statuses.values() if isinstance(status, SweepStatus)]
        # A sweep needs two lines in addition to its trials; the bars and the lines below them need the rest.
        max_rows = max(3, (console.height - 2 * len(statuses) - 3) // max(1, len(sweeps)) - 3)
        drawn = bars(statuses.values(), spinner, width=console.width, notice=notice)
        return Group(drawn, *(sweep_view(sweep, width=console.width, max_rows=max_rows) for sweep in sweeps))

    streams = [partial(client.events, job_id) for job_id in statuses]
    follow(client, statuses, streams, console, view=view, as_json=as_json)
    return [client.job(job_id) for job_id in statuses]
