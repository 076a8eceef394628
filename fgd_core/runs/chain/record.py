"""The record of a chain: what a resumed chain must not measure or train again."""

from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from fgd_core.errors import WeightsError
from fgd_core.ranks import from_first, is_first
from fgd_core.spec.base import Fact
from fgd_core.spec.chains import CHAIN_RECORD, TeachersOrdered
from fgd_core.spec.kinds.base import AnyJob
from fgd_core.spec.kinds.chain import ChainSpec
from fgd_core.spec.results import RunResult
from fgd_core.storage import write_atomically
from fgd_core.training.checkpoints import CHECKPOINTS
from fgd_core.training.context import RunContext, StoresFiles
from fgd_core.training.identity import differences, without_harmless

_BATCH = ("training.batch_size", "training.optimizer.learning_rate")
"""A retry after out of memory changes these. A stage that is done stays as it is, and the others begin again."""


class FinishedStage(Fact):
    """A stage that is done."""

    epochs: int
    steps: int
    sha256: str
    """Of the stage's best checkpoint."""
    result: RunResult


class ChainState(Fact):
    """What the record holds."""

    spec: dict[str, JsonValue]
    """The settings that the rest depends on; see `_identity`."""
    ordered: TeachersOrdered | None = None
    """None until all teachers are checked."""
    teacher_aps: dict[str, JsonValue] = {}
    """By everything that determines the AP; see `TeacherSharing`."""
    finished: dict[str, FinishedStage] = {}
    """By the name of the stage."""


class ChainRecord:
    """Reads and writes the record in the folder of a chain's run; of several ranks, rank 0 does both.

    Raises:
        WeightsError: the record there is from another chain.
    """

    def __init__(self, spec: ChainSpec, context: RunContext) -> None:
        self._path = context.job_dir / CHECKPOINTS / CHAIN_RECORD
        self._context = context
        self.state = from_first(lambda: _read(self._path)) or ChainState(spec=_identity(spec))
        _check_same(self.state.spec, _identity(spec), self._path)

    def change(self, **fields: Any) -> None:
        """Change fields of the state and save it.

        Raises:
            StorageError: the record could not be written.
        """
        self.state = self.state.model_copy(update=fields)
        if not is_first():
            return
        text = self.state.model_dump_json().encode()
        write_atomically(self._path, lambda file: file.write(text))
        if isinstance(self._context, StoresFiles):
            self._context.store_file(self._path)


def _read(path: Path) -> ChainState | None:
    """Return the state of an earlier attempt; None if there is none, or if a crash damaged it."""
    try:
        return ChainState.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _identity(spec: ChainSpec) -> dict[str, JsonValue]:
    """Return the settings by path of the stages; the data may move, and each stage checks its content itself."""
    content: dict[str, JsonValue] = spec.model_dump(mode="json", exclude={*AnyJob.model_fields, "data"} - {"seed"})
    stages: dict[str, JsonValue] = {
        str(index): without_harmless(
            {
                "teacher": stage.teacher.model_dump(mode="json"),
                "method": (stage.method or spec.method).model_dump(mode="json"),
                "training": (stage.training or spec.training).model_dump(mode="json"),
            }
        )
        for index, stage in enumerate(spec.stages)
    }
    return {**without_harmless(content), "stages": stages, "num_stages": len(spec.stages)}


def _check_same(saved: dict[str, JsonValue], current: dict[str, JsonValue], path: Path) -> None:
    found = [each for each in differences(saved, current) if not each.field.endswith(_BATCH)]
    if found:
        raise WeightsError(
            f"{path.name} was saved by another chain: {', '.join(map(str, found[:5]))}; to resume it, restore these "
            "settings; to start from the beginning, submit a new job, or run in a folder without checkpoints",
            differences=[{"field": each.field, "saved": each.saved, "asked": each.current} for each in found],
        )
