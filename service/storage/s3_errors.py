"""Translates the errors of the S3 client into errors of the storage."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from fgd_core.errors import StorageError
from service.storage import errors

_NO_BUCKET = ("NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "301")
_NOT_FOUND = ("NoSuchKey", "NoSuchUpload", "NoSuchVersion", "404")
_CHANGED = ("PreconditionFailed", "412")
_REFUSED = frozenset(
    [
        "AccessDenied",
        "AccountProblem",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidObjectState",
        "InvalidSecurity",
        "NotSignedUp",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "401",
        "403",
    ]
)
_UNAVAILABLE = frozenset(
    [
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "429",
        "500",
        "502",
        "503",
        "504",
    ]
)


def translated(
    cause: BotoCoreError | ClientError, *, bucket: str, uri: str, is_file: bool
) -> StorageError | errors.FileGoneError:
    """Return the storage error that names what failed and its cure.

    Args:
        uri: of the file or the storage that the request was about.
        is_file: whether the request was about one file, so that "not found" means that the file does not exist.
    """
    code = str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""
    if code in _NO_BUCKET or (code in _NOT_FOUND and not is_file):
        return errors.StorageRefusedError(
            f"no bucket {bucket!r} at this S3 service; create it, or correct FGD_STORAGE_URL, AWS_ENDPOINT_URL or "
            "AWS_REGION",
            bucket=bucket,
            uri=uri,
        )
    if code in _CHANGED:
        return errors.FileChangedError(f"{uri} was replaced while it was read; try again", uri=uri)
    if code in _NOT_FOUND:
        return errors.gone(uri)
    if code in _REFUSED or isinstance(cause, NoCredentialsError | PartialCredentialsError):
        return errors.StorageRefusedError(
            f"the S3 service refused access to bucket {bucket!r}: {cause}; correct AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and grant them the rights to list, read, write and delete",
            bucket=bucket,
            uri=uri,
        )
    if code in _UNAVAILABLE or isinstance(cause, HTTPClientError | NoConnectionError | IncompleteReadError):
        return errors.StorageAwayError(
            f"the S3 service of {uri} does not answer: {cause}; check AWS_ENDPOINT_URL, and try again in a moment",
            uri=uri,
        )
    return StorageError(f"the S3 service rejected a request for {uri}: {cause}", uri=uri, s3_code=code)
