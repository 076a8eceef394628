"""Resolves paths against the current folder and expands ~."""

from pathlib import Path

from service.client.errors import UsageError


def current_folder() -> Path:
    """Return the current folder.

    Raises:
        UsageError: the folder has been removed.
    """
    try:
        return Path.cwd()
    except FileNotFoundError as cause:
        raise UsageError("the current folder has been removed; change to a folder that exists") from cause


def expanded(path: str | Path) -> Path:
    """Replace ~ by the home folder; a relative path stays relative.

    Raises:
        UsageError: the home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as cause:
        raise UsageError(
            f"the folder that ~ stands for in {path} is unknown: neither HOME nor the list of users names it; write "
            "the whole path"
        ) from cause


def resolved(path: str | Path) -> Path:
    """Return the absolute path; raises as `current_folder` and `expanded` do."""
    return (current_folder() / expanded(path)).resolve()
