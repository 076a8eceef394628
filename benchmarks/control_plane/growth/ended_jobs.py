"""Measures a dry run of housekeeping and a backup of ended jobs whose folders and checkpoints exist."""

import asyncio
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import select

from benchmarks.control_plane.growth.figures import Single, once
from benchmarks.control_plane.growth.filling import fill
from benchmarks.control_plane.queue import FullCluster
from service.clock import utc_now
from service.housekeeping.backup import backup
from service.server.app import create_app
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.store import migrate
from service.store.tables import Job

_FILES = {
    "attempts/1/checkpoints": ("best.pt", "last.pt"),
    "attempts/1": ("driver.log",),
    "outbox": ("attempt-1-run.jsonl",),
}
_CONTENT = b'{"sequence": 1}\n'
_SECONDS = {"gc": 30.0, "backup": 120.0}


def measure(num_jobs: int) -> list[Single]:
    """Measure with SQLite and a folder as storage: `num_jobs` ended jobs with four small files each."""
    with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name:
        url = f"sqlite+aiosqlite:///{name}/fgd.db"
        migrate.upgrade(url)
        return asyncio.run(_measure(Settings(home=Path(name), database=DatabaseSettings(url=url)), num_jobs))


async def _measure(settings: Settings, num_jobs: int) -> list[Single]:
    services = create_app(settings, FullCluster()).state.services
    await fill(services.database, num_jobs, share_ended=1.0)
    async with services.database.reading() as session:
        job_ids = list(await session.scalars(select(Job.id)))
    assert services.storage.folder is not None
    _write_files(services.storage.folder / "jobs", job_ids)
    preview = await once(services.housekeeping.preview)
    found = [
        Single(f"gc --dry-run of {num_jobs:,} ended jobs", preview.wall_s, _SECONDS["gc"], "s"),
        Single(f"gc --dry-run of {num_jobs:,} ended jobs, CPU time", preview.cpu_s, _SECONDS["gc"], "s"),
    ]
    for with_artifacts in (False, True):
        took = await once(partial(_backup, settings, with_artifacts=with_artifacts))
        what = f"backup of {num_jobs:,} jobs{' with their files' if with_artifacts else ''}"
        found += [
            Single(what, took.wall_s, _SECONDS["backup"], "s"),
            Single(f"{what}, CPU time", took.cpu_s, _SECONDS["backup"], "s"),
        ]
    await services.database.close()
    return found


async def _backup(settings: Settings, *, with_artifacts: bool) -> None:
    to = settings.home / "backup.tar"
    await backup(settings, to, with_artifacts=with_artifacts, now=utc_now())
    to.unlink()


def _write_files(folder: Path, job_ids: Sequence[str]) -> None:
    for job_id in job_ids:
        for below, names in _FILES.items():
            place = folder / job_id / below
            place.mkdir(parents=True, exist_ok=True)
            for name in names:
                (place / name).write_bytes(_CONTENT)
