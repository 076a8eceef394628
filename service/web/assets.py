"""The page's files: read once, and addressed by a digest of them all, so that browsers may keep them for ever."""

import gzip
import hashlib
import posixpath
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2

from service.web.paths import FILES

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_APP = "app.js"
_IMPORT = re.compile(r'^import ({[^}]+}) from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


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
    return sorted({*_modules(_APP), *_modules(page), *(name for name in assets() if name.startswith("style/"))})


@cache
def bundle(entry: str) -> str:
    """Return a module with all that it imports as one script, for a file that people open from disk."""
    return "".join(_as_function(name) for name in _modules(entry))


def text(name: str) -> str:
    """Return a file as text."""
    return assets()[name].content.decode()


@cache
def shell(base: str, page: str) -> str:
    """Render the HTML that loads a page.

    Args:
        base: the path below which browsers find this server; empty for the root.
        page: the page's own module.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((_HERE / "shell.html").read_text("utf-8"))
    return template.render(base=base, files=f"{base}{FILES}/{version()}", app=_APP, needed=needed(page))


def _modules(entry: str) -> list[str]:
    """Return a module and all that it imports, each behind those that it imports itself."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in found:
            for _, path in _IMPORT.findall(text(name)):
                visit(_resolved(name, path))
            found[name] = None

    visit(entry)
    return list(found)


def _resolved(importing: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(importing), path))


def _as_function(name: str) -> str:
    """Write a module as a function that runs at once: its private names stay its own, as in a module."""
    code = _IMPORT.sub(lambda found: f"const {found[1]} = {_variable(_resolved(name, found[2]))};\n", text(name))
    begin, exports = f'const {_variable(name)} = (() => {{\n"use strict";\n', ", ".join(_EXPORT.findall(code))
    return f"{begin}{_EXPORT.sub('', code)}\nreturn {{ {exports} }};\n}})();\n"


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name)
