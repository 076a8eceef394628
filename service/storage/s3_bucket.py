"""Calls the operations of an S3 bucket through boto3 and translates its errors.

Endpoint, credentials and region come from the variables that all S3 clients read: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION and so on.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from boto3.session import Session
from botocore.config import Config
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
from service.storage import errors, threads

Answer: TypeAlias = Mapping[str, Any]
"""What S3 answers, as botocore parses it."""

_CLIENT = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 3, "mode": "standard"},
    max_pool_connections=threads.NUM_THREADS,
)
# fmt: off
_NO_BUCKET = ("NoSuchBucket", "InvalidBucketName", "PermanentRedirect", "301")
_NOT_FOUND = ("NoSuchKey", "NoSuchUpload", "NoSuchVersion", "404")
_CHANGED = ("PreconditionFailed", "412")
_REFUSED = (
    "AccessDenied", "AccountProblem", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidObjectState",
    "InvalidSecurity", "NotSignedUp", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "401", "403",
)
_UNAVAILABLE = (
    "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling",
    "429", "500", "502", "503", "504",
)
# fmt: on


class S3Bucket:
    """Calls S3 operations on the objects of one bucket below a prefix.

    Args:
        prefix: the path in the bucket below which all objects are stored; may be empty.
    """

    def __init__(self, name: str, prefix: str) -> None:
        self.name = name
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{name}/{prefix}".rstrip("/")
        # boto3 itself reads AWS_DEFAULT_REGION only.
        self._client = Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=_CLIENT)

    def uri_of(self, path: str) -> str:
        """Return the URI of an object."""
        return f"{self.uri}/{path}"

    def call(self, operation: str, path: str | None = None, **parameters: object) -> Answer:
        """Call one S3 operation.

        Args:
            path: of the object that the operation is about; None if it is about the bucket.
        Raises:
            StorageError: the operation failed; the message names the bucket or the file and the cure.
            FileGoneError: the object does not exist.
        """
        if path is not None:
            parameters["Key"] = self.prefix + path
        with self.translating(path):
            answer: Answer = getattr(self._client, operation)(Bucket=self.name, **parameters)
            return answer

    def pages(self, operation: str, **parameters: object) -> Iterator[Answer]:
        """Yield the pages of an S3 operation that lists the bucket.

        Raises:
            StorageError: the operation failed.
        """
        with self.translating(None):
            yield from self._client.get_paginator(operation).paginate(Bucket=self.name, **parameters)

    @contextmanager
    def translating(self, path: str | None) -> Iterator[None]:
        """Raise errors of the S3 client as our own, which name the bucket or the file and the cure."""
        try:
            yield
        except (BotoCoreError, ClientError) as cause:
            uri = self.uri_of(path) if path is not None else self.uri
            raise _translated(cause, bucket=self.name, uri=uri, is_file=path is not None) from cause


def _translated(
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
