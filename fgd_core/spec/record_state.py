"""Folds the events of a job into its record."""

from collections.abc import Iterable

from fgd_core.spec.event_state import read_event
from fgd_core.spec.events import CheckpointSaved, DataChecked, DeviceReady, StoredEvent
from fgd_core.spec.provenance import ProvenanceRecorded
from fgd_core.spec.record import AttemptRecord, CheckpointRecord, JobRecord

RECORD_KINDS = ("provenance_recorded", "device_ready", "data_checked", "checkpoint_saved")
"""The kinds of event that a record uses."""


def fold_record(events: Iterable[StoredEvent]) -> JobRecord:
    """Fold the events of a job, oldest first, into its record; other kinds than `RECORD_KINDS` are skipped."""
    attempts: dict[int, AttemptRecord] = {}
    data: dict[str, str] = {}
    checkpoints: dict[str, CheckpointRecord] = {}
    for stored in events:
        event = read_event(stored)
        number = stored.attempt or 0
        attempt = attempts.get(number, AttemptRecord(number=number))
        match event:
            case ProvenanceRecorded():
                attempts[number] = attempt.model_copy(update={"provenance": event})
            case DeviceReady():
                attempts[number] = attempt.model_copy(update={"device": event})
            case DataChecked():
                data[event.split] = event.fingerprint
            case CheckpointSaved():
                found = CheckpointRecord(name=event.name, epoch=event.epoch, sha256=event.sha256)
                checkpoints[event.name] = found
    return JobRecord(
        attempts=[attempts[number] for number in sorted(attempts)], data=data, checkpoints=list(checkpoints.values())
    )
