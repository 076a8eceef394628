"""Loads the weights that a spec names into a detector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, read_checkpoint
from fgd_core.detectors.weights.classes import class_names
from fgd_core.detectors.weights.matching import LoadResult, Role, load_weights
from fgd_core.detectors.weights.opened import OpenedFile, is_fgd_checkpoint, open_weights
from fgd_core.detectors.weights.torchvision import load_torchvision, only_backbone, torchvision_classes
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.events import WeightsLoaded
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.pretrained import implied_detector, is_torchvision_name

Resolve = Callable[[str], Path]
"""Returns the local file of a path or a `job:<id>/<name>` reference; raises WeightsError if there is none."""

_DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


def load_first_weights(
    detector: Detector, settings: AnyDetector, classes: Sequence[str], *, role: Role, resolve: Resolve
) -> WeightsLoaded | None:
    """Load the weights that `settings.weights` names into a new detector; returns None if it names none.

    Args:
        classes: of the detector; the outputs of classes that the source also has are copied.
    Raises:
        SpecError: the source fits another detector; names the fields to set.
        WeightsError: the source cannot be read, or nothing in it matches.
        NetworkError: torchvision's weights could not be downloaded.
    """
    source = settings.weights
    if source is None:
        return None
    if is_torchvision_name(source):
        return load_torchvision(detector, source, settings=settings, classes=classes, role=role)
    opened = open_weights(resolve(source), settings)
    whole = load_weights(detector, opened.weights_for(detector), classes=classes, role=role, source=source)
    loaded = only_backbone(whole).event if opened.is_backbone else whole.event
    if loaded.num_matched == 0:
        raise WeightsError(
            f"none of the detector's {loaded.num_total} keys match those of the file, which holds another detector; "
            "use its settings, or set weights to null to start from random weights",
            checkpoint=source,
            mismatched=[*loaded.mismatched[:5]],
            unexpected=[*loaded.unexpected[:5]],
        )
    return loaded


@dataclass(frozen=True, kw_only=True)
class LoadedTeacher:
    """Holds a teacher with its weights."""

    detector: Detector
    classes: tuple[str, ...]
    """In the order of the detector's labels."""
    event: WeightsLoaded
    checkpoint: DetectorCheckpoint | None
    """None if the file is not an fgd checkpoint."""

    @property
    def record(self) -> Record:
        """The recorded scores; empty without an fgd checkpoint."""
        return self.checkpoint.record if self.checkpoint is not None else Record()


def load_teacher(settings: Teacher, *, resolve: Resolve) -> LoadedTeacher:
    """Build the teacher that a spec names and load all its weights.

    Raises:
        SpecError: the settings of the detector do not fit the weights; names the fields.
        WeightsError: the source cannot be read, or a key of either side has no match in the other.
        NetworkError: torchvision's weights could not be downloaded.
    """
    source = settings.checkpoint
    if is_torchvision_name(source):
        return _torchvision_teacher(settings)
    if settings.detector is None:
        checkpoint, _ = read_checkpoint(resolve(source))
        detector, loaded = checkpoint.build("teacher", source)
        classes = tuple(category.name for category in checkpoint.categories)
        return LoadedTeacher(detector=detector, classes=classes, event=loaded, checkpoint=checkpoint)
    return _file_teacher(settings, settings.detector, resolve(source))


def _torchvision_teacher(settings: Teacher) -> LoadedTeacher:
    name = settings.checkpoint
    implied = implied_detector(name)
    if implied is None:
        raise SpecError(
            f"{name} is not a whole detector of torchvision, as a teacher must be; set teacher.checkpoint to weights "
            "such as FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
            checkpoint=name,
        )
    try:
        detector_settings = settings.detector or _DETECTOR.validate_python(implied)
    except ValidationError as error:
        raise SpecError(
            f"{name} belongs to a detector that this version does not know; update fgd", checkpoint=name
        ) from error
    classes = class_names(torchvision_classes(name))
    detector = build_detector(detector_settings, len(classes))
    loaded = load_torchvision(detector, name, settings=detector_settings, classes=classes, role="teacher")
    _check_complete(loaded, name)
    return LoadedTeacher(detector=detector, classes=classes, event=loaded, checkpoint=None)


def _file_teacher(settings: Teacher, detector_settings: AnyDetector, path: Path) -> LoadedTeacher:
    source = settings.checkpoint
    if is_fgd_checkpoint(path):
        raise SpecError(
            "the teacher is an fgd checkpoint, which describes its own detector; remove teacher.detector",
            checkpoint=source,
        )
    opened = open_weights(path, detector_settings, settings.classes)
    if opened.outputs.names is None:
        raise WeightsError(f"{source} cannot be a teacher: {_why_no_teacher(opened)}", checkpoint=source)
    classes = class_names(opened.outputs.names)
    detector = build_detector(detector_settings, len(classes))
    loaded: LoadResult = load_weights(
        detector, opened.weights_for(detector), classes=classes, role="teacher", source=source
    )
    _check_complete(loaded.event, source)
    return LoadedTeacher(detector=detector, classes=classes, event=loaded.event, checkpoint=None)


def _why_no_teacher(opened: OpenedFile) -> str:
    outputs = opened.outputs
    return f"{outputs.problem}; {outputs.cure}" if outputs.problem else "it holds only a backbone and no detector"


def _check_complete(loaded: WeightsLoaded, source: str) -> None:
    """Check that a teacher's weights are complete.

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
        "of both sides must match: `fgd weights check` shows for each key where teacher.detector differs from the file",
        checkpoint=source,
        missing=[*loaded.missing[:5]],
        mismatched=[*loaded.mismatched[:5]],
        unexpected=[*loaded.unexpected[:5]],
    )
