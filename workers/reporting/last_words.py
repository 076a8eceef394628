"""What a run says of the error that ended it."""

import traceback

from fgd_core.errors import FgdError
from fgd_core.spec.events import RunFinished
from fgd_core.spec.results import ErrorReport


def failed(error: Exception) -> RunFinished:
    """To be called where the error is handled, for its traceback."""
    known = error if isinstance(error, FgdError) else FgdError(f"{type(error).__name__}: {error}")
    report = ErrorReport(
        code=known.code,
        message=known.message,
        details=known.details,
        retryable=known.retryable,
        traceback="".join(traceback.format_exception(error)),
    )
    return RunFinished(outcome="failed", error=report)
