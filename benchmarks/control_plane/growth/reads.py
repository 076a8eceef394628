"""Measures every read of the API and the tick with a number of stored jobs."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx

from benchmarks.control_plane.engines import Engine, databases
from benchmarks.control_plane.growth import instructions
from benchmarks.control_plane.growth.figures import Figure, Took, median
from benchmarks.control_plane.growth.filling import WEBHOOK_ID, Filled, fill
from benchmarks.control_plane.queue import FullCluster
from service.clock import utc_now
from service.dispatcher.loop import Dispatcher
from service.server.app import create_app, token_mint
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.store import migrate

_JSON = {"Accept": "application/json"}


def paths(jobs: Filled) -> list[str]:
    """Return the reads: each list with each of its filters, also without a hit, and each read of one thing."""
    lists = [
        "/v1/queue",
        "/v1/queue?limit=50",
        "/v1/projects",
        "/v1/projects/project-1",
        "/v1/jobs",
        "/v1/jobs?limit=500",
        "/v1/jobs?state=succeeded",
        "/v1/jobs?state=failed",
        "/v1/jobs?state=queued&state=succeeded",
        "/v1/jobs?project=project-1",
        "/v1/jobs?project=none",
        "/v1/jobs?kind=train",
        "/v1/jobs?kind=export",
        "/v1/jobs?kind=export&state=succeeded",
        "/v1/jobs?project=project-1&state=failed",
        "/v1/jobs?created_before=2020-01-01T00:00:00Z",
        "/v1/jobs?created_after=2020-01-01T00:00:00Z",
        "/v1/jobs?q=job",
        "/v1/jobs?q=job 77",
        "/v1/jobs?q=no-job-has-this-name",
        f"/v1/jobs?q={jobs.ended[:6]}",
        "/v1/jobs?q=zz",
        *(f"/v1/jobs?sort={sort}" for sort in ("created", "name", "state", "-priority", "project", "-best_ap")),
        "/v1/jobs?sort=-best_ap&project=project-1",
        "/v1/jobs?sort=name&q=zz",
        "/v1/seed-groups",
        "/v1/seed-groups?project=none",
        "/v1/audit",
        "/v1/audit?actor=user-1",
        "/v1/audit?actor=nobody",
        "/v1/audit?action=cancel_job",
        "/v1/audit?project=none",
        f"/v1/audit?target={jobs.ended}",
        "/v1/events",
        "/v1/events?after=0",
        "/v1/events?after=0&kind=state_changed",
        "/v1/events?after=0&kind=none",
        "/v1/events?after=0&project=none",
        f"/v1/events?after=0&job_id={jobs.ended}&kind=state_changed",
        "/v1/datasets",
        "/v1/datasets?q=none",
        "/v1/models",
        "/v1/models/model-1?project=project-1",
        "/v1/models/model-1/versions/1/lineage?project=project-1",
        "/v1/tokens",
        "/v1/webhooks",
        f"/v1/webhooks/{WEBHOOK_ID}/deliveries",
        "/readyz",
    ]
    of_a_job = ["", "/events", "/metrics", "/metrics?name=loss", "/report", "/report?format=html", "/prediction"]
    return [*lists, *(f"/v1/jobs/{jobs.ended}{rest}" for rest in of_a_job), f"/v1/jobs/{jobs.queued}"]


def measure(engine: Engine, num_jobs: int) -> list[Figure]:
    """Measure everything on a new database with `num_jobs` jobs, of which half have ended."""
    with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name, databases(engine, Path(name)) as found:
        migrate.upgrade(found.ours)
        settings = Settings(home=Path(name), database=DatabaseSettings(url=found.ours))
        taken = asyncio.run(_measure(settings, num_jobs))
    return [Figure(engine, num_jobs, what, took, work) for what, (took, work) in taken.items()]


async def _measure(settings: Settings, num_jobs: int) -> dict[str, tuple[Took, int | None]]:
    cluster = FullCluster()
    app = create_app(settings, cluster)
    services = app.state.services
    stored = await fill(services.database, num_jobs, share_ended=0.5)
    taken = {}

    async def measure(work: Callable[[], Awaitable[object]]) -> tuple[Took, int | None]:
        is_counted = services.database.has_one_writer
        return await median(work), await instructions.count(work, settings.home / "fgd.db") if is_counted else None

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=600, headers=_JSON) as http:
        for path in paths(stored):
            shown = path.replace(stored.ended, "ID").replace(stored.queued, "ID2").replace(stored.ended[:6], "ID")
            taken[f"GET {shown}"] = await measure(lambda path=path: _get(http, path))  # type: ignore[misc]
        taken["GET /metrics"] = await measure(lambda: _scrape(http, services.measuring))
    mint = token_mint(settings)
    dispatcher = Dispatcher(services.database, cluster, settings, utc_now, storage=services.storage, mint=mint)
    taken["tick"] = await measure(dispatcher.tick)
    await dispatcher.close()
    await services.database.close()
    return taken


async def _get(http: httpx.AsyncClient, path: str) -> None:
    (await http.get(path)).raise_for_status()


async def _scrape(http: httpx.AsyncClient, measuring: object) -> None:
    # Not the values of the scrape before, which are kept for a few seconds.
    vars(measuring)["_sampled_s"] = None
    await _get(http, "/metrics")
