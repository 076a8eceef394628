"""What the client and the command line raise beside the server's own errors."""

from fgd_core.errors import FgdError


class UnreachableError(FgdError):
    """No control plane answered at this URL; that says nothing about the jobs."""

    code = "unreachable"
    retryable = True


class UsageError(FgdError):
    """The command cannot be carried out as it was typed."""

    code = "usage"


class SpecFileError(UsageError):
    """The spec file cannot be read as a job.

    `reasons`: a list of {loc, code, message, line, options}, all at once; `options` are those of the command that set
    the field or a part of it.
    """

    code = "spec_file"


class FailedJobError(FgdError):
    """A job that was waited for ended without success."""

    code = "job_failed"
