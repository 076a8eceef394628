"""A file of weights, opened: what its outputs stand for, and its weights for a detector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fgd_core.detectors.base import Detector
from fgd_core.detectors.checkpoint import FORMAT, read_checkpoint
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
    outputs: HeadOutputs
    is_backbone: bool
    offer: Callable[[Detector], SourceWeights]
    """The weights for a detector with the settings that the file was opened with; raises SpecError where they differ
    from what the file holds."""


def open_weights(path: Path, settings: AnyDetector, told: Sequence[str] | None = None) -> OpenedFile:
    """
    Args:
        settings: of the detector that the file is to fill.
        told: the classes of the file's outputs, where it does not say them.
    Raises:
        WeightsError: no such file, or none that can be read, or it is not clear which of its weights are meant.
    """
    if is_fgd_checkpoint(path):
        if settings.weights_set is not None:
            raise WeightsError(
                "a checkpoint of fgd holds one set of weights; leave weights_set out",
                path=str(path),
                weights_set=settings.weights_set,
            )
        checkpoint, _ = read_checkpoint(path)
        names = tuple(category.name for category in checkpoint.categories)
        return OpenedFile(
            outputs=HeadOutputs(names),
            is_backbone=False,
            offer=lambda _: SourceWeights(state=checkpoint.state, classes=names),
        )
    file = read_weights(path, settings.weights_set)
    outputs = _outputs(file, told)
    return OpenedFile(
        outputs=outputs,
        is_backbone=file.is_backbone,
        offer=lambda detector: _offer(detector, file, settings, outputs),
    )


def is_fgd_checkpoint(path: Path) -> bool:
    """Whether a file looks like a checkpoint of fgd; its weights are not read."""
    try:
        # Mapped and not read: nothing but the names is looked at.
        content = read_content(path, mapped=True)
    except WeightsError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _outputs(file: WeightsFile, told: Sequence[str] | None) -> HeadOutputs:
    name = published_name(file.path)
    if name is not None and not told:
        return HeadOutputs(torchvision_classes(name), note=f"the file is {name} of torchvision")
    return identify_outputs(file, told)


def _offer(detector: Detector, file: WeightsFile, settings: AnyDetector, outputs: HeadOutputs) -> SourceWeights:
    # Without names no row is anybody's.
    classes = outputs.names or ()
    if file.family == "mmdetection":
        offer = mmdetection_weights(file, settings, classes)
    else:
        _check_pixels(file)
        is_backbone = file.family == "backbone"
        offer = (
            backbone_weights(file.state, file)
            if is_backbone
            else torchvision_file_weights(detector, file, settings, classes)
        )
    trouble = f"{outputs.trouble}, so the rows of its classes were not taken" if outputs.trouble else ""
    told = (*offer.notes, *filter(None, [outputs.note, trouble]))
    return replace(offer, notes=told)


def _check_pixels(file: WeightsFile) -> None:
    """
    Raises:
        WeightsError: a preprocessor that was saved with the weights normalises images otherwise than is done here.
    """
    pixels = pixels_from_preprocessor(file.beside)
    if pixels is not None and pixels != OURS:
        raise WeightsError(
            f"the file's images were {pixels}, and here they are {OURS}; this is made up for in files with "
            "mmdetection's names only, so train with ImageNet's mean and deviation, or convert the file to them",
            path=str(file.path),
        )
