"""Downloads from the storage: files in blocks with HTTP ranges, and small images for pages."""

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

_ANY = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
RESPONSES: problems.Responses = {
    200: {"content": _ANY},
    206: {"description": "The requested range of the file", "content": _ANY},
}
"""What `respond` returns, for the description of a route."""
_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})", re.ASCII)
# As a download, without MIME sniffing: what a run wrote must not run as a page of this server.
_HEADERS = {"X-Content-Type-Options": "nosniff", "Accept-Ranges": "bytes"}


async def respond(
    storage: Storage, path: str, request: Request, *, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a file as a response that streams it in blocks, or the range of it that the request asks for.

    Raises:
        FileGoneError: the file does not exist.
        StorageError: the storage cannot read it now.
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
            detail=f"the file has {opened.size_bytes} bytes; request a range within the file",
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
    """Read a job's own file, such as an image for a page. Blocks.

    Returns:
        None if the file does not exist, is larger than `max_bytes`, or cannot be read now: a page is useful without
        its images.
    """
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
        log.warning("image_left_out", job_id=job_id, error=str(error))
        return None


class _Range(NamedTuple):
    start: int
    end: int
    is_part: bool


def _wanted(request: Request, size_bytes: int, validators: Mapping[str, str]) -> _Range | None:
    """Return the range to send; None if the file is too short for the requested one.

    A request for several ranges gets the whole file, as HTTP allows.
    """
    requested = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    condition = request.headers.get("If-Range")
    if requested is None or (condition is not None and condition not in validators.values()):
        return _Range(0, size_bytes, is_part=False)
    first, last = requested["first"], requested["last"]
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
                raise FileGoneError("the file became shorter during the download")
            left -= len(block)
            yield block
    finally:
        opened.file.close()
