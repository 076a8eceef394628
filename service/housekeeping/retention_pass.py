"""Finds what the retention rules no longer keep and removes it in small steps: one housekeeping pass.

A pass may be killed at any point. It deletes a row before its file, so no row names a missing file. The next pass finds
what is left, because each pass looks at the existing rows and files and keeps no list.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.errors import ConflictError
from fgd_core.spec.housekeeping import HousekeepingView, Kind, Removal
from service.housekeeping import deletion, files
from service.jobs import retention
from service.jobs.retention import Due, EndedJob, Policy
from service.storage import paths, threads
from service.storage.base import Storage
from service.storage.paths import job_folder
from service.store import deletion as marks
from service.store import retention as store
from service.store.retention import LastReceived, LongCurve, Rows
from service.store.session import Database

_PAGE_JOBS = 1_000
_MAX_SHOWN = 1000
_POINT_BYTES = 20

Writing = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class RetentionPass:
    """Runs one housekeeping pass.

    Args:
        writing: opens a transaction that fails if another control plane has started a pass; None for a dry run.
        max_s: the pass stops after this many seconds and leaves the rest for the next one; None for no limit.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        policy: Policy,
        now: datetime,
        *,
        writing: Writing | None,
        max_s: float | None = None,
    ) -> None:
        self._database = database
        self._storage = storage
        self._policy = policy
        self._now = now
        self._writing = writing
        self._deadline_s = time.monotonic() + max_s if max_s is not None else float("inf")

    async def run(self) -> HousekeepingView:
        """Remove what is due, or only list it in a dry run.

        Raises:
            StorageError: a file cannot be deleted.
        """
        shown: list[Removal] = []
        num_items = num_rows = size_bytes = 0
        is_complete = True
        async for removal in self._removals():
            num_items += 1
            if len(shown) < _MAX_SHOWN:
                shown.append(removal)
            if not removal.is_noted:
                num_rows += removal.num_rows
                size_bytes += removal.size_bytes
            # Checked after a removal and not before it, so that every pass removes something.
            if time.monotonic() > self._deadline_s:
                is_complete = False
                break
        return HousekeepingView(
            dry_run=self._writing is None,
            items=shown,
            num_items=num_items,
            num_rows=num_rows,
            size_bytes=size_bytes,
            is_complete=is_complete,
        )

    async def _removals(self) -> AsyncIterator[Removal]:
        for step in (self._unfinished_deletions, self._ended_jobs, self._orphans, self._uploads, self._old_rows):
            async for removal in step():
                yield removal

    async def _unfinished_deletions(self) -> AsyncIterator[Removal]:
        async with self._database.reading() as session:
            job_ids = await marks.marked(session)
        for job_id in job_ids:
            found = await threads.run(self._storage.listing, job_folder(job_id))
            if self._writing is not None:
                try:
                    await deletion.finish(self._database, self._storage, job_id)
                except ConflictError:
                    continue  # A user retried the job meanwhile, so it stays.
            size_bytes = sum(file.size_bytes for file in found)
            why = "its deletion was interrupted"
            yield _removal("unfinished_deletion", job_id, f"jobs/{job_id}", why, size_bytes=size_bytes)

    async def _ended_jobs(self) -> AsyncIterator[Removal]:
        before = self._now - timedelta(days=retention.shortest_days(self._policy))
        after_id = ""
        while True:
            async with self._database.reading() as session:
                page = await store.ended_jobs(session, before=before, after_id=after_id, limit=_PAGE_JOBS)
                progress = await store.progress_rows(session, self._ids(page, self._policy.progress_days))
                curves = await store.long_curves(
                    session, self._ids(page, self._policy.curves_days), self._policy.curve_points
                )
                # Of the whole page in one statement, and below all its files in one call: most jobs have nothing due.
                received = await store.last_received(session, [job.job_id for job in page])
            if not page:
                return
            due = await threads.run(self._find_due, page, received)
            for job in page:
                async for removal in self._remove_files(job, due[job.job_id]):
                    yield removal
                if job.job_id in progress:
                    yield await self._drop_progress(job, progress[job.job_id])
                for curve in curves:
                    if curve.job_id == job.job_id:
                        yield await self._thin(job, curve)
            after_id = page[-1].job_id

    def _ids(self, page: Sequence[EndedJob], days: retention.Days) -> list[str]:
        return [job.job_id for job in page if retention.is_row_due(job, days, self._now)]

    def _find_due(self, page: Sequence[EndedJob], received: Mapping[str, LastReceived]) -> Mapping[str, list[Due]]:
        """Return the files of each job that may be removed. Blocks while it reads the storage."""
        return {job.job_id: self._due_files(job, received.get(job.job_id, {})) for job in page}

    def _due_files(self, job: EndedJob, last_received: LastReceived) -> list[Due]:
        if job.is_needed or not job.is_released:
            return []
        folder = job_folder(job.job_id)

        def is_stored(path: str) -> bool:
            return files.is_outbox_stored(self._storage, folder, path, last_received)

        found = self._storage.listing(folder)
        return retention.due_files(self._policy, job, found, is_stored=is_stored, now=self._now)

    async def _remove_files(self, job: EndedJob, due: Sequence[Due]) -> AsyncIterator[Removal]:
        folder = job_folder(job.job_id)
        if due and self._writing is not None:
            async with self._writing() as session:
                if not await store.lock_if_unchanged(session, job):
                    return
                for item in due:
                    await store.delete_artifact(session, job.job_id, retention.artifact_name(item.file.path))
        for file, kind, why in due:
            if self._writing is not None:
                # `modified_at` protects a newer file: a user may have retried the job meanwhile.
                await threads.run(self._storage.delete, f"{folder}/{file.path}", modified_at=file.modified_at)
            yield _removal(kind, job.job_id, file.path, why, size_bytes=file.size_bytes)

    async def _drop_progress(self, job: EndedJob, found: Rows) -> Removal:
        num_rows = found.num_rows
        if self._writing is not None:
            num_rows, has_more = 0, True
            while has_more:
                async with self._writing() as session:
                    unchanged = await store.lock_if_unchanged(session, job)
                    num_dropped = await store.drop_progress(session, job.job_id) if unchanged else 0
                num_rows += num_dropped
                has_more = num_dropped > 0
        why = retention.why(job, self._policy.progress_days)
        return _removal("progress_events", job.job_id, "progress", why, num_rows=num_rows, size_bytes=found.size_bytes)

    async def _thin(self, job: EndedJob, curve: LongCurve) -> Removal:
        num_points = self._policy.curve_points
        num_rows = curve.num_points - num_points
        if self._writing is not None:
            num_rows = 0
            for first, last in store.thinning_steps(curve, num_points):
                async with self._writing() as session:
                    if not await store.lock_if_unchanged(session, job):
                        break
                    num_rows += await store.thin(session, curve, num_points, first, last)
        why = retention.why(job, self._policy.curves_days)
        size_bytes = num_rows * _POINT_BYTES
        return _removal("curve_points", job.job_id, curve.name, why, num_rows=num_rows, size_bytes=size_bytes)

    async def _orphans(self) -> AsyncIterator[Removal]:
        days = self._policy.orphans_days
        if days is None:
            return
        # Folders first, then jobs: a job's row is created before its folder.
        names = await threads.run(self._storage.folder_names, paths.JOBS)
        known = await self._known(names)
        if self._writing is not None:
            await threads.run(files.remove_stale_marks, self._storage, orphans=set(names) - known)
        for name in names:
            if name in known:
                continue
            orphan = await threads.run(files.describe_orphan, self._storage, name)
            found_at = orphan.found_at or self._now
            is_noted = not retention.is_due(found_at, days, self._now)
            if self._writing is not None and orphan.found_at is None:
                await threads.run(files.mark_orphan, self._storage, name, self._now)
            elif self._writing is not None and not is_noted and not await self._known([name]):
                await threads.run(files.remove_orphan, self._storage, name)
            later = f"; deleted after {found_at + timedelta(days=days):%Y-%m-%d %H:%M} UTC" if is_noted else ""
            why = f"belongs to no job; found on {found_at:%Y-%m-%d}{later}"
            yield _removal("orphan", None, f"jobs/{name}", why, size_bytes=orphan.size_bytes, is_noted=is_noted)

    async def _uploads(self) -> AsyncIterator[Removal]:
        before = self._now - timedelta(days=retention.PARTIAL_DAYS)
        num = await threads.run(self._storage.abort_uploads, before=before, dry_run=self._writing is None)
        if num:
            name = f"{num} uploads to the bucket"
            yield _removal("partial_file", None, name, "left by a process that died during the upload")

    async def _known(self, names: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(names), _PAGE_JOBS):
            async with self._database.reading() as session:
                found |= await store.known(session, names[start : start + _PAGE_JOBS])
        return found

    async def _old_rows(self) -> AsyncIterator[Removal]:
        for rows in store.OLD_ROWS:
            async with self._database.reading() as session:
                num_rows = await store.count_old(session, rows, self._policy, self._now)
            if not num_rows:
                continue
            has_more = self._writing is not None
            while has_more and self._writing is not None:
                async with self._writing() as session:
                    has_more = await store.drop_old(session, rows, self._policy, self._now) > 0
            yield _removal(rows.kind, None, rows.what, f"kept for {rows.days(self._policy):g} days", num_rows=num_rows)


def _removal(
    kind: Kind,
    job_id: str | None,
    name: str,
    why: str,
    *,
    num_rows: int = 0,
    size_bytes: int = 0,
    is_noted: bool = False,
) -> Removal:
    return Removal(
        kind=kind, job_id=job_id, name=name, why=why, num_rows=num_rows, size_bytes=size_bytes, is_noted=is_noted
    )
