"""The export of a trained detector."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from fgd_core.spec.data import DataSpec, InputSpec
from fgd_core.spec.exports import ExportFormat
from fgd_core.spec.kinds.base import AnyJob

Side: TypeAlias = Annotated[int, Field(ge=32, le=8192)]


class ExportSpec(AnyJob):
    """Export a checkpoint to ONNX or `torch.export`, and compare its detections with those of PyTorch.

    The job fails if they differ. A model card describes the detector and its files.
    """

    kind: Literal["export"] = "export"
    checkpoint: str
    """A checkpoint of fgd: a path, or `job:<id>/best`."""
    data: DataSpec
    """The exports are compared on validation images of this data set, and int8 is calibrated and scored on them."""
    input: InputSpec | None = None
    """Default: the settings in the checkpoint."""
    formats: tuple[ExportFormat, ...] = Field(default=("onnx",), min_length=1, max_length=2)
    """`onnx` for onnxruntime and other programs, `torch_export` for PyTorch without fgd's source of the detector."""
    normalise: bool = True
    """Whether the graph takes RGB pixels from 0 to 255. False: it takes normalised images."""
    postprocess: bool = True
    """Whether the graph decodes boxes and applies non-maximum suppression. False: it returns the boxes and scores of
    all locations, for a runtime with a step of its own; only detectors without a second stage can do so."""
    size_px: tuple[Side, Side] | None = None
    """The only (height, width) that the graph accepts, in pixels after padding. None: any size. A fixed size exports
    faster, and some runtimes need it."""
    int8: bool = False
    """Whether to write an ONNX file in 8-bit integers as well, calibrated and scored on the validation split."""
    num_calibration_images: int = Field(default=64, ge=1, le=1000)
    """Validation images that the ranges of int8 are measured on."""
    num_checked_images: int = Field(default=8, ge=1, le=1000)
    """Validation images whose detections are compared with those of PyTorch."""
    batch_size: int = Field(default=8, ge=1)
    """Images per forward pass when int8 is scored."""

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if self.int8 and "onnx" not in self.formats:
            raise ValueError("int8 is a kind of ONNX file; add onnx to formats, or set int8 to false")
        if self.int8 and not self.postprocess:
            raise ValueError("int8 is scored by its detections; set postprocess to true, or int8 to false")
        if self.resources.workers > 1:
            raise ValueError(f"an export runs in one process; set resources.workers to 1, not {self.resources.workers}")
        if self.size_px is not None and any(side % 32 for side in self.size_px):
            raise ValueError(f"both sides of size_px are multiples of 32, and not {self.size_px}")
        return self
