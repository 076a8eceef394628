"""From the source that a spec names to a detector with weights in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.checkpoint import DetectorCheckpoint, Record, read_checkpoint
from fgd_core.detectors.weights.classes import class_names
from fgd_core.detectors.weights.matching import LoadResult, Role, load_weights
from fgd_core.detectors.weights.opened import OpenedFile, is_fgd_checkpoint, open_weights
from fgd_core.detectors.weights.torchvision import load_torchvision, only_backbone, torchvision_classes
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
    opened = open_weights(resolve(source), settings)
    whole = load_weights(detector, opened.offer(detector), classes=classes, role=role, source=source)
    loaded = only_backbone(whole).event if opened.is_backbone else whole.event
    if loaded.num_matched == 0:
        raise WeightsError(
            f"none of the {loaded.num_total} keys match those of the file; it holds another detector: "
            "use its settings, or set weights to null to start afresh",
            checkpoint=source,
            mismatched=[*loaded.mismatched[:5]],
            unexpected=[*loaded.unexpected[:5]],
        )
    return loaded


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
    return _of_a_file(settings, settings.detector, resolve(source))


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


def _of_a_file(settings: Teacher, detector_settings: AnyDetector, path: Path) -> LoadedTeacher:
    source = settings.checkpoint
    if is_fgd_checkpoint(path):
        raise SpecError(
            "the teacher is a checkpoint of fgd, which says itself what it holds; leave teacher.detector out",
            checkpoint=source,
        )
    opened = open_weights(path, detector_settings, settings.classes)
    if opened.outputs.names is None:
        raise WeightsError(f"{source} is no teacher: {_why_no_teacher(opened)}", checkpoint=source)
    classes = class_names(opened.outputs.names)
    detector = build_detector(detector_settings, len(classes))
    loaded: LoadResult = load_weights(detector, opened.offer(detector), classes=classes, role="teacher", source=source)
    _check_complete(loaded.event, source)
    return LoadedTeacher(detector=detector, classes=classes, event=loaded.event, checkpoint=None)


def _why_no_teacher(opened: OpenedFile) -> str:
    outputs = opened.outputs
    return f"{outputs.trouble}; {outputs.cure}" if outputs.trouble else "it holds a backbone alone and no detector"


def _check_complete(loaded: WeightsLoaded, source: str) -> None:
    """
    Raises:
        WeightsError: a key of either side has no match in the other, or a class has no weights.
    """
    wrong = loaded.shortfalls()
    if loaded.classes_fresh:
        wrong.append(f"no weights for the classes {', '.join(loaded.classes_fresh[:5])}")
    if not wrong:
        return
    raise WeightsError(
        f"{loaded.num_matched} of the teacher's {loaded.num_total} keys match {source}; {'; '.join(wrong)}. Every key "
        "of either side has to match: `fgd weights check` shows key by key where teacher.detector says something else "
        "than the file holds",
        checkpoint=source,
        missing=[*loaded.missing[:5]],
        mismatched=[*loaded.mismatched[:5]],
        unexpected=[*loaded.unexpected[:5]],
    )
