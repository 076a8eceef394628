"""Loads torchvision's pretrained weights, by name or from a file."""

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torchvision
from torch import Tensor
from torchvision.models import WeightsEnum

from fgd_core import confined
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.classes import BACKGROUND
from fgd_core.detectors.weights.fetching import fetch
from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.matching import LoadResult, Role, SourceWeights, load_weights
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec import pretrained
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import WeightsLoaded

_BODY = "backbone.body."
_CLASSIFIER = ("fc.", "classifier.", "norm.", "head.")
"""Starts of the names of a classifier's top layers: of a ResNet, of a MobileNet, and of a Swin Transformer."""
_OUTPUTS_OF_COCO = 91
_WITH_BACKGROUND = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn")
"""Detectors whose first output is the background."""
_NO_PERSON = "no person"
"""torchvision's name of the background of its Keypoint R-CNN."""
_EPSILON = 1e-5
"""The epsilon of a batch norm."""

# torchvision trained and evaluates these with an epsilon of 0 in the norms of the backbone.
_WITHOUT_EPSILON = (
    "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
    "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
    "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    "KeypointRCNN_ResNet50_FPN_Weights.COCO_V1",
)

# Parameter names in older files -> current names.
_RENAMED = (
    (re.compile(r"(.*\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"),
)
_NUMBERED_FROM_1 = re.compile(r"(roi_heads\.mask_head)\.mask_fcn(\d+)\.(weight|bias)")
_NUMBERED_BY_2 = re.compile(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)")


def load_torchvision(
    detector: Detector, name: str, *, settings: AnyDetector, classes: Sequence[str], role: Role
) -> WeightsLoaded:
    """Load pretrained weights by torchvision's name into the backbone or the whole detector.

    Args:
        name: for example `ResNet18_Weights.IMAGENET1K_V1` or `RetinaNet_ResNet50_FPN_Weights.COCO_V1`.
        settings: of the detector.
        classes: of the detector; the outputs of classes that the weights also have are copied.
    Raises:
        SpecError: the weights do not exist, or belong to another network; names the fields to set.
        UnreachableError: the weights are not on this machine, and their server cannot be reached.
        NetworkError: the weights are not on this machine, and the download failed.
        WeightsError: the weights are damaged, or lack a key of the network.
    """
    loaded = load_weights(
        detector, torchvision_weights(detector, name, settings), classes=classes, role=role, source=name
    )
    event = only_backbone(loaded).event if _is_backbone(name) else loaded.event
    unfit = [text for text in event.mismatched if "no class in common" not in text]
    if unfit or event.num_matched == 0:
        raise WeightsError(
            f"only {event.num_matched} of {event.num_total} keys match the weights {name}",
            weights=name,
            mismatched=[*unfit[:5]],
            missing=[*event.missing[:5]],
        )
    return event


def torchvision_weights(detector: Detector, name: str, settings: AnyDetector) -> SourceWeights:
    """Get weights by name under the detector's names; errors as of `load_torchvision`."""
    weights = _find(name)
    unfit = pretrained.misfits(settings, name)
    if unfit:
        raise SpecError(
            f"the weights {name} do not fit this detector: {'; '.join(map(str, unfit))}",
            weights=name,
            **{misfit.loc: misfit.needs for misfit in unfit},
        )
    if settings.weights_set is not None:
        message = f"{name} is one set of weights; remove weights_set"
        raise SpecError(message, weights=name, weights_set=settings.weights_set)
    state = fetch(weights, name)
    if _is_backbone(name):
        return backbone_weights(state)
    renamed, original = _renamed(detector, state)
    if name in _WITHOUT_EPSILON:
        renamed = {key: _subtract_epsilon(key, value) for key, value in renamed.items()}
    return SourceWeights(state=renamed, classes=torchvision_classes(name), original=original)


def torchvision_file_weights(
    detector: Detector, file: WeightsFile, settings: AnyDetector, classes: Sequence[str]
) -> SourceWeights:
    """Convert a file with torchvision's names, which are also fgd's, to the detector's names.

    Args:
        settings: of the detector that the file holds.
        classes: of the file's outputs, in order, without the background of a two-stage head.
    Raises:
        SpecError: torchvision wrote the file, and the settings follow mmdetection.
    """
    convention = getattr(settings, "convention", "torchvision")
    notes: tuple[str, ...] = ()
    if convention != "torchvision":
        if file.is_from_training_script or _OUTPUTS_OF_COCO in (len(classes), len(classes) + 1):
            raise SpecError(
                f"{file.path.name} holds torchvision's weights, but the detector follows mmdetection and would compute "
                "differently with them; set convention to torchvision",
                path=str(file.path),
                convention="torchvision",
            )
        notes = (
            f"the names are torchvision's or fgd's; the detector uses the convention of its settings, {convention}",
        )
    state, original = _renamed(detector, file.state)
    if published_name(file.path) in _WITHOUT_EPSILON:
        state = {key: _subtract_epsilon(key, value) for key, value in state.items()}
    return SourceWeights(
        state=state,
        classes=tuple(classes),
        original={name: file.original.get(key, key) for name, key in original.items()},
        left_out=file.left_out,
        notes=notes,
        taken=file.taken,
        left=file.left,
    )


def published_name(path: Path) -> str | None:
    """Return torchvision's name of the weights in this file; None if torchvision did not publish this file."""
    named = {Path(entry.url).name: entry for family in pretrained.DETECTORS for entry in _family(family)}
    entry = named.get(path.name)
    return str(entry) if entry is not None and is_as_published(path) else None


def is_as_published(path: Path) -> bool:
    """Check whether a file's name ends with the start of its SHA-256, like torchvision's files."""
    with confined.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.rpartition("-")[2])


