"""Examines a source of weights key by key before a training uses it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fgd_core.detectors import build_detector
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.detectors.weights.classes import class_names
from fgd_core.detectors.weights.matching import LoadResult, load_weights
from fgd_core.detectors.weights.opened import is_fgd_checkpoint, open_weights
from fgd_core.detectors.weights.torchvision import only_backbone, torchvision_classes, torchvision_weights
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.pretrained import implied_detector, is_torchvision_name
from fgd_core.spec.refusals import spec_reason

_DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """Reports what a source of weights holds."""

    source: str
    detector: AnyDetector
    classes: tuple[str, ...]
    """Classes of the source, in the order of its outputs; empty for a backbone."""
    loaded: LoadResult
    notes: tuple[str, ...]
    """Other changes of the weights, for a person."""


def examine(source: str, settings: AnyDetector | None, classes: Sequence[str] | None = None) -> Examination:
    """Load a source into a detector with the source's own classes, and report what happened to each key.

    Args:
        source: an fgd checkpoint, a file of another tool, or torchvision's weights by name.
        settings: of the detector; None if the source describes its detector.
        classes: of the outputs of another tool's file, if the file does not name them.
    Raises:
        SpecError: the source does not describe its detector, or fits other settings.
        WeightsError: the source cannot be read.
        NetworkError: torchvision's weights could not be downloaded.
    """
    settings = settings or _own_settings(source)
    if is_torchvision_name(source):
        is_backbone = implied_detector(source) is None
        names = () if is_backbone else class_names(torchvision_classes(source))
        detector = build_detector(settings, max(1, len(names)))
        weights = torchvision_weights(detector, source, settings)
    else:
        opened = open_weights(Path(source), settings, classes)
        outputs = opened.outputs
        if outputs.problem:
            raise WeightsError(f"{source} cannot be loaded: {outputs.problem}; {outputs.cure}", path=source)
        is_backbone = opened.is_backbone
        names = class_names(outputs.names or ())
        detector = build_detector(settings, max(1, len(names)))
        weights = opened.weights_for(detector)
    loaded = load_weights(detector, weights, classes=names or None, role="detector", source=source)
    if is_backbone:
        loaded = only_backbone(loaded)
    return Examination(source=source, detector=settings, classes=names, loaded=loaded, notes=weights.notes)


def detector_settings(document: object, origin: str) -> DetectorSpec:
    """Read a detector from a document that is a detector, or has one under `detector` like a training or a teacher.

    Args:
        origin: the name of the document in errors.
    Raises:
        SpecError: the document has no detector, or an invalid one.
    """
    if isinstance(document, dict) and "type" not in document:
        document = document.get("detector")
    try:
        return _DETECTOR.validate_python(document)
    except ValidationError as error:
        # The path of a detector in a training, so that messages are about a detector and not about a job.
        faults = [{**fault, "loc": ("train", "detector", *fault["loc"])} for fault in error.errors(include_url=False)]
        messages = [spec_reason(fault) for fault in faults]
        reasons = "\n".join(f"  {reason.loc}: {reason.message}" for reason in messages)
        raise SpecError(f"{origin} is not a detector and has none under `detector`:\n{reasons}") from error


def _own_settings(source: str) -> AnyDetector:
    implied = implied_detector(source)
    if implied is not None:
        return _DETECTOR.validate_python(implied)
    if not is_torchvision_name(source) and is_fgd_checkpoint(Path(source)):
        checkpoint, _ = read_checkpoint(Path(source))
        return checkpoint.detector
    raise SpecError(
        f"{source} does not describe its detector; use --detector with a file such as "
        "`{type: retinanet, convention: mmdetection}`",
        source=source,
    )
