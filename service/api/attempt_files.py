"""What runs keep with this server where they share no folder with it: a run writes below its own attempt's folder, and
reads all of its job and the checkpoints that its spec refers to.

Bytes go straight to the storage, and no database connection is held while they flow.
"""

import asyncio
import base64
import binascii
import hashlib
import re
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from fgd_core.errors import NotFoundError, SpecError
from fgd_core.spec.attempts import FileList, UploadedFile
from service.api import stored_files
from service.api.attempts import Token
from service.api.deps import Services, ServicesDep
from service.errors import BodyMissingError, ForbiddenError, LengthMissingError
from service.storage import paths, threads
from service.storage.base import BLOCK_BYTES, Upload
from service.storage.errors import FileGoneError
from service.store import artifacts, jobs, recording
from service.store.tables import Artifact

router = APIRouter(prefix="/v1/attempts/{attempt_id}", tags=["attempts"])

_PATH = re.compile(r"/v1/attempts/[^/]+/files/.")
_DIGEST = re.compile(r"(?:^|[,\s])sha-256=:(?P<base64>[A-Za-z0-9+/=]+):")
_SILENCE_S = 60.0
"""After which a sender that sends nothing counts as gone."""
_BYTES = "application/octet-stream"
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": stored_files.ANY},
    206: {"description": "The range", "content": stored_files.ANY},
}
_BODY = {
    "requestBody": {"required": True, "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}},
    "parameters": [
        {
            "in": "header",
            "name": "Repr-Digest",
            "required": True,
            "description": "`sha-256=:<base64>:` of the file, as RFC 9530 has it",
            "schema": {"type": "string"},
        }
    ],
}


def is_file(scope: Scope) -> bool:
    """Whether the body of a request is a file, which is as large as it is."""
    return scope["method"] == "PUT" and _PATH.match(scope["path"]) is not None


@router.get("/files", operation_id="list_files")
async def list_files(services: ServicesDep, token: Token, attempt_id: str) -> FileList:
    """All that the attempts of the job keep here."""
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


@router.get("/files/{path:path}", operation_id="get_file", response_class=Response, responses=_FILE)
async def get_file(services: ServicesDep, token: Token, request: Request, attempt_id: str, path: str) -> Response:
    """A file of any attempt of the job, with its digest."""
    job_id, _ = await _current(services, attempt_id, token)
    return await _send(services, request, f"{paths.job_folder(job_id)}/{_plain(path)}")


@router.put("/files/{path:path}", operation_id="put_file", openapi_extra=_BODY)
async def put_file(services: ServicesDep, token: Token, request: Request, attempt_id: str, path: str) -> UploadedFile:
    """Keep a file: all of it, in place of the one before it, or nothing. What came must be as long and have the digest
    as was said; an attempt that is over by the time it has all come keeps nothing (409)."""
    job_id, number = await _current(services, attempt_id, token)
    where = f"{paths.job_folder(job_id)}/{_own(path, number)}"
    size_bytes, sha256 = _announced(request)
    with await threads.run(services.storage.writing, where, size_bytes=size_bytes, sha256=sha256) as incoming:
        try:
            received, digest = await _receive(request, incoming, size_bytes)
            _check(path, (received, digest), (size_bytes, sha256))
            await _current(services, attempt_id, token)
            await threads.run(incoming.commit)
        finally:
            await threads.run(incoming.discard)
    return UploadedFile(path=path, uri=services.storage.uri_of(where), size_bytes=size_bytes, sha256=sha256)


@router.delete("/files/{path:path}", operation_id="delete_file", status_code=204, response_class=Response)
async def delete_file(services: ServicesDep, token: Token, attempt_id: str, path: str) -> Response:
    """Let go of a file; one that is not there is fine, too."""
    job_id, number = await _current(services, attempt_id, token)
    with suppress(FileGoneError):
        await threads.run(services.storage.delete, f"{paths.job_folder(job_id)}/{_own(path, number)}")
    return Response(status_code=204)


@router.get(
    "/checkpoints/{job_id}/{name:path}", operation_id="get_checkpoint", response_class=Response, responses=_FILE
)
async def get_checkpoint(
    *, services: ServicesDep, token: Token, request: Request, attempt_id: str, job_id: str, name: str
) -> Response:
    """What the spec refers to as `job:<job id>/<name>`; the name with `.pt` is the same."""
    artifact = await _referred_to(services, attempt_id, token, job_id, name)
    path = paths.of_job(services.storage, job_id, artifact.uri) if artifact is not None else None
    if path is None:
        raise NotFoundError(
            f"the spec of this run refers to no checkpoint job:{job_id[:50]}/{name[:200]} that is kept here; name one "
            "of those in its assignment",
            attempt_id=attempt_id,
        )
    return await _send(services, request, path)


async def _current(services: Services, attempt_id: str, token: str) -> tuple[str, int]:
    """(the job's id, the attempt's number)

    Raises:
        UnauthorizedError: the token is not this attempt's.
        StaleAttemptError: the attempt has been replaced, or its job is over.
    """
    async with services.database.reading() as session:
        job, attempt = await recording.authenticate(session, attempt_id, token, lock=False)
        recording.check_current(job, attempt)
        return job.id, attempt.number


async def _referred_to(services: Services, attempt_id: str, token: str, job_id: str, name: str) -> Artifact | None:
    async with services.database.reading() as session:
        job, attempt = await recording.authenticate(session, attempt_id, token, lock=False)
        recording.check_current(job, attempt)
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
            f"{path[:200]!r} is no path of a file below the job's folder; write names with single slashes between them",
            path=path[:200],
        )
    return path


