"""The page's files: read once, and addressed by a digest of them all, so that browsers may keep them for ever."""

import gzip
import hashlib
import posixpath
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from service.reports.page import template
from service.web.paths import FILES

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_APP = "app.js"
_IMPORT = re.compile(r'^(?:import|export) (?:[^"]+ from )?"(\.[^"]+)";$', re.MULTILINE)


class Asset(NamedTuple):
    """A file of the page."""

    content: bytes
    packed: bytes
    """The content, compressed by gzip."""
    media_type: str


@cache
def assets() -> Mapping[str, Asset]:
    """Read all files, by their path below `static`, sorted."""
    files = sorted(path for path in _STATIC.rglob("*") if path.suffix in _MEDIA_TYPES)
    return {path.relative_to(_STATIC).as_posix(): _asset(path.read_bytes(), path.suffix) for path in files}


def _asset(content: bytes, suffix: str) -> Asset:
    return Asset(content, gzip.compress(content, mtime=0), _MEDIA_TYPES[suffix])


@cache
def version() -> str:
    """Return a digest of all files; modules import each other by relative paths, so they change address together."""
    digest = hashlib.sha256()
    for name, asset in assets().items():
        digest.update(f"{name} {len(asset.content)} ".encode())
        digest.update(asset.content)
    return digest.hexdigest()[:16]


def needed(page: str) -> list[str]:
    """Return the style sheets, and the modules that a page imports at once, sorted.

    Args:
        page: the page's own module, which the start module imports only when the page opens.
    """
    found: set[str] = set()
    waiting = [_APP, page]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            code = assets()[name].content.decode()
            waiting += [
                posixpath.normpath(posixpath.join(posixpath.dirname(name), each)) for each in _IMPORT.findall(code)
            ]
    return sorted(found | {name for name in assets() if name.endswith(".css")})


@cache
def shell(base: str, page: str) -> str:
    """Render the HTML that loads a page.

    Args:
        base: the path below which browsers find this server; empty for the root.
        page: the page's own module.
    """
    return template("shell.html", _HERE).render(
        base=base, files=f"{base}{FILES}/{version()}", app=_APP, needed=needed(page)
    )
