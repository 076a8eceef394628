"""Reads the setting FGD_LOGGERS: where a server copies its runs to."""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args
from urllib.parse import urlsplit

LoggerKind: TypeAlias = Literal["tensorboard", "mlflow", "wandb"]
_FORMS = "tensorboard:/folder, mlflow:http://host:5000, wandb:project or wandb:entity/project"


class LoggerTarget(NamedTuple):
    """Names a destination of a server's runs."""

    kind: LoggerKind
    place: str
    """A folder, the URL of a server, or a project, which the name of its entity may precede."""

    @property
    def key(self) -> str:
        """A name for the database; the place itself may hold a password."""
        return f"{self.kind}-{hashlib.sha256(self.place.encode()).hexdigest()[:16]}"


def targets_of(value: object) -> object:
    """Read `tensorboard:/folder,mlflow:http://host:5000,wandb:project`.

    Raises:
        ValueError: a part names no logger, or its place is wrong.
    """
    return [_target(part.strip()) for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _target(text: str) -> LoggerTarget:
    kind, _, place = text.partition(":")
    for known in get_args(LoggerKind):
        if kind == known:
            _check(known, place)
            return LoggerTarget(known, place)
    raise ValueError(f"{kind!r} is no logger; give {_FORMS}, separated by commas")


def _check(kind: LoggerKind, place: str) -> None:
    match kind:
        case "tensorboard":
            fits = Path(place).is_absolute()
        case "mlflow":
            fits = urlsplit(place).scheme in ("http", "https") and bool(urlsplit(place).hostname)
        case "wandb":
            fits = all(place.split("/")) and place.count("/") <= 1
    if not fits:
        # Without the place: it may hold a password.
        raise ValueError(f"{kind} has no usable place; give {_FORMS}")
