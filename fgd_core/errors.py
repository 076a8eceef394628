"""Every error that a user can meet, as one tree.

FgdError
├── SpecError             the job asks for something that cannot be
│   └── AdmissionError    refused at the door, with every reason at once
├── DataError             the data set is wrong
├── WeightsError          a checkpoint or a set of pretrained weights does not fit
│   └── TeacherError      the teacher loaded, but has lost its skill
├── NonFiniteLossError    the loss became NaN or infinite
├── OutOfMemoryError      the device or the host ran out of memory
├── DeviceError           the device asked for is not there
├── StorageError          a file could not be written or read: full disk, no rights
├── NetworkError          something had to be fetched and could not be      (retryable)
│   └── UnreachableError  it is out of reach from this machine: another try meets the same
├── NotFoundError         no such job, artifact, attempt
├── ConflictError         the request does not fit the present state
│   └── StaleAttemptError a newer attempt has taken over, or the job is over
├── ClusterError          Ray cannot be reached or answered nonsense        (retryable)
└── LostRunError          the run's process died without a last word        (retryable)
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue


class FgdError(Exception):
    """An error with a stable code, a message that names thing, value and cure, and JSON details.

    Args:
        message: one sentence for a person.
        details: JSON values for a program, shown beside the message.
    """

    code: str = "internal"
    retryable: bool = False
    http_status: int = 500

    def __init__(self, message: str, **details: JsonValue) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={value!r}" for key, value in self.details.items() if not self._has_told(key))
        return f"{self.message} ({shown})" if shown else self.message

    def _has_told(self, key: str) -> bool:
        """Whether the message joins all reasons already, as that of a refusal does; nobody should read them twice."""
        reasons = self.details[key] if key == "reasons" else None
        return isinstance(reasons, list) and all(
            isinstance(reason, dict) and str(reason.get("message")) in self.message for reason in reasons
        )

    # Ray pickles exceptions across processes; without this the keyword details are lost.
    def __reduce__(self) -> tuple[Callable[..., "FgdError"], tuple[Any, ...]]:
        return _rebuild, (type(self), self.message, self.details)


def _rebuild(kind: type[FgdError], message: str, details: Mapping[str, JsonValue]) -> FgdError:
    return kind(message, **details)


class SpecError(FgdError):
    code = "spec"
    http_status = 422


class AdmissionError(SpecError):
    """Raised with `reasons`: a list of {loc, code, message}, all that is wrong at once."""

    code = "admission"


class DataError(FgdError):
    code = "data"
    http_status = 422


class WeightsError(FgdError):
    code = "weights"
    http_status = 422


class TeacherError(WeightsError):
    code = "teacher"


class NonFiniteLossError(FgdError):
    code = "non_finite_loss"


class OutOfMemoryError(FgdError):
    code = "out_of_memory"


class DeviceError(FgdError):
    code = "device"
    http_status = 422


class StorageError(FgdError):
    code = "storage"
    http_status = 507


class NetworkError(FgdError):
    code = "network"
    retryable = True
    http_status = 502


class UnreachableError(NetworkError):
    code = "unreachable"
    retryable = False


class NotFoundError(FgdError):
    code = "not_found"
    http_status = 404


class ConflictError(FgdError):
    code = "conflict"
    http_status = 409


class StaleAttemptError(ConflictError):
    code = "stale_attempt"


class ClusterError(FgdError):
    code = "cluster"
    retryable = True
    http_status = 503


class LostRunError(FgdError):
    code = "lost_run"
    retryable = True
