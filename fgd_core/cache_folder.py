"""Where fgd keeps what it can compute again: the user's cache folder."""

import os
from contextlib import suppress
from pathlib import Path

VARIABLE = "FGD_CACHE"
"""The environment variable with the folder; `off` keeps nothing."""


def cache_folder() -> Path | None:
    """Return the folder, which may not exist yet; None if it is off, or the user has no home."""
    given = os.environ.get(VARIABLE)
    if given == "off":
        return None
    if given:
        return Path(given)
    with suppress(RuntimeError):  # There is no home folder.
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fgd"
    return None
