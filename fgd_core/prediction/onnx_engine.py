"""Runs exported ONNX files in onnxruntime."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from pydantic import ValidationError

from fgd_core.errors import DeviceError, SpecError, WeightsError
from fgd_core.prediction.graph_outputs import split
from fgd_core.prediction.model import RawDetections
from fgd_core.prediction.pixels import ImageBatch
from fgd_core.spec.exports import DESCRIPTION_KEY, ExportDescription

# ImageNet's RGB mean and deviation, as in `fgd_core.data.loading`.
_MEAN = np.array([123.675, 116.28, 103.53], np.float32)[:, None, None]
_STD = np.array([58.395, 57.12, 57.375], np.float32)[:, None, None]
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3
_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_REFUSED: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(_STATE.Fail, _STATE.InvalidArgument, _STATE.InvalidGraph, _STATE.InvalidProtobuf),
    *(_STATE.NotImplemented, _STATE.RuntimeException),
)
"""What onnxruntime raises for a file that it cannot run; its own kinds are no RuntimeError."""


class OnnxEngine:
    """Runs one ONNX file.

    Args:
        threads: of onnxruntime; 0: as many as the machine has cores.
    """

    def __init__(self, path: Path, device: str = "cpu", *, threads: int = 0) -> None:
        self._session = _open(path, device, threads)
        self.description = _described(self._session, path)
        self._names = [output.name for output in self._session.get_outputs()]

    def detect(self, batch: ImageBatch) -> list[RawDetections]:
        """Detect the objects of each image.

        Raises:
            SpecError: the file has no post-processing.
        """
        if not self.description.postprocesses:
            raise SpecError("the file was exported without post-processing; export it with postprocess: true")
        outputs: list[npt.NDArray[np.generic]] = self._session.run(None, inputs_of(batch, self.description))
        return split(self._names, outputs)


def open_onnx(path: Path, device: str) -> OnnxEngine:
    """Open an ONNX file that an `export` job wrote.

    Raises:
        WeightsError: the file is damaged, or another program wrote it.
        DeviceError: onnxruntime cannot use the device.
    """
    return OnnxEngine(path, device)


def inputs_of(batch: ImageBatch, description: ExportDescription) -> dict[str, npt.NDArray[np.generic]]:
    """Return the inputs of a graph by name: `images` (N, 3, H, W) and `image_sizes` (N, 2)."""
    images = batch.images if description.normalises else _normalised(batch)
    return {"images": images, "image_sizes": batch.sizes}


def _open(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    kind, _, number = device.partition(":")
    provider = _PROVIDERS.get(kind)
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"onnxruntime cannot use the device {device} here; use cpu, or install onnxruntime-gpu for cuda",
            device=device,
            available=[*onnxruntime.get_available_providers()],
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[(provider, {"device_id": number} if number else {})]
        )
    except _REFUSED as error:
        raise WeightsError("the file is not a readable ONNX file; export it again", path=str(path)) from error
    if provider not in session.get_providers():
        # Without libraries of CUDA, onnxruntime goes on with the CPU.
        raise DeviceError(
            f"onnxruntime cannot load what {device} needs, such as CUDA and cuDNN; use cpu", device=device
        )
    return session


def _described(session: onnxruntime.InferenceSession, path: Path) -> ExportDescription:
    text = session.get_modelmeta().custom_metadata_map.get(DESCRIPTION_KEY)
    if text is None:
        raise WeightsError(
            "the ONNX file has no description of its detector; only files of an `export` job can be used",
            path=str(path),
        )
    try:
        return ExportDescription.model_validate(json.loads(text))
    except (ValidationError, ValueError) as error:
        raise WeightsError("a newer version of fgd wrote the file; update fgd", path=str(path)) from error


def _normalised(batch: ImageBatch) -> npt.NDArray[np.float32]:
    """Normalise the images of a batch: (N, 3, H, W), with zeros as padding."""
    images = np.zeros_like(batch.images)
    for target, image, (height, width) in zip(images, batch.images, batch.sizes.tolist(), strict=True):
        target[:, :height, :width] = (image[:, :height, :width] - _MEAN) / _STD
    return images
