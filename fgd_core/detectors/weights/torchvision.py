"""torchvision's pretrained weights, by name or in a file."""

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
_OUTPUTS_OF_COCO = 91
_EPSILON = 1e-5
"""Of a batch norm."""

# torchvision evaluates these with an epsilon of 0 in the norms of the backbone, as they were trained.
_WITHOUT_EPSILON = (
    "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
    "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
    "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
)

# Names of parameters in older files, and today's.
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
        classes: of the detector; those that the weights know by name take over their outputs.
    Raises:
        SpecError: no such weights, or they belong to another network than this detector, and which fields to set.
        UnreachableError: they are not on this machine, and their server is out of reach.
        NetworkError: they are not on this machine, and the download broke off.
        WeightsError: they are damaged, or a key of the network is not in them.
    """
    loaded = load_weights(
        detector, torchvision_weights(detector, name, settings), classes=classes, role=role, source=name
    )
    event = only_backbone(loaded).event if _is_of_a_backbone(name) else loaded.event
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
    """The weights under the detector's names for them; raises as `load_torchvision` does."""
    weights = _find(name)
    unfit = pretrained.misfits(settings, name)
    if unfit:
        raise SpecError(
            f"the weights {name} fit another detector than this one: {'; '.join(map(str, unfit))}",
            weights=name,
            **{misfit.loc: misfit.needs for misfit in unfit},
        )
    if settings.weights_set is not None:
        message = f"{name} is one set of weights; leave weights_set out"
        raise SpecError(message, weights=name, weights_set=settings.weights_set)
    state = fetch(weights, name)
    if _is_of_a_backbone(name):
        return backbone_weights(state)
    renamed, original = _renamed(detector, state)
    if name in _WITHOUT_EPSILON:
        renamed = {key: _less_epsilon(key, value) for key, value in renamed.items()}
    return SourceWeights(state=renamed, classes=torchvision_classes(name), original=original)


def torchvision_file_weights(
    detector: Detector, file: WeightsFile, settings: AnyDetector, classes: Sequence[str]
) -> SourceWeights:
    """The weights of a file that has torchvision's names, which are ours, under the detector's names for them.

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
                f"{file.path.name} holds weights of torchvision's and the detector follows mmdetection, which computes "
                "otherwise with them; set convention to torchvision",
                path=str(file.path),
                convention="torchvision",
            )
        notes = (f"the names are torchvision's or fgd's; computed as the settings say, by convention {convention}",)
    state, original = _renamed(detector, file.state)
    if published_name(file.path) in _WITHOUT_EPSILON:
        state = {key: _less_epsilon(key, value) for key, value in state.items()}
    return SourceWeights(
        state=state,
        classes=tuple(classes),
        original={name: file.original.get(key, key) for name, key in original.items()},
        left_out=file.others,
        notes=notes,
        taken=file.taken,
        left=file.left,
    )


def published_name(path: Path) -> str | None:
    """torchvision's name for the weights that it publishes in this file; None where it publishes none like it."""
    named = {Path(entry.url).name: entry for family in pretrained.DETECTORS for entry in _family(family)}
    entry = named.get(path.name)
    return str(entry) if entry is not None and is_as_published(path) else None


def is_as_published(path: Path) -> bool:
    """Whether a file's name ends with the beginning of its SHA-256, as torchvision's do."""
    with confined.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.rpartition("-")[2])


def torchvision_classes(name: str) -> tuple[str, ...]:
    """What the outputs of a whole detector's weights stand for, in order; `N/A` and background are no classes.

    A head with two stages has the background before its classes; in one with a single stage it is an output like
    another, which nothing was ever trained to raise.
    """
    named = tuple(_find(name).meta["categories"])
    implied = pretrained.implied_detector(name)
    has_background = implied is not None and implied["type"] in ("faster_rcnn", "mask_rcnn")
    return named[1:] if has_background and named[0] == BACKGROUND else named


def _find(name: str) -> WeightsEnum:
    families = [*pretrained.BACKBONES, *pretrained.DETECTORS]
    known = [str(entry) for family in families for entry in _family(family)]
    if name in known:
        return torchvision.models.get_weight(name)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise SpecError(
        f"there are no weights {name!r} of torchvision for a detector; "
        + (f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"),
        weights=name,
    )


def _family(name: str) -> type[WeightsEnum]:
    found = getattr(torchvision.models, name, None) or getattr(torchvision.models.detection, name)
    assert isinstance(found, type) and issubclass(found, WeightsEnum)
    family: type[WeightsEnum] = found
    return family


def _is_of_a_backbone(name: str) -> bool:
    return name.partition(".")[0] in pretrained.BACKBONES


def backbone_weights(state: Mapping[str, Tensor], file: WeightsFile | None = None) -> SourceWeights:
    """Weights of a classifier, of which the layers below its top are a detector's backbone.

    Args:
        file: that they come from, where it is one of the user's.
    """
    taken: dict[str, str] = {}
    left_out: dict[str, str] = dict(file.others) if file is not None else {}
    in_file = file.original if file is not None else {}
    for key in state:
        if key.startswith(("fc.", "classifier.")):
            left_out[in_file.get(key, key)] = "the classifier on top has no place in a detector"
        else:
            # MobileNet's layers lie in `features`, and those are the body.
            taken[_BODY + key.removeprefix("features.")] = key
    return SourceWeights(
        state={own: state[key] for own, key in taken.items()},
        original={own: in_file.get(key, key) for own, key in taken.items()},
        left_out=left_out,
        taken=file.taken if file is not None else "",
        left=file.left if file is not None else (),
    )


def only_backbone(loaded: LoadResult) -> LoadResult:
    """The account as to the backbone alone: nobody asked for more."""
    own = [fate for fate in loaded.keys if fate.own_key is not None and fate.own_key.startswith(_BODY)]
    event = loaded.event.model_copy(
        update={
            "num_total": len(own),
            "missing": [key for key in loaded.event.missing if key.startswith(_BODY)],
        }
    )
    keys = tuple(fate for fate in loaded.keys if fate in own or fate.status != "missing")
    return LoadResult(event, keys)


def _renamed(detector: Detector, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights by the detector's names, and those names -> the names given."""
    own = detector.state_dict()
    original = {_current_name(key, own): key for key in state}
    return {name: state[key] for name, key in original.items()}, original


def _current_name(key: str, own: Mapping[str, Tensor]) -> str:
    """Older files number the convolutions of RetinaNet's heads 0, 2, 4, 6; today they are 0.0, 1.0, 2.0, 3.0."""
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


def _less_epsilon(key: str, value: Tensor) -> Tensor:
    """A variance that comes out as it was once a norm has added its epsilon."""
    return value - _EPSILON if key.startswith(_BODY) and key.endswith("running_var") else value
