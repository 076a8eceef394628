"""Opens a file of weights: finds the classes of its outputs and converts its weights for a detector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import FORMAT, read_checkpoint
from fgd_core.detectors.weights.files import WeightsFile, read_content, read_weights
from fgd_core.detectors.weights.matching import SourceWeights
from fgd_core.detectors.weights.mmdetection import mmdetection_weights
from fgd_core.detectors.weights.mmdetection.pixels import OURS, pixels_from_preprocessor
from fgd_core.detectors.weights.outputs import HeadOutputs, identify_outputs
from fgd_core.detectors.weights.torchvision import (
    backbone_weights,
    published_name,
    torchvision_classes,
    torchvision_file_weights,
)
from fgd_core.errors import WeightsError
from fgd_core.spec.detectors import AnyDetector


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """Holds the outputs of a file and converts its weights."""

    outputs: HeadOutputs
    is_backbone: bool
    weights_for: Callable[[Detector], SourceWeights]
    """Converts the weights for a detector with the settings that the file was opened with; raises SpecError if the
    settings do not fit the file."""


def open_weights(path: Path, settings: AnyDetector, user_classes: Sequence[str] | None = None) -> OpenedFile:
    """Open an fgd checkpoint or a file of another tool.

    Args:
        settings: of the detector that the weights are loaded into.
        user_classes: the classes of the file's outputs, if the file does not name them.
    Raises:
        WeightsError: the file does not exist or cannot be read, or it is unclear which of its weights to use.
    """
    if is_fgd_checkpoint(path):
        if settings.weights_set is not None:
            raise WeightsError(
                "an fgd checkpoint holds one set of weights; remove weights_set",
                path=str(path),
                weights_set=settings.weights_set,
            )
        checkpoint, _ = read_checkpoint(path)
        names = tuple(category.name for category in checkpoint.categories)
        return OpenedFile(
            outputs=HeadOutputs(names),
            is_backbone=False,
            weights_for=lambda _: SourceWeights(state=checkpoint.state, classes=names),
        )
    file = read_weights(path, settings.weights_set)
    outputs = _outputs(file, user_classes)
    return OpenedFile(
        outputs=outputs,
        is_backbone=file.is_backbone,
        weights_for=lambda detector: _convert(detector, file, settings, outputs),
    )


def is_fgd_checkpoint(path: Path) -> bool:
    """Check whether a file is an fgd checkpoint, without reading its weights."""
    try:
        # Memory-mapped: only the names are read.
        content = read_content(path, mapped=True)
    except WeightsError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _outputs(file: WeightsFile, user_classes: Sequence[str] | None) -> HeadOutputs:
    name = published_name(file.path)
    if name is not None and not user_classes:
        return HeadOutputs(torchvision_classes(name), note=f"the file is {name} of torchvision")
    return identify_outputs(file, user_classes)


def _convert(detector: Detector, file: WeightsFile, settings: AnyDetector, outputs: HeadOutputs) -> SourceWeights:
    # Without names, no row belongs to a class.
    classes = outputs.names or ()
    if file.family == "mmdetection":
        weights = mmdetection_weights(file, settings, classes)
    else:
        _check_pixels(file)
        is_backbone = file.family == "backbone"
        weights = (
            backbone_weights(file.state, file)
            if is_backbone
            else torchvision_file_weights(detector, file, settings, classes)
        )
    problem = f"{outputs.problem}, so the rows of its classes were not loaded" if outputs.problem else ""
    notes = (*weights.notes, *filter(None, [outputs.note, problem]))
    return replace(weights, notes=notes)


def _check_pixels(file: WeightsFile) -> None:
    """Check that the file's preprocessor, if it has one, normalises images as fgd does.

    Raises:
        WeightsError: it does not.
    """
    pixels = pixels_from_preprocessor(file.left_out_tensors)
    if pixels is not None and pixels != OURS:
        raise WeightsError(
            f"the file expects images as {pixels}, and fgd provides {OURS}; fgd converts only files with mmdetection's "
            "names, so train with ImageNet's mean and deviation, or convert the file",
            path=str(file.path),
        )
