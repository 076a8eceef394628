"""Fills a database with jobs and with what each of them leaves behind."""

import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import insert, text

from benchmarks.control_plane.queue import queued_jobs
from service.clock import utc_now
from service.store.session import Database
from service.store.tables import (
    Artifact,
    Attempt,
    AuditEntry,
    Base,
    Dataset,
    Event,
    Job,
    MetricPoint,
    MetricSeries,
    ModelVersion,
    Webhook,
    WebhookDelivery,
    table_of,
)

WEBHOOK_ID = "0123456789ab"
_AT_ONCE = 10_000
_AGO = timedelta(days=400)
_NUM_DATASETS, _NUM_MODELS = 200, 100
_NUM_TRANSACTIONS = 500
_NUM_SEEDS = 5
_EVENTS = ("submitted", "run_started", "state_changed")

Rows = dict[type[Base], list[dict[str, Any]]]


class Filled(NamedTuple):
    """The ids of some stored jobs."""

    queued: str
    ended: str


async def fill(database: Database, num_jobs: int, *, share_ended: float) -> Filled:
    """Store jobs of ten projects, of which a share has ended with an attempt, events, artifacts, a curve and so on.

    Data sets and models stay as many as they are, because they do not follow the number of jobs.
    """
    found = None
    for first in range(0, num_jobs, _AT_ONCE):
        jobs = queued_jobs(min(_AT_ONCE, num_jobs - first))
        for number, job in enumerate(jobs, start=first):
            job |= {"queued_at": job["created_at"], "ended_at": None, "best_ap": None}
            job |= {"seed_group": f"{number // _NUM_SEEDS:016x}"}
        ended = [job for number, job in enumerate(jobs) if number % 10 < 10 * share_ended]
        for job in ended:
            job |= {
                "state": "succeeded",
                "ended_at": job["created_at"] - _AGO,
                "best_ap": secrets.randbelow(1000) / 1000,
            }
        await _insert(database, {Job: jobs})
        await _insert(database, _left_behind(ended, first, num_jobs))
        found = found or Filled(
            queued=next((each["id"] for each in jobs if each["state"] == "queued"), ""), ended=ended[0]["id"]
        )
    assert found is not None
    await _insert(database, _registered(found.ended))
    if not database.has_one_writer:
        # As the server's own daemon does a minute later.
        async with database.without_transaction() as connection:
            await connection.execute(text("ANALYZE"))
    return found


async def _insert(database: Database, rows: Rows) -> None:
    async with database.writing() as session:
        connection = await session.connection()
        for table, values in rows.items():
            if values:
                await connection.execute(insert(table_of(table)), values)


def _left_behind(ended: Sequence[dict[str, Any]], first: int, num_jobs: int) -> Rows:
    rows: Rows = {}
    if first == 0:
        rows[Webhook] = [{"id": WEBHOOK_ID, "url": "https://nowhere.example", "secret": "s", "created_at": utc_now()}]
    for number, job in enumerate(ended, start=first + 1):
        # In the order of time, and below those of a new PostgreSQL, whose events would count as not yet complete.
        for table, row in _of_job(job, number, number * _NUM_TRANSACTIONS // num_jobs):
            rows.setdefault(table, []).append(row)
    return rows


def _of_job(job: dict[str, Any], number: int, transaction_id: int) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    """Yield the rows that a job leaves behind; `number` counts the jobs."""
    job_id, at, ended_at = job["id"], job["created_at"], job["ended_at"]
    times = {"created_at": at, "started_at": ended_at, "ended_at": ended_at, "archived_at": ended_at}
    attempt = {
        "id": f"{job_id}-1",
        "job_id": job_id,
        "number": 1,
        "token_sha256": "",
        "submission_id": f"fgd-{job_id}-1",
    }
    yield Attempt, attempt | times
    for sequence, kind in enumerate(_EVENTS, start=1):
        data = {"kind": kind, "from_state": "running", "to_state": "succeeded", "reason": "done", "message": ""}
        yield (
            Event,
            {
                "job_id": job_id,
                "sequence": sequence,
                "transaction_id": transaction_id,
                "at": at,
                "kind": kind,
                "data": data,
            },
        )
    for name in ("best.pt", "last.pt"):
        uri = f"file:///storage/jobs/{job_id}/attempts/1/checkpoints/{name}"
        artifact = {"job_id": job_id, "name": name, "uri": uri, "media_type": "application/octet-stream"}
        yield Artifact, artifact | {"sha256": "", "size_bytes": 1, "saved_at": ended_at}
    yield MetricSeries, {"id": number, "job_id": job_id, "name": "loss", "trial": "", "rolled_up_to": 0}
    for step in (1, 2):
        yield MetricPoint, {"series_id": number, "step": step, "value": 0.5}
    entry = {"actor": f"user-{number % 5}", "action": "submit_job", "target": f"/v1/jobs/{job_id}", "status": 202}
    yield AuditEntry, entry | {"at": at, "project": job["project"], "request_id": job_id}
    delivery = {"id": job_id, "webhook_id": WEBHOOK_ID, "job_id": job_id, "sequence": len(_EVENTS), "tries": 1}
    yield WebhookDelivery, delivery | {"created_at": at, "delivered_at": at}


def _registered(job_id: str) -> Rows:
    now = utc_now()
    return {
        Dataset: [
            {
                "id": secrets.token_hex(6),
                "name": f"data {number}",
                "project": "project-1",
                "data": {"type": "voc", "folder": "/data/voc"},
                "created_at": now,
            }
            for number in range(_NUM_DATASETS)
        ],
        ModelVersion: [
            {
                "project": "project-1",
                "name": f"model-{number}",
                "version": 1,
                "job_id": job_id,
                "artifact": "best.pt",
                "sha256": "",
                "created_at": now,
                "created_by": "admin",
            }
            for number in range(_NUM_MODELS)
        ],
    }
