"""Deletes a job with its files and rows.

The order is: mark the job, delete its files, delete its rows. If the server dies in between, the job stays marked and
the next housekeeping pass finishes the deletion.
"""

from service.storage import paths, threads
from service.storage.base import Storage
from service.store import deletion
from service.store.session import Database


async def finish(database: Database, storage: Storage, job_id: str) -> None:
    """Delete the files and rows of a marked job. Several processes may run this at the same time.

    Raises:
        StorageError: the files cannot be deleted; the job stays marked.
    """
    async with database.writing() as session:
        if not await deletion.check_marked(session, job_id):
            return
    await threads.run(storage.delete_folder, paths.job_folder(job_id))
    has_more = True
    while has_more:
        async with database.writing() as session:
            has_more = await deletion.check_marked(session, job_id) and await deletion.delete_step(session, job_id)
