"""Measures the report on a sweep of thousands of trials: the first time, again, its page, and the page's opening."""

import asyncio
import math
import random
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import insert

from benchmarks.control_plane.growth.figures import Single, once
from benchmarks.control_plane.queue import FullCluster
from fgd_core.spec.jobs import JOB_SPEC, SPEC_VERSION
from fgd_core.spec.trials import StudyEntry
from fgd_core.spec.views import ProgressView
from service.clock import utc_now
from service.server.app import create_app
from service.settings import Settings
from service.settings.groups import DatabaseSettings
from service.store import migrate
from service.store.session import Database
from service.store.tables import Event, Job, table_of

SPEC = {
    "kind": "sweep",
    "name": "a large sweep",
    "base": {
        "kind": "distill",
        "student": {"type": "retinanet"},
        "teacher": {"checkpoint": "job:0123456789ab/best"},
        "method": {},
        "data": {"type": "shapes", "num_train": 40, "num_val": 10},
        "training": {"batch_size": 8, "epochs": 9},
    },
    "space": {
        "method.scale": {"type": "log_uniform", "low": 0.001, "high": 10},
        "method.temperature": {"type": "log_uniform", "low": 0.1, "high": 10},
        "training.clip_norm": {"type": "uniform", "low": 1, "high": 35},
        "training.optimizer.learning_rate": {"type": "log_uniform", "low": 1e-4, "high": 1e-1},
    },
    "scheduler": {"type": "asha"},
}
_RUNGS = {1: 0, 3: 1, 9: 2}
_CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def measure(num_trials: int) -> list[Single]:
    """Measure with SQLite; two thirds of the trials are stopped at each rung."""
    with tempfile.TemporaryDirectory(prefix="fgd-bench-") as name:
        url = f"sqlite+aiosqlite:///{name}/fgd.db"
        migrate.upgrade(url)
        settings = Settings(home=Path(name), database=DatabaseSettings(url=url))
        return asyncio.run(_measure(settings, num_trials))


async def _measure(settings: Settings, num_trials: int) -> list[Single]:
    app = create_app(settings, FullCluster())
    job_id = await store(app.state.services.database, num_trials)
    path = f"/v1/jobs/{job_id}/report?format=html"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=600) as http:
        page = ""

        async def get() -> None:
            nonlocal page
            page = (await http.get(path)).raise_for_status().text

        first, again = await once(get), await once(get)
    await app.state.services.database.close()
    what = f"the report of {num_trials:,} trials"
    found = [
        Single(f"{what}, first", first.wall_s, 3.0, "s"),
        Single(f"{what}, again", again.wall_s, 0.3, "s"),
        Single(f"{what}, size of its page", len(page.encode()) / 1e6, 3.0, "MB"),
    ]
    return [*found, Single(f"{what}, its page opens", opening_s(page, settings.home), 2.0, "s")] if _CHROMIUM else found


def opening_s(page: str, folder: Path) -> float:
    """Return the seconds in which a browser opens a page, without those that it needs for an empty one."""
    return _open_s(page, folder) - _open_s("<!doctype html><title>empty</title>", folder)


def _open_s(page: str, folder: Path) -> float:
    path = folder / "page.html"
    path.write_text(page)
    assert _CHROMIUM is not None
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    began_s = time.perf_counter()
    subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, check=True, timeout=240)
    return time.perf_counter() - began_s


async def store(database: Database, num_trials: int) -> str:
    """Store an ended sweep and its events; returns its id."""
    spec, job_id, now = JOB_SPEC.validate_python(SPEC), secrets.token_hex(6), utc_now()
    rows = list(_events(job_id, num_trials, now))
    job = {
        "id": job_id,
        "name": spec.name,
        "kind": spec.kind,
        "project": "default",
        "spec_sha256": "",
        "spec": spec.model_dump(mode="json"),
        "spec_version": SPEC_VERSION,
        "cpus": 1,
        "gpus": 0,
        "state": "succeeded",
        "message": "",
        "progress": ProgressView().model_dump(mode="json"),
        "created_at": now,
        "ended_at": now,
        "last_sequence": len(rows),
    }
    async with database.writing() as session:
        connection = await session.connection()
        await connection.execute(insert(table_of(Job)), [job])
        await connection.execute(insert(table_of(Event)), rows)
    return job_id


def _events(job_id: str, num_trials: int, now: datetime) -> Iterator[dict[str, Any]]:
    dice = random.Random(0)
    events = (event for trial in range(num_trials) for event in _trial(trial, dice))
    for sequence, event in enumerate(events, start=1):
        StudyEntry(sequence=sequence, event=event)  # Fails on an event that the report would leave out.
        row = {"job_id": job_id, "sequence": sequence, "transaction_id": sequence, "attempt": 1}
        yield row | {"at": now + timedelta(seconds=sequence), "kind": event["kind"], "data": event}


def _trial(trial: int, dice: random.Random) -> Iterator[dict[str, Any]]:
    values = {
        "method.scale": 10 ** dice.uniform(-3, 1),
        "method.temperature": 10 ** dice.uniform(-1, 1),
        "training.clip_norm": dice.uniform(1, 35),
        "training.optimizer.learning_rate": 10 ** dice.uniform(-4, -1),
    }
    origin = ("plain", "published", "searcher")[min(trial, 2)]
    yield {"kind": "trial_started", "trial": trial, "origin": origin, "values": values, "seed": 0, "epochs": 9}
    best = 0.2 + 0.2 * math.exp(-((math.log10(values["method.scale"]) + 1.3) ** 2)) + dice.gauss(0, 0.01)
    for epoch in range(1, 10):
        ap = best * (1 - math.exp(-epoch / 3))
        stops = epoch in _RUNGS and epoch < 9 and dice.random() < 2 / 3
        reported = {"kind": "trial_reported", "trial": trial, "epoch": epoch, "objectives": [ap], "scores": _scores(ap)}
        verdict = "stop" if stops else "continue"
        yield reported | {"train_s": 20.0 * epoch, "rung": _RUNGS.get(epoch), "verdict": verdict}
        if stops:
            yield {"kind": "trial_ended", "trial": trial, "cause": "stopped", "epoch": epoch}
            return
    result = {"scores": _scores(ap), "num_parameters": 640_000, "images_per_s": 60.0, "num_images": 100}
    ended = {"kind": "trial_ended", "trial": trial, "cause": "completed", "epoch": 9, "objectives": [ap]}
    yield ended | {"result": result | {"train_s": 180.0, "device": "cpu"}, "checkpoint": f"file:///s/{trial}/best.pt"}


def _scores(ap: float) -> dict[str, Any]:
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    recalls = ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
    return dict.fromkeys(names + recalls, ap) | {
        "per_class": {f"class {n}": {"ap": ap, "ap50": ap, "num_boxes": 30} for n in range(3)}
    }
