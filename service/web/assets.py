"""The page's files: read once, and addressed by a digest of them all, so that browsers may keep them for ever."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from service.reports.page import template
from service.web.paths import FILES

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str


@cache
def assets() -> Mapping[str, Asset]:
    """Read all files, by their path below `static`, sorted."""
    files = sorted(path for path in _STATIC.rglob("*") if path.suffix in _MEDIA_TYPES)
    return {path.relative_to(_STATIC).as_posix(): Asset(path.read_bytes(), _MEDIA_TYPES[path.suffix]) for path in files}


@cache
def version() -> str:
    """Return a digest of all files; modules import each other by relative paths, so they change address together."""
    digest = hashlib.sha256()
    for name, asset in assets().items():
        digest.update(f"{name} {len(asset.content)} ".encode())
        digest.update(asset.content)
    return digest.hexdigest()[:16]


@cache
def shell(base: str) -> str:
    """Render the HTML that loads the page.

    Args:
        base: the path below which browsers find this server; empty for the root.
    """
    named = {suffix: [name for name in assets() if name.endswith(suffix)] for suffix in (".css", ".js")}
    return template("shell.html", _HERE).render(
        base=base, files=f"{base}{FILES}/{version()}", styles=named[".css"], modules=named[".js"]
    )
