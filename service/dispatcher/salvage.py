"""What a dead run had written down and could not deliver any more.

A run's outbox is a file in the job's folder, which outlives its process: one `ReportedEvent` in JSON a line, in order.
A living run sends it by itself; for a dead one the control plane reads it.
"""

from pydantic import ValidationError

from fgd_core.spec.attempts import ReportedEvent
from service.storage.base import Storage
from service.storage.paths import job_folder
from service.store.tables import Attempt

_MAX_BYTES = 50_000_000


def read(storage: Storage, attempt: Attempt) -> list[ReportedEvent]:
    """All events of a dead run's outbox, delivered ones among them; a torn last line ends it.

    Nothing where there is no such file, as where runs do not share a folder with this server.
    """
    path = storage.local_path(f"{job_folder(attempt.job_id)}/outbox/attempt-{attempt.number}-run.jsonl")
    found: list[ReportedEvent] = []
    if path is None:
        return found
    try:
        with path.open("rb") as file:
            for line in file.read(_MAX_BYTES).splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                found.append(ReportedEvent.model_validate_json(line))
    except (OSError, ValidationError):
        return found
    return found
