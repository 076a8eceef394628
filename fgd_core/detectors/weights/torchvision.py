"""torchvision's pretrained weights, by name."""

import difflib
import re
from collections.abc import Mapping, Sequence
from urllib.error import URLError

import torchvision
from torch import Tensor
from torchvision.models import WeightsEnum

from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.matching import Loaded, Offer, Role, load_offer
from fgd_core.errors import NetworkError, SpecError, WeightsError
from fgd_core.spec import pretrained
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import WeightsLoaded

_BODY = "backbone.body."
_NAMES_NO_CLASS = "__background__"
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
        NetworkError: they are not on this machine and could not be fetched.
        WeightsError: a key of the network is not in them.
    """
    loaded = load_offer(detector, torchvision_offer(detector, name, settings), classes=classes, role=role, source=name)
    event = _of_the_body(loaded) if _is_of_a_backbone(name) else loaded.event
    unfit = [text for text in event.mismatched if "no class in common" not in text]
    if unfit or event.num_matched == 0:
        raise WeightsError(
            f"only {event.num_matched} of {event.num_total} keys match the weights {name}",
            weights=name,
            mismatched=[*unfit[:5]],
            missing=[*event.missing[:5]],
        )
    return event


def torchvision_offer(detector: Detector, name: str, settings: AnyDetector) -> Offer:
    """The weights under the detector's names for them; raises as `load_torchvision` does."""
    weights = _find(name)
    unfit = pretrained.misfits(settings, name)
    if unfit:
        raise SpecError(
            f"the weights {name} fit another detector than this one: {'; '.join(map(str, unfit))}",
            weights=name,
            **{misfit.loc: misfit.needs for misfit in unfit},
        )
    state = _fetch(weights, name)
    if _is_of_a_backbone(name):
        return _offer_of_a_backbone(state)
    own = detector.state_dict()
    renamed = {_current_name(key, own): value for key, value in state.items()}
    original = {_current_name(key, own): key for key in state}
    if name in _WITHOUT_EPSILON:
        renamed = {key: _less_epsilon(key, value) for key, value in renamed.items()}
    return Offer(state=renamed, classes=torchvision_classes(name), original=original)


def torchvision_classes(name: str) -> tuple[str, ...]:
    """What the outputs of a whole detector's weights stand for, in order; `N/A` and background are no classes.

    A head with two stages has the background before its classes; in one with a single stage it is an output like
    another, which nothing was ever trained to raise.
    """
    named = tuple(_find(name).meta["categories"])
    implied = pretrained.implied_detector(name)
    has_background = implied is not None and implied["type"] in ("faster_rcnn", "mask_rcnn")
    return named[1:] if has_background and named[0] == _NAMES_NO_CLASS else named


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


def _fetch(weights: WeightsEnum, name: str) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, TimeoutError, ConnectionError) as error:
        raise NetworkError(
            f"{name} is not on this machine and could not be downloaded; connect it to the network, or put the file "
            "into $TORCH_HOME/hub/checkpoints under its own name",
            url=weights.url,
            cause=str(error),
        ) from error
    return state


def _offer_of_a_backbone(state: Mapping[str, Tensor]) -> Offer:
    taken, left_out = {}, {}
    for key in state:
        if key.startswith(("fc.", "classifier.")):
            left_out[key] = "the classifier on top has no place in a detector"
        else:
            # MobileNet's layers lie in `features`, and those are the body.
            taken[_BODY + key.removeprefix("features.")] = key
    return Offer(state={own: state[key] for own, key in taken.items()}, original=taken, left_out=left_out)


def _of_the_body(loaded: Loaded) -> WeightsLoaded:
    """The account as to the backbone alone: nobody asked for more."""
    own = [fate for fate in loaded.keys if fate.own_key is not None and fate.own_key.startswith(_BODY)]
    return loaded.event.model_copy(
        update={
            "num_total": len(own),
            "missing": [key for key in loaded.event.missing if key.startswith(_BODY)],
        }
    )


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
