"""The tree of all errors that a user can meet.

FgdError
├── SpecError             the job cannot run as it is specified
│   └── AdmissionError    refused on submission, with all reasons at once
├── DataError             the data set has errors
├── WeightsError          a checkpoint or pretrained weights do not fit
│   └── TeacherError      the teacher fits, but its AP is too low
├── NonFiniteLossError    the loss became NaN or infinite
├── ExportError           a detector cannot be exported
│   └── ExportDiffersError  the exported file detects something else than PyTorch
├── OutOfMemoryError      the device or the host ran out of memory
├── DeviceError           the requested device is not available
├── CompilerError         torch.compile failed
├── StorageError          a file cannot be written or read: disk full, no permission
├── NetworkError          a download or a connection failed                (retryable)
│   └── UnreachableError  this machine cannot reach it; another try fails too
├── NotFoundError         no such job, artifact, attempt
├── ConflictError         the request does not fit the present state
│   ├── NotComparableError  the runs were scored on different images
│   └── StaleAttemptError a newer attempt has replaced this one, or the job is over
├── ClusterError          Ray does not answer, or answers wrongly           (retryable)
└── LostRunError          the run's process died without its final event    (retryable)
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue


class FgdError(Exception):
    """An error with a stable code, a message that names the thing, the value and the cure, and JSON details.

    Args:
        message: one sentence for a person.
        details: JSON values for a program; they are shown after the message.
    """

    code: str = "internal"
    retryable: bool = False
    http_status: int = 500

    def __init__(self, message: str, **details: JsonValue) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={value!r}" for key, value in self.details.items() if not self._is_in_message(key))
        return f"{self.message} ({shown})" if shown else self.message

    def _is_in_message(self, key: str) -> bool:
        """Return whether the message already contains all reasons, as in a refusal; they are then not shown twice."""
        reasons = self.details[key] if key == "reasons" else None
        return isinstance(reasons, list) and all(
            isinstance(reason, dict) and str(reason.get("message")) in self.message for reason in reasons
        )

    # Ray pickles exceptions between processes; without this method the keyword details are lost.
    def __reduce__(self) -> tuple[Callable[..., "FgdError"], tuple[Any, ...]]:
        return _rebuild, (type(self), self.message, self.details)


def error_classes(root: type[FgdError] = FgdError) -> dict[str, type[FgdError]]:
    """Return the classes of the error tree that are loaded, by code."""
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= error_classes(child)
    return found


def _rebuild(kind: type[FgdError], message: str, details: Mapping[str, JsonValue]) -> FgdError:
    return kind(message, **details)


class SpecError(FgdError):
    """The job cannot run as it is specified."""

    code = "spec"
    http_status = 422


class AdmissionError(SpecError):
    """Its details hold `reasons`: a list of {loc, code, message} with everything that is wrong."""

    code = "admission"


class DataError(FgdError):
    """The data set has errors."""

    code = "data"
    http_status = 422


class WeightsError(FgdError):
    """A checkpoint or pretrained weights do not fit."""

    code = "weights"
    http_status = 422


class TeacherError(WeightsError):
    """The teacher fits, but its classes or its AP are not good enough."""

    code = "teacher"


class NonFiniteLossError(FgdError):
    """The loss became NaN or infinite."""

    code = "non_finite_loss"


class ExportError(FgdError):
    """A detector cannot be exported."""

    code = "export"


class ExportDiffersError(ExportError):
    """The exported file detects something else than PyTorch."""

    code = "export_differs"


class OutOfMemoryError(FgdError):
    """The device or the host ran out of memory."""

    code = "out_of_memory"


class DeviceError(FgdError):
    """The requested device is not available."""

    code = "device"
    http_status = 422


class CompilerError(FgdError):
    """`torch.compile` failed."""

    code = "compiler"


class StorageError(FgdError):
    """A file cannot be written or read."""

    code = "storage"
    http_status = 507


class NetworkError(FgdError):
    """A download or a connection failed."""

    code = "network"
    retryable = True
    http_status = 502


class UnreachableError(NetworkError):
    """This machine cannot reach the address; another try fails too."""

    code = "unreachable"
    retryable = False


class NotFoundError(FgdError):
    """There is no such job, artifact or attempt."""

    code = "not_found"
    http_status = 404


class ConflictError(FgdError):
    """The request does not fit the present state."""

    code = "conflict"
    http_status = 409


class NotComparableError(ConflictError):
    """The runs were scored on different images, or left nothing to compare. `reasons` names all causes."""

    code = "not_comparable"


class StaleAttemptError(ConflictError):
    """A newer attempt has replaced this one, or the job is over."""

    code = "stale_attempt"


class ClusterError(FgdError):
    """Ray does not answer, or answers wrongly."""

    code = "cluster"
    retryable = True
    http_status = 503


class LostRunError(FgdError):
    """The run's process died without its final event."""

    code = "lost_run"
    retryable = True
