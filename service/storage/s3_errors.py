"""What an error of s3fs, of botocore under it or of the network under that means to a client."""

import errno

from aiohttp import ClientError as NetworkError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, PartialCredentialsError
from botocore.exceptions import ConnectionError as NoConnectionError
from fsspec.asyn import FSTimeoutError
from s3fs.utils import FileExpired

from fgd_core.errors import StorageError
from service.storage import errors

_NO_BUCKET = ("NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "301")
_AWAY_ERRNOS = (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))
_AWAY_CODES = ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504")


def translated(cause: Exception, *, bucket: str, uri: str, is_file: bool) -> StorageError | errors.FileGoneError | None:
    """None where it is our own mistake.

    Args:
        is_file: whether one file was asked for, so that nothing found means that it is gone.
    """
    if isinstance(cause, StorageError | errors.FileGoneError):
        return cause
    code = _code(cause)
    if code in _NO_BUCKET or (isinstance(cause, FileNotFoundError) and not is_file):
        return errors.StorageRefusedError(
            f"there is no bucket {bucket!r} at this S3 service; create it, or correct FGD_STORAGE_URL, "
            "AWS_ENDPOINT_URL or AWS_REGION",
            bucket=bucket,
            uri=uri,
        )
    if isinstance(cause, FileExpired):
        return errors.FileChangedError(f"{uri} was replaced while it was read; try again", uri=uri)
    if isinstance(cause, FileNotFoundError) and is_file:
        return errors.gone(uri)
    if isinstance(cause, PermissionError | NoCredentialsError | PartialCredentialsError):
        return errors.StorageRefusedError(
            f"the S3 service does not let us into bucket {bucket!r}: {cause}; correct AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and give them the rights to list, read, write and delete",
            bucket=bucket,
            uri=uri,
        )
    if (
        isinstance(
            cause, HTTPClientError | NoConnectionError | NetworkError | FSTimeoutError | TimeoutError | ConnectionError
        )
        or code in _AWAY_CODES
        or (isinstance(cause, OSError) and cause.errno in _AWAY_ERRNOS)
    ):
        return errors.StorageAwayError(
            f"the S3 service that holds {uri} does not answer: {cause}; see AWS_ENDPOINT_URL, and try again in a "
            "moment",
            uri=uri,
        )
    if isinstance(cause, OSError | BotoCoreError | ClientError):
        return StorageError(f"the S3 service refused what was asked of {uri}: {cause}", uri=uri, s3_code=code)
    return None


def _code(cause: BaseException) -> str:
    """As S3 names it; s3fs hides it behind an error of the operating system."""
    inner: BaseException | None = cause
    while inner is not None:
        if isinstance(inner, ClientError):
            return str(inner.response.get("Error", {}).get("Code", ""))
        inner = inner.__cause__
    return ""
