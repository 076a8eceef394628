"""Errors that only the client and the command line raise; the server's errors are in `fgd_core.errors`."""

from fgd_core.errors import FgdError


class UnreachableError(FgdError):
    """No server answered at this URL; the jobs may still be running."""

    code = "unreachable"
    retryable = True


class UsageError(FgdError):
    """The command cannot run with these arguments, options or environment variables."""

    code = "usage"


class SpecFileError(UsageError):
    """The spec file is not a valid job.

    `reasons`: a list of {loc, code, message, line, options} with every fault; `options` are the options of the command
    that set the field or a part of it.
    """

    code = "spec_file"


class FailedJobError(FgdError):
    """A job that the caller waited for failed or was cancelled."""

    code = "job_failed"
