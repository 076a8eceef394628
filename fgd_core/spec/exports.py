"""Exported detectors: what a file holds, and what was found when it was written."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact
from fgd_core.spec.data import InputSpec
from fgd_core.spec.results import Scores

ExportFormat: TypeAlias = Literal["onnx", "torch_export"]
"""`onnx`: a file for onnxruntime and others. `torch_export`: a program of `torch.export`, which needs PyTorch."""
DESCRIPTION_KEY = "fgd.json"
"""The name under which an exported file holds its description."""


class ExportedClass(Fact):
    """A class of an exported detector."""

    id: int
    """As in the annotation file of the data that the detector was trained on."""
    name: str


class ExportDescription(Fact):
    """Describes an exported detector: all that its user must know besides the graph. Each exported file holds it."""

    format_version: int = 1
    detector: str
    """The `type` of the detector."""
    classes: list[ExportedClass]
    """In the order of the labels."""
    input: InputSpec
    """How images are resized and padded."""
    size_px: tuple[int, int] | None = None
    """The only (height, width) that the graph accepts; None: any multiple of `input.pad_to_px`."""
    normalises: bool = True
    """Whether images are RGB from 0 to 255; else normalised with ImageNet's mean and deviation."""
    postprocesses: bool = True
    """Whether the outputs are detections; else the boxes and scores of all locations."""
    score_threshold: float
    max_detections: int = 100
    """Detections kept per image."""
    has_masks: bool = False
    has_keypoints: bool = False
    mask_offset_px: float = 0.0
    """The offset of a mask from its box, in pixels of the resized image."""
    precision: Literal["float32", "int8"] = "float32"
    checkpoint: str
    """Where the weights come from."""
    checkpoint_sha256: str
    fgd_version: str


class ExportedFile(Fact):
    """An exported file, and how its detections compare with those of PyTorch."""

    name: str
    format: ExportFormat
    precision: Literal["float32", "int8"]
    size_bytes: int
    sha256: str
    took_s: float
    num_checked: int
    """Validation images whose detections were compared."""
    max_difference: float | None = None
    """The largest difference of a score, of a mask, or of a coordinate of a box or keypoint divided by the longer side
    of the image; None for int8, which is compared by its AP."""
    scores: Scores | None = None
    """Of an int8 file: its scores on the validation split."""
    ap_change: float | None = None
    """Of an int8 file: its AP minus that of the float32 file on the same images."""

    def compared_in_words(self) -> str:
        """Return how its detections compare with those of PyTorch."""
        if self.max_difference is not None:
            return f"differs by at most {self.max_difference:.1g} on {self.num_checked} images"
        if self.scores is None:
            return "not compared"
        ap = "none" if self.scores.ap is None else f"{self.scores.ap:.3f}"
        return f"AP {ap}" if self.ap_change is None else f"AP {ap}, {100 * self.ap_change:+.1f} points"
