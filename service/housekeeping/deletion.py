"""Deletes a job with all that it left behind.

First it is marked, then its files go, then its rows. Whoever dies in between leaves a marked job, and the next round of
housekeeping finishes it.
"""

from service.storage import paths, threads
from service.storage.base import Storage
from service.store import deletion
from service.store.session import Database


async def finish(database: Database, storage: Storage, job_id: str) -> None:
    """Delete a job that is marked. Any number may be at it at once.

    Raises:
        StorageError: its files cannot be deleted; it stays marked.
    """
    async with database.writing() as session:
        if not await deletion.check_marked(session, job_id):
            return
    await threads.run(storage.delete_folder, paths.job_folder(job_id))
    has_more = True
    while has_more:
        async with database.writing() as session:
            has_more = await deletion.check_marked(session, job_id) and await deletion.delete_step(session, job_id)
