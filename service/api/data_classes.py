"""Reads the names of a data set's classes from its files, where the server shares a disk with the runs."""

import asyncio
import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import PurePosixPath

import yaml

from fgd_core.spec.data import Coco, DataSpec, Voc, Yolo, files_of
from service.jobs import confinement
from service.jobs.admission_facts import Facts
from service.jobs.confinement import Places

_MOST_BYTES = 100_000_000
"""Of an annotation file; COCO's own validation split has 20 MB."""
_MOST_YAML_BYTES = 100_000
"""Of a data.yaml; the parser is written in Python and takes a second for this size."""
_MOST_CATEGORY_BYTES = 1_000_000
_CATEGORIES = re.compile(rb'"categories"\s*:\s*(?=\[)')


async def classes_in_files(data: DataSpec, facts: Facts) -> Sequence[str]:
    """Return the classes of the validation split, in any order.

    Args:
        facts: with the places that jobs may read, and what is at each path.
    Returns:
        Empty if the server cannot know them quickly: its disk is not that of the runs, a job may not read the file, the
        file is very large or unusual, or the classes are spread over all annotations (Pascal VOC without `classes`).
    """
    match files_of(data):
        case Voc(classes=classes):
            return classes or ()
        case Coco(val=val) if facts.paths is not None:
            return await asyncio.to_thread(_of_coco, val.annotations, facts.places)
        case Yolo(data_yaml=path) if facts.paths is not None:
            return await asyncio.to_thread(_of_yolo, path, facts.places)
    return ()


def _of_coco(path: str, places: Places) -> Sequence[str]:
    content = _content(path, places, _MOST_BYTES)
    # Only the categories are parsed: the whole text would keep all other requests waiting for a second.
    found = [each.end() for each in _CATEGORIES.finditer(content)]
    if len(found) != 1:
        return ()
    text = content[found[0] : found[0] + _MOST_CATEGORY_BYTES].decode(errors="replace")
    try:
        categories, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return ()
    return _names([each.get("name") if isinstance(each, dict) else None for each in categories])


def _of_yolo(path: str, places: Places) -> Sequence[str]:
    try:
        document = yaml.BaseLoader(_content(path, places, _MOST_YAML_BYTES)).get_single_data()
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return ()
    names = document.get("names") if isinstance(document, dict) else None
    return _names([*names.values()] if isinstance(names, dict) else names if isinstance(names, list) else [])


def _names(names: Sequence[object]) -> Sequence[str]:
    """Return names without the spaces around them; empty if one of them is no name."""
    texts = [str(name).strip() for name in names if isinstance(name, str | int | float)]
    return texts if len(texts) == len(names) and all(texts) else ()


def _content(path: str, places: Places, most_bytes: int) -> bytes:
    """Return the content of a file that jobs may read; empty if they may not, or if it is no file or too large."""
    try:
        # Without waiting: a named pipe would block until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return b""
    with os.fdopen(descriptor, "rb") as file:
        # The open file is checked, not the path: a link may have replaced it since.
        real = os.path.realpath(f"/proc/self/fd/{descriptor}")
        opened = Places(roots=places.roots, of_jobs=places.of_jobs, resolved={path: PurePosixPath(real)})
        status = os.fstat(descriptor)
        if confinement.outside("", path, opened) or not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes:
            return b""
        return file.read(most_bytes)
