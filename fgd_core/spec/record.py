"""The record of a job: everything that its figures depend on; `record_state` folds it from the events."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fgd_core.spec.base import Fact
from fgd_core.spec.events import DeviceReady
from fgd_core.spec.provenance import ProvenanceRecorded


class AttemptRecord(Fact):
    """What one attempt ran with. A field is None if the attempt ended before, or an older version ran it."""

    number: int
    provenance: ProvenanceRecorded | None = None
    device: DeviceReady | None = None


class CheckpointRecord(Fact):
    """A checkpoint of the job."""

    name: str
    epoch: int
    sha256: str


class JobRecord(Fact):
    """Everything that the figures of a job depend on, besides its spec."""

    attempts: list[AttemptRecord]
    data: dict[str, str]
    """The digest of each split."""
    checkpoints: list[CheckpointRecord]
    """The newest of each name."""

    @property
    def newest(self) -> AttemptRecord | None:
        """The attempt that made the figures; None before the first."""
        return self.attempts[-1] if self.attempts else None


class Difference(NamedTuple):
    """A circumstance in which two jobs differ."""

    what: str
    first: str
    second: str


def differences(first: JobRecord, second: JobRecord) -> Sequence[Difference]:
    """Return the circumstances in which the newest attempts of two jobs differ; one that is unknown is left out."""
    ours, theirs = _circumstances(first), _circumstances(second)
    return [Difference(what, ours[what], theirs[what]) for what in ours if theirs.get(what, ours[what]) != ours[what]]


def _circumstances(record: JobRecord) -> Mapping[str, str]:
    found = {f"data ({split})": digest[:12] for split, digest in record.data.items() if digest}
    attempt = record.newest
    return found | dict(_of_attempt(attempt)) if attempt is not None else found


def _of_attempt(attempt: AttemptRecord) -> Iterator[tuple[str, str]]:
    if attempt.provenance is not None:
        code, machine = attempt.provenance.code, attempt.provenance.machine
        yield "code", f"{code.in_words()}, digest {code.sha256[:12]}"
        yield "processor", machine.processor
        yield "python", machine.python
    if attempt.device is not None:
        yield "device", attempt.device.device
        yield "threads", str(attempt.device.threads)
        yield "precision", attempt.device.precision
    if attempt.provenance is not None:
        yield from ((f"package {name}", version) for name, version in attempt.provenance.packages.items())
