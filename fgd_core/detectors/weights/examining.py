"""What a file of weights holds for a detector, key by key, before anything is trained with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fgd_core.detectors import build_detector
from fgd_core.detectors.checkpoint import read_checkpoint
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
    source: str
    detector: AnyDetector
    classes: tuple[str, ...]
    """Of the source, in the order of its outputs; of a backbone's weights none."""
    loaded: LoadResult
    notes: tuple[str, ...]
    """What else is done to the weights."""


def examine(source: str, settings: AnyDetector | None, classes: Sequence[str] | None = None) -> Examination:
    """Load a source into a detector of the source's own classes, and tell what became of each key.

    Args:
        source: a file of ours or of anybody's, or torchvision's weights by name.
        settings: of the detector; None where the source says it itself.
        classes: of a file of others, where it does not say them.
    Raises:
        SpecError: the source does not say what it holds, or it fits other settings.
        WeightsError: it cannot be read.
        NetworkError: it is torchvision's and could not be fetched.
    """
    settings = settings or _own_settings(source)
    if is_torchvision_name(source):
        is_backbone = implied_detector(source) is None
        names = () if is_backbone else class_names(torchvision_classes(source))
        detector = build_detector(settings, max(1, len(names)))
        offer = torchvision_weights(detector, source, settings)
    else:
        opened = open_weights(Path(source), settings, classes)
        outputs = opened.outputs
        if outputs.trouble:
            raise WeightsError(f"{source} cannot be loaded: {outputs.trouble}; {outputs.cure}", path=source)
        is_backbone = opened.is_backbone
        names = class_names(outputs.names or ())
        detector = build_detector(settings, max(1, len(names)))
        offer = opened.offer(detector)
    loaded = load_weights(detector, offer, classes=names or None, role="detector", source=source)
    if is_backbone:
        loaded = only_backbone(loaded)
    return Examination(source=source, detector=settings, classes=names, loaded=loaded, notes=offer.notes)


def detector_settings(document: object, said_in: str) -> DetectorSpec:
    """The detector in a document: itself one, or with one under `detector`, as a training or a teacher has.

    Raises:
        SpecError: there is none, or it has a fault.
    """
    if isinstance(document, dict) and "type" not in document:
        document = document.get("detector")
    try:
        return _DETECTOR.validate_python(document)
    except ValidationError as error:
        # Where it would stand in a training: the words that are known there are a detector's, and not a job's.
        faults = [{**fault, "loc": ("train", "detector", *fault["loc"])} for fault in error.errors(include_url=False)]
        said = [spec_reason(fault) for fault in faults]
        reasons = "\n".join(f"  {reason.loc}: {reason.message}" for reason in said)
        raise SpecError(f"{said_in} is no detector, and has none under `detector`:\n{reasons}") from error


def _own_settings(source: str) -> AnyDetector:
    implied = implied_detector(source)
    if implied is not None:
        return _DETECTOR.validate_python(implied)
    if not is_torchvision_name(source) and is_fgd_checkpoint(Path(source)):
        checkpoint, _ = read_checkpoint(Path(source))
        return checkpoint.detector
    raise SpecError(
        f"{source} does not say which detector it holds; say it with --detector and a file such as "
        "`{type: retinanet, convention: mmdetection}`",
        source=source,
    )
