"""A file of the storage as an answer, with ranges; never all of it in memory."""

import re
from collections.abc import AsyncIterator, Mapping
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import quote

import structlog
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from fgd_core.errors import StorageError
from service.api import problems
from service.storage import paths, threads
from service.storage.base import BLOCK_BYTES, OpenedFile, Storage
from service.storage.errors import FileGoneError

log = structlog.get_logger(__name__)

ANY = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})", re.ASCII)
# As a download, and never sniffed: what a run wrote must not run as a page of this server.
_HEADERS = {"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}


async def respond(
    storage: Storage, path: str, request: Request, *, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """
    Raises:
        FileGoneError: there is no such file.
        StorageError: it cannot be read now.
    """
    opened = await threads.run(storage.open, path)
    validators = {
        "Last-Modified": format_datetime(opened.modified_at, usegmt=True),
        "ETag": f'"{opened.modified_at.timestamp():.6f}-{opened.size_bytes}"',
    }
    wanted = _wanted(request, opened.size_bytes, validators)
    if wanted is None:
        await threads.run(opened.file.close)
        return problems.respond(
            status=416,
            code="range",
            detail=f"the file has {opened.size_bytes} bytes; ask for some of those",
            headers={"Content-Range": f"bytes */{opened.size_bytes}"},
        )
    headers = {
        **_HEADERS,
        **validators,
        **(headers or {}),
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(paths.name_of(path), safe='')}",
        "Content-Length": str(wanted.end - wanted.start),
    }
    if wanted.is_part:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.end - 1}/{opened.size_bytes}"
    blocks = _blocks(opened, wanted)
    return StreamingResponse(blocks, 206 if wanted.is_part else 200, headers=headers, media_type=media_type)


def read_small(storage: Storage, job_id: str, uri: str, *, max_bytes: int) -> bytes | None:
    """A picture for a page: a job's own file. None where it is not there, or larger, or cannot be read now, for the
    page is more than its pictures. Blocks."""
    path = paths.of_job(storage, job_id, uri)
    if path is None:
        return None
    try:
        opened = storage.open(path)
        with opened.file as file:
            return file.read() if opened.size_bytes <= max_bytes else None
    except FileGoneError:
        return None
    except StorageError as error:
        log.warning("picture_left_out", job_id=job_id, error=str(error))
        return None


class _Range(NamedTuple):
    start: int
    end: int
    is_part: bool


def _wanted(request: Request, size_bytes: int, validators: Mapping[str, str]) -> _Range | None:
    """What of the file is to be sent; None where it is too short for that.

    Several ranges at once are answered with the whole, which whoever asks must be able to take.
    """
    asked = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    condition = request.headers.get("If-Range")
    if asked is None or (condition is not None and condition not in validators.values()):
        return _Range(0, size_bytes, is_part=False)
    first, last = asked["first"], asked["last"]
    if not first:
        if not last:
            return _Range(0, size_bytes, is_part=False)
        start, end = max(0, size_bytes - int(last)), size_bytes
    else:
        start, end = int(first), min(size_bytes, int(last) + 1) if last else size_bytes
    return _Range(start, end, is_part=True) if start < end else None


async def _blocks(opened: OpenedFile, wanted: _Range) -> AsyncIterator[bytes]:
    try:
        if wanted.start:
            await threads.run(opened.file.seek, wanted.start)
        left = wanted.end - wanted.start
        while left > 0:
            block = await threads.run(opened.file.read, min(left, BLOCK_BYTES))
            if not block:
                raise FileGoneError("the file became shorter while it was sent")
            left -= len(block)
            yield block
    finally:
        opened.file.close()
