"""From the source that a spec names to a detector with weights in it."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.checkpoint import FORMAT, DetectorCheckpoint, Record, read_checkpoint
from fgd_core.detectors.weights.classes import class_names
from fgd_core.detectors.weights.matching import Loaded, Offer, Role, load_offer
from fgd_core.detectors.weights.mmdetection import mmdetection_classes, mmdetection_offer, read_mmdetection
from fgd_core.detectors.weights.torchvision import load_torchvision, torchvision_classes
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.events import WeightsLoaded
from fgd_core.spec.jobs import Teacher
from fgd_core.spec.pretrained import implied_detector, is_torchvision_name

Resolve = Callable[[str], Path]
"""The local file for a path or a `job:<id>/<name>` reference; raises WeightsError where there is none."""

_DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


def load_first_weights(
    detector: Detector, settings: AnyDetector, classes: Sequence[str], *, role: Role, resolve: Resolve
) -> WeightsLoaded | None:
    """Fill a fresh detector from what `settings.weights` names; None where it names nothing.

    Args:
        classes: of the detector; those that the source knows by name take over their outputs.
    Raises:
        SpecError: the source fits another detector, and which fields to set.
        WeightsError: it cannot be read, or nothing in it matches.
        NetworkError: it is torchvision's and could not be fetched.
    """
    source = settings.weights
    if source is None:
        return None
    if is_torchvision_name(source):
        return load_torchvision(detector, source, settings=settings, classes=classes, role=role)
    offer = file_offer(resolve(source), settings)
    loaded = load_offer(detector, offer, classes=classes, role=role, source=source).event
    if loaded.num_matched == 0:
        raise WeightsError(
            f"none of the {loaded.num_total} keys match those of the file; it holds another detector: "
            "use its settings, or set weights to null to start afresh",
            checkpoint=source,
            mismatched=[*loaded.mismatched[:5]],
            unexpected=[*loaded.unexpected[:5]],
        )
    return loaded


def file_offer(path: Path, settings: AnyDetector, classes: Sequence[str] | None = None) -> Offer:
    """The weights of a file, ours or mmdetection's, for a detector with these settings; raises as its readers do.

    Args:
        classes: of a file of mmdetection's, where it does not say them.
    """
    if is_ours(path):
        checkpoint, _ = read_checkpoint(path)
        return Offer(state=checkpoint.state, classes=tuple(category.name for category in checkpoint.categories))
    file = read_mmdetection(path)
    return mmdetection_offer(file, settings, mmdetection_classes(file, classes))


def is_ours(path: Path) -> bool:
    """Whether a file is a checkpoint of fgd, as far as can be told without reading its weights."""
    if not path.is_file():
        return False
    try:
        # Mapped and not read: nothing but the names is looked at.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


@dataclass(frozen=True, kw_only=True)
class LoadedTeacher:
    detector: Detector
    classes: tuple[str, ...]
    """In the order of its labels."""
    event: WeightsLoaded
    checkpoint: DetectorCheckpoint | None
    """None where it is not ours."""

    @property
    def record(self) -> Record:
        return self.checkpoint.record if self.checkpoint is not None else Record()


def load_teacher(settings: Teacher, *, resolve: Resolve) -> LoadedTeacher:
    """The teacher that a spec names, with all its weights.

    Raises:
        SpecError: the settings of its detector do not fit its weights, and which of them.
        WeightsError: it cannot be read, or a key of either side has no match in the other.
        NetworkError: it is torchvision's and could not be fetched.
    """
    source = settings.checkpoint
    if is_torchvision_name(source):
        return _of_torchvision(settings)
    if settings.detector is None:
        checkpoint, _ = read_checkpoint(resolve(source))
        detector, loaded = checkpoint.build("teacher", source)
        classes = tuple(category.name for category in checkpoint.categories)
        return LoadedTeacher(detector=detector, classes=classes, event=loaded, checkpoint=checkpoint)
    return _of_mmdetection(settings, settings.detector, resolve(source))


def _of_torchvision(settings: Teacher) -> LoadedTeacher:
    name = settings.checkpoint
    implied = implied_detector(name)
    if implied is None:
        raise SpecError(
            f"{name} is no whole detector of torchvision's, and a teacher is one; set teacher.checkpoint to one such "
            "as FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
            checkpoint=name,
        )
    try:
        detector_settings = settings.detector or _DETECTOR.validate_python(implied)
    except ValidationError as error:
        raise SpecError(f"{name} fits a detector that is not known here", checkpoint=name) from error
    classes = class_names(torchvision_classes(name))
    detector = build_detector(detector_settings, len(classes))
    loaded = load_torchvision(detector, name, settings=detector_settings, classes=classes, role="teacher")
    _check_complete(loaded, name)
    return LoadedTeacher(detector=detector, classes=classes, event=loaded, checkpoint=None)


def _of_mmdetection(settings: Teacher, detector_settings: AnyDetector, path: Path) -> LoadedTeacher:
    if is_ours(path):
        raise SpecError(
            "the teacher is a checkpoint of fgd, which says itself what it holds; leave teacher.detector out",
            checkpoint=settings.checkpoint,
        )
    file = read_mmdetection(path)
    classes = mmdetection_classes(file, settings.classes)
    detector = build_detector(detector_settings, len(classes))
    offer = mmdetection_offer(file, detector_settings, classes)
    loaded: Loaded = load_offer(detector, offer, classes=classes, role="teacher", source=settings.checkpoint)
    _check_complete(loaded.event, settings.checkpoint)
    return LoadedTeacher(detector=detector, classes=classes, event=loaded.event, checkpoint=None)


def _check_complete(loaded: WeightsLoaded, source: str) -> None:
    if loaded.num_matched == loaded.num_total and not loaded.mismatched and not loaded.unexpected:
        return
    raise WeightsError(
        f"{loaded.num_matched} of {loaded.num_total} keys of the teacher match {source}, and all have to; "
        "`fgd weights check` shows key by key where teacher.detector says something else than the file holds",
        checkpoint=source,
        missing=[*loaded.missing[:5]],
        mismatched=[*loaded.mismatched[:5]],
        unexpected=[*loaded.unexpected[:5]],
    )
