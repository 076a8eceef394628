"""Files of runs that do not share a folder with the server: upload, list, download, delete.

A run writes below the folder of its own attempt. It reads all files of its job and the checkpoints that its spec names.
Bytes go directly to and from the storage; no database connection is held during a transfer.
"""

import asyncio
import base64
import binascii
import hashlib
import re
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.requests import ClientDisconnect

from fgd_core.errors import NotFoundError, SpecError
from fgd_core.spec.attempts import FileList, UploadedFile
from service.api import stored_files
from service.api.access import JobId
from service.api.deps import Services, ServicesDep
from service.api.routes.attempts import AttemptId, Token, current
from service.errors import BodyMissingError, ForbiddenError, LengthMissingError
from service.storage import paths, threads
from service.storage.base import BLOCK_BYTES, Upload
from service.storage.errors import FileGoneError
from service.store import artifacts, jobs
from service.store.tables import Artifact

router = APIRouter(prefix="/v1/attempts/{attempt_id}", tags=["attempts"])

_DIGEST = re.compile(r"(?:^|[,\s])sha-256=:(?P<base64>[A-Za-z0-9+/=]+):")
_TIMEOUT_S = 60.0
"""An upload fails when the client sends nothing for this long."""
_BYTES = "application/octet-stream"
_BODY = {
    "requestBody": {"required": True, "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}},
    "parameters": [
        {
            "in": "header",
            "name": "Repr-Digest",
            "required": True,
            "description": "The SHA-256 of the file as `sha-256=:<base64>:` (RFC 9530)",
            "schema": {"type": "string"},
        }
    ],
}


CheckpointName = Annotated[
    str, Path(description="The checkpoint's name; the suffix `.pt` may be omitted", examples=["best"])
]
FilePath = Annotated[
    str, Path(description="The file's path in the job's folder", examples=["attempts/1/checkpoints/last.pt"])
]


@router.get("/files", operation_id="list_files")
async def list_files(services: ServicesDep, token: Token, attempt_id: AttemptId) -> FileList:
    """List the files that the attempts of this job have uploaded, without partial uploads."""
    job_id, _ = await _current(services, attempt_id, token)
    folder = paths.job_folder(job_id)
    found = await threads.run(services.storage.listing, folder)
    return FileList(
        files=[
            UploadedFile(
                path=file.path, uri=services.storage.uri_of(f"{folder}/{file.path}"), size_bytes=file.size_bytes
            )
            for file in sorted(found)
            if not file.path.endswith(".partial")
        ]
    )


@router.get("/files/{path:path}", operation_id="get_file", response_class=Response, responses=stored_files.RESPONSES)
async def get_file(
    services: ServicesDep, token: Token, request: Request, attempt_id: AttemptId, path: FilePath
) -> Response:
    """Download a file of any attempt of this job. `Repr-Digest` holds its SHA-256; `Range` is supported."""
    job_id, _ = await _current(services, attempt_id, token)
    return await _send(services, request, f"{paths.job_folder(job_id)}/{_plain(path)}")


@router.put("/files/{path:path}", operation_id="put_file", openapi_extra=_BODY)
async def put_file(
    services: ServicesDep, token: Token, request: Request, attempt_id: AttemptId, path: FilePath
) -> UploadedFile:
    """Upload a file, replacing the one at this path. The upload is stored completely or not at all.

    `Content-Length` and `Repr-Digest` are required, and the received bytes must match both. If the attempt ends during
    the upload, nothing is stored (409).
    """
    job_id, number = await _current(services, attempt_id, token)
    where = f"{paths.job_folder(job_id)}/{_own(path, number)}"
    size_bytes, sha256 = _declared(request)
    with await threads.run(services.storage.writing, where, size_bytes=size_bytes, sha256=sha256) as upload:
        try:
            received, digest = await _receive(request, upload, size_bytes)
            _check(path, (received, digest), (size_bytes, sha256))
            await _current(services, attempt_id, token)
            await threads.run(upload.commit)
        finally:
            await threads.run(upload.discard)
    return UploadedFile(path=path, uri=services.storage.uri_of(where), size_bytes=size_bytes, sha256=sha256)


@router.delete("/files/{path:path}", operation_id="delete_file", status_code=204, response_class=Response)
async def delete_file(services: ServicesDep, token: Token, attempt_id: AttemptId, path: FilePath) -> Response:
    """Delete a file of this attempt. No error if the file does not exist."""
    job_id, number = await _current(services, attempt_id, token)
    with suppress(FileGoneError):
        await threads.run(services.storage.delete, f"{paths.job_folder(job_id)}/{_own(path, number)}")
    return Response(status_code=204)


@router.get(
    "/checkpoints/{job_id}/{name:path}",
    operation_id="get_checkpoint",
    response_class=Response,
    responses=stored_files.RESPONSES,
)
async def get_checkpoint(
    *, services: ServicesDep, token: Token, request: Request, attempt_id: AttemptId, job_id: JobId, name: CheckpointName
) -> Response:
    """Download a checkpoint of another job that the spec names as `job:<job id>/<name>`."""
    artifact = await _named_in_spec(services, attempt_id, token, job_id, name)
    path = paths.of_job(services.storage, job_id, artifact.uri) if artifact is not None else None
    if path is None:
        raise NotFoundError(
            f"this server has no checkpoint job:{job_id[:50]}/{name[:200]} that the spec of this run names; use one of "
            "the checkpoints in the assignment",
            attempt_id=attempt_id,
        )
    return await _send(services, request, path)


async def _current(services: Services, attempt_id: str, token: str) -> tuple[str, int]:
    """Return (the job's id, the attempt's number) of a valid token; raises as `attempts.current` does."""
    async with services.database.reading() as session:
        job, attempt = await current(session, attempt_id, token, lock=False)
        return job.id, attempt.number


async def _named_in_spec(services: Services, attempt_id: str, token: str, job_id: str, name: str) -> Artifact | None:
    async with services.database.reading() as session:
        job, _ = await current(session, attempt_id, token, lock=False)
        for needed in await jobs.dependencies(session, job.id):
            if needed.needs_job_id == job_id and name in (needed.artifact, needed.artifact.removesuffix(".pt")):
                return await artifacts.get(session, job_id, needed.artifact)
    return None


async def _send(services: Services, request: Request, path: str) -> Response:
    sha256 = await threads.run(services.storage.sha256, path)
    headers = {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"}
    return await stored_files.respond(services.storage, path, request, media_type=_BYTES, headers=headers)


def _plain(path: str) -> str:
    if not paths.is_plain(path):
        raise SpecError(
            f"{path[:200]!r} is not a path of a file in the job's folder; use names with single slashes between them",
            path=path[:200],
        )
    return path


def _own(path: str, number: int) -> str:
    own = f"attempts/{number}/"
    if not _plain(path).startswith(own) or path.endswith(".partial"):
        raise ForbiddenError(
            f"this attempt may not change {path[:200]!r}; it may change files below {own}", path=path[:200]
        )
    return path


def _declared(request: Request) -> tuple[int, str]:
    """Return (length in bytes, SHA-256 in hex) as the headers declare them."""
    length = request.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        raise LengthMissingError("the upload has no Content-Length; send the file with its length")
    match = _DIGEST.search(request.headers.get("Repr-Digest", ""))
    try:
        digest = base64.b64decode(match["base64"], validate=True) if match is not None else b""
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise SpecError(
            "the upload has no valid digest; send the file's SHA-256 as `Repr-Digest: sha-256=:<base64>:` (RFC 9530)"
        )
    return int(length), digest.hex()


async def _receive(request: Request, upload: Upload, size_bytes: int) -> tuple[int, str]:
    """Write the body to the storage, and return (length in bytes, SHA-256 in hex) of the received bytes."""
    digest, received, block = hashlib.sha256(), 0, bytearray()

    def write(content: bytes) -> None:
        digest.update(content)
        upload.write(content)

    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                chunk = await anext(stream, None)
        except (TimeoutError, ClientDisconnect) as cause:
            raise BodyMissingError(
                f"received {received} of {size_bytes} bytes, then nothing; upload discarded, send the file again"
            ) from cause
        if chunk is not None:
            received += len(chunk)
            block += chunk
        if block and (chunk is None or len(block) >= BLOCK_BYTES or received > size_bytes):
            await threads.run(write, bytes(block))
            block.clear()
        if chunk is None or received > size_bytes:
            return received, digest.hexdigest()


def _check(path: str, received: tuple[int, str], declared: tuple[int, str]) -> None:
    """Compare (length in bytes, SHA-256 in hex). Raises SpecError if they differ."""
    if received[0] != declared[0]:
        raise SpecError(
            f"{path}: expected {declared[0]} bytes, received {received[0]}; upload rejected, send the file again",
            path=path,
            announced_bytes=declared[0],
            received_bytes=received[0],
        )
    if received[1] != declared[1]:
        raise SpecError(
            f"{path}: expected the SHA-256 {declared[1]}, received {received[1]}; upload rejected, send the file again",
            path=path,
            announced_sha256=declared[1],
            received_sha256=received[1],
        )
