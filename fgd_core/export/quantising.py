"""Converts an exported ONNX file to 8-bit integers with onnxruntime's static quantisation."""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from fgd_core.export.writing import set_description
from fgd_core.prediction.onnx_engine import inputs_of
from fgd_core.prediction.pixels import ImageBatch
from fgd_core.spec.exports import ExportDescription
from fgd_core.storage import Written, write_atomically

_QUANTISED = ("Conv", "Gemm")
"""Convolutions and fully connected layers. What follows them selects boxes, which 8 bits cannot place."""


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Gives the calibration one batch after another, under the names of the graph's inputs."""

    def __init__(self, batches: Iterator[ImageBatch], description: ExportDescription) -> None:
        self._batches, self._description = batches, description

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        """Return the inputs of the next batch; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else inputs_of(batch, self._description)


def quantise(source: Path, target: Path, batches: Iterator[ImageBatch], description: ExportDescription) -> Written:
    """Write the file in 8-bit integers, with the ranges of activations that it measures on the batches.

    Weights have a scale for each channel.

    Raises:
        StorageError: the disk is full, or the folder is not writable.
    """
    partial = target.with_name(f".{target.name}.calibrated")
    try:
        with contextlib.redirect_stdout(io.StringIO()), _without_warnings():
            quantize_static(
                str(source),
                str(partial),
                _Images(batches, description),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*_QUANTISED],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        model = onnx.load(str(partial))
    finally:
        partial.unlink(missing_ok=True)
    set_description(model, description.model_copy(update={"precision": "int8"}))
    return write_atomically(target, lambda file: file.write(model.SerializeToString()))


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out onnxruntime's advice to prepare the file, which concerns classifiers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
