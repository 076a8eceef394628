"""Loads a trained detector from any file that can detect: `load_model(path)(image)`."""

import importlib
from collections.abc import Mapping
from pathlib import Path

from fgd_core.errors import SpecError, WeightsError
from fgd_core.prediction import Engine, Model

# Loaded only when such a file is opened: an ONNX file needs no PyTorch, a checkpoint no onnxruntime.
_ENGINES: Mapping[str, str] = {
    ".onnx": "fgd_core.prediction.onnx_engine:open_onnx",
    ".pt2": "fgd_core.export.program_engine:open_program",
}
_CHECKPOINT = "fgd_core.export.checkpoint_engine:open_checkpoint"


def load_model(path: str | Path, *, device: str = "cpu", score_threshold: float | None = None) -> Model:
    """Load a detector from an fgd checkpoint, or from a file that an `export` job wrote.

    Args:
        path: a checkpoint, an ONNX file (`.onnx`) or a program of `torch.export` (`.pt2`).
        device: `cpu` or `cuda`.
        score_threshold: objects with a lower score are left out; None: the threshold of the detector.
    Raises:
        WeightsError: the file does not exist, or is not one of these.
        SpecError: a package that the file needs is not installed.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError("there is no such file; give a checkpoint or an exported file", path=str(file))
    module, _, function = _ENGINES.get(file.suffix.lower(), _CHECKPOINT).partition(":")
    try:
        opened: Engine = getattr(importlib.import_module(module), function)(file, device)
    except ModuleNotFoundError as error:
        if (error.name or "fgd_core").partition(".")[0] == "fgd_core":
            raise
        extra = "runtime" if file.suffix.lower() == ".onnx" else "workers"
        raise SpecError(
            f"{file.name} needs the package {error.name}, which is not installed; run `pip install fgd[{extra}]`"
        ) from error
    return Model(opened, score_threshold=score_threshold)
