"""The texts with which a new spec begins: the shortest useful one of each kind, with comments."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from fgd_core.errors import NotFoundError
from fgd_core.spec.refusals import closest


@cache
def starts() -> Mapping[str, str]:
    """Return the texts by the kind of job."""
    texts: dict[str, str] = yaml.safe_load(Path(__file__).with_name("starts.yaml").read_text("utf-8"))
    return texts


def start_text(kind: str) -> str:
    """Return the text of a kind.

    Raises:
        NotFoundError: there is no such kind of job.
    """
    if kind not in starts():
        raise NotFoundError(f"there is no kind of job {kind!r}; {closest(kind, starts())}")
    return starts()[kind]