def _own(path: str, number: int) -> str:
    own = f"attempts/{number}/"
    if not _plain(path).startswith(own) or path.endswith(".partial"):
        raise ForbiddenError(f"{path[:200]!r} is not this attempt's to change; it writes below {own}", path=path[:200])
    return path


def _announced(request: Request) -> tuple[int, str]:
    """(length in bytes, SHA-256 in hex)"""
    length = request.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        raise LengthMissingError("send the file with its Content-Length")
    said = _DIGEST.search(request.headers.get("Repr-Digest", ""))
    try:
        digest = base64.b64decode(said["base64"], validate=True) if said is not None else b""
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise SpecError("send the file's SHA-256 as `Repr-Digest: sha-256=:<base64>:`, as RFC 9530 has it")
    return int(length), digest.hex()


async def _receive(request: Request, incoming: Upload, size_bytes: int) -> tuple[int, str]:
    """(length in bytes, SHA-256 in hex) of what came."""
    digest, received, block = hashlib.sha256(), 0, bytearray()

    def keep(content: bytes) -> None:
        digest.update(content)
        incoming.write(content)

    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_SILENCE_S):
                chunk = await anext(stream, None)
        except (TimeoutError, ClientDisconnect) as cause:
            raise BodyMissingError(
                f"only {received} of {size_bytes} bytes came; nothing is kept, send the file again"
            ) from cause
        if chunk is not None:
            received += len(chunk)
            block += chunk
        if block and (chunk is None or len(block) >= BLOCK_BYTES or received > size_bytes):
            await threads.run(keep, bytes(block))
            block.clear()
        if chunk is None or received > size_bytes:
            return received, digest.hexdigest()


def _check(path: str, came: tuple[int, str], announced: tuple[int, str]) -> None:
    if came[0] != announced[0]:
        raise SpecError(
            f"{path} was to have {announced[0]} bytes, and {came[0]} came; nothing is kept, send it again",
            path=path,
            announced_bytes=announced[0],
            received_bytes=came[0],
        )
    if came[1] != announced[1]:
        raise SpecError(
            f"{path} was to have the SHA-256 {announced[1]}, and what came has {came[1]}; nothing is kept, send it "
            "again",
            path=path,
            announced_sha256=announced[1],
            received_sha256=came[1],
        )
