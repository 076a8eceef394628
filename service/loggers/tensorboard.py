"""Writes event files for TensorBoard: a folder for each run, below a folder for each project."""

import re
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgd_core.spec.events import OVER
from service.loggers.base import LoggedRun, Update


@contextmanager
def _without_torch() -> Iterator[None]:
    """Prevent imports of torch, unless it is loaded already."""
    loaded = sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    try:
        yield
    finally:
        if loaded is None:
            del sys.modules["torch"]


# Where torch is installed, the package imports it to log tensors: here it would only take three seconds and 490 MB.
with _without_torch():
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar, text

_MAX_OPEN_FILES = 64


class TensorBoardLogger:
    """Writes below `folder`; `tensorboard --logdir` shows it.

    A program reads the files of a run in the order of their names, which begin with the time at which each was opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[Path, EventsWriter] = OrderedDict()

    def write(self, update: Update) -> None:
        """Append points to the run's event file; see `Logger.write`."""
        folder = self._folder / folder_of(update.run)
        is_new = not folder.exists()
        file, at_s = self._file(folder), update.at.timestamp()
        if is_new:
            described = text("spec", f"```yaml\n{update.run.spec_as_yaml}```")
            file.write_event(Event(wall_time=at_s, step=0, summary=described))
        for curve in update.curves:
            for step, value in zip(curve.steps, curve.values, strict=True):
                file.write_event(Event(wall_time=at_s, step=step, summary=scalar(curve.curve, value)))
        file.flush()
        if update.run.state in OVER:
            self._open.pop(folder).close()

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _file(self, folder: Path) -> EventsWriter:
        if folder not in self._open:
            folder.mkdir(parents=True, exist_ok=True)
            # The name that the package chooses has whole seconds only: a second file would overwrite the first one.
            self._open[folder] = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(folder)
        return self._open[folder]


def folder_of(run: LoggedRun) -> Path:
    """Return the folder of a run, relative to the logger's: `default/a-training-0123abc/trial-3`."""
    folder = Path(_as_file_name(run.project), f"{_as_file_name(run.name)}-{run.job_id}")
    return folder / f"trial-{run.trial}" if run.trial else folder


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "run"
