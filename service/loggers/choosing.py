"""Opens the loggers of the settings: one table of all kinds."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from service.loggers.base import Logger, LoggerError
from service.settings import Settings
from service.settings.loggers import LoggerKind, LoggerTarget

_Factory = Callable[[LoggerTarget, Settings], Logger]


def _tensorboard(target: LoggerTarget, settings: Settings) -> Logger:
    logger: Logger = importlib.import_module("service.loggers.tensorboard").TensorBoardLogger(Path(target.place))
    return logger


def _mlflow(target: LoggerTarget, settings: Settings) -> Logger:
    logger: Logger = importlib.import_module("service.loggers.mlflow").MlflowLogger(target.place)
    return logger


def _wandb(target: LoggerTarget, settings: Settings) -> Logger:
    module = importlib.import_module("service.loggers.wandb")
    logger: Logger = module.WandbLogger(target.place, settings.home)
    return logger


LOGGERS: Mapping[LoggerKind, _Factory] = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
"""Their modules are loaded by name and only if needed: two of them need other packages."""


def logger_of(target: LoggerTarget, settings: Settings) -> Logger:
    """Open a logger. Does not connect to its destination.

    Raises:
        LoggerError: a package is missing.
    """
    try:
        return LOGGERS[target.kind](target, settings)
    except ModuleNotFoundError as cause:
        raise LoggerError(
            f"FGD_LOGGERS names {target.kind}, whose package {cause.name} is not installed; run `pip install "
            f"{cause.name}`, or remove {target.kind} from FGD_LOGGERS",
            logger=target.kind,
        ) from cause