def torchvision_classes(name: str) -> tuple[str, ...]:
    """Return the names of the outputs of a whole detector's weights, in order; `N/A` and background are not classes.

    The result does not contain the background of a two-stage head. In a one-stage head the background is an ordinary
    output that never trained.
    """
    named = tuple(_find(name).meta["categories"])
    implied = pretrained.implied_detector(name)
    has_background = implied is not None and implied["type"] in _WITH_BACKGROUND
    return named[1:] if has_background and named[0] in (BACKGROUND, _NO_PERSON) else named


def _find(name: str) -> WeightsEnum:
    families = [*pretrained.BACKBONES, *pretrained.DETECTORS]
    known = [str(entry) for family in families for entry in _family(family)]
    if name in known:
        return torchvision.models.get_weight(name)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise SpecError(
        f"torchvision has no weights {name!r} for a detector; "
        + (f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(known)}"),
        weights=name,
    )


def _family(name: str) -> type[WeightsEnum]:
    found = getattr(torchvision.models, name, None) or getattr(torchvision.models.detection, name)
    assert isinstance(found, type) and issubclass(found, WeightsEnum)
    family: type[WeightsEnum] = found
    return family


def _is_backbone(name: str) -> bool:
    return name.partition(".")[0] in pretrained.BACKBONES


def backbone_weights(state: Mapping[str, Tensor], file: WeightsFile | None = None) -> SourceWeights:
    """Convert the weights of a classifier to a detector's backbone, without the top layers.

    Args:
        file: the file of the weights, if it is a user's file.
    """
    original: dict[str, str] = {}
    left_out: dict[str, str] = dict(file.left_out) if file is not None else {}
    in_file = file.original if file is not None else {}
    for key in state:
        if key.startswith(_CLASSIFIER):
            left_out[in_file.get(key, key)] = "a detector does not use the classifier on top"
        else:
            # The body is the `features` part of a MobileNet or a Swin Transformer.
            original[_BODY + key.removeprefix("features.")] = key
    return SourceWeights(
        state={own: state[key] for own, key in original.items()},
        original={own: in_file.get(key, key) for own, key in original.items()},
        left_out=left_out,
        taken=file.taken if file is not None else "",
        left=file.left if file is not None else (),
    )


def only_backbone(loaded: LoadResult) -> LoadResult:
    """Restrict a report to the backbone, if only the backbone was requested."""
    own = [key for key in loaded.keys if key.own_key is not None and key.own_key.startswith(_BODY)]
    event = loaded.event.model_copy(
        update={
            "num_total": len(own),
            "missing": [key for key in loaded.event.missing if key.startswith(_BODY)],
        }
    )
    keys = tuple(key for key in loaded.keys if key in own or key.status != "missing")
    return LoadResult(event, keys)


def _renamed(detector: Detector, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights (…) by the detector's names, and a map from these names to the given names."""
    own = detector.state_dict()
    original = {_current_name(key, own): key for key in state}
    return {name: state[key] for name, key in original.items()}, original


def _current_name(key: str, own: Mapping[str, Tensor]) -> str:
    """Convert older names: RetinaNet's head convolutions were numbered 0, 2, 4, 6 and are now 0.0, 1.0, 2.0, 3.0."""
    if key in own:
        return key
    for pattern, template in _RENAMED:
        if pattern.fullmatch(key):
            return pattern.sub(template, key)
    if match := _NUMBERED_FROM_1.fullmatch(key):
        return f"{match[1]}.{int(match[2]) - 1}.0.{match[3]}"
    if match := _NUMBERED_BY_2.fullmatch(key):
        return f"{match[1]}.{int(match[2]) // 2}.0.{match[3]}"
    return key


def _subtract_epsilon(key: str, value: Tensor) -> Tensor:
    """Correct a variance (C,) of the backbone for the epsilon that a norm adds."""
    return value - _EPSILON if key.startswith(_BODY) and key.endswith("running_var") else value
