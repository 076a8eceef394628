"""Folders that a path is seen from: the current one, and the one that ~ stands for."""

from pathlib import Path

from service.client.errors import UsageError


def current_folder() -> Path:
    """Raises UsageError where it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError as cause:
        raise UsageError("the current folder has been removed; change to one that is there") from cause


def expanded(path: str | Path) -> Path:
    """The path with ~ written out, and not yet absolute.

    Raises:
        UsageError: nobody knows what ~ stands for.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as cause:
        raise UsageError(
            f"the folder that ~ stands for in {path} is unknown, for neither HOME nor the list of users has it; write "
            "the whole path"
        ) from cause


def resolved(path: str | Path) -> Path:
    """The absolute path, seen from the current folder; raises as `current_folder` and `expanded` do."""
    return (current_folder() / expanded(path)).resolve()
