"""Where a detector's first weights come from, and a true account of what was loaded."""

import difflib
import re
from collections.abc import Mapping
from typing import Literal
from urllib.error import URLError

import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models.detection.retinanet import (
    RetinaNet_ResNet50_FPN_V2_Weights,
    RetinaNet_ResNet50_FPN_Weights,
)
from torchvision.models.resnet import ResNet18_Weights, ResNet34_Weights, ResNet50_Weights, ResNet101_Weights

from fgd_core.detectors.base import Detector
from fgd_core.errors import NetworkError, SpecError, WeightsError
from fgd_core.spec.events import WeightsLoaded

Role = Literal["detector", "student", "teacher", "inherited"]

_BACKBONE_WEIGHTS = (ResNet18_Weights, ResNet34_Weights, ResNet50_Weights, ResNet101_Weights)
_DETECTOR_WEIGHTS = (RetinaNet_ResNet50_FPN_Weights, RetinaNet_ResNet50_FPN_V2_Weights)


def match_state(module: nn.Module, state: Mapping[str, Tensor], *, role: Role, source: str) -> WeightsLoaded:
    """Load every tensor of `state` whose name and shape `module` knows, and say what did not fit.

    A frozen batch norm has no count of batches and a trained one does: that key counts on neither side.
    """
    own = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    given = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    matched = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    module.load_state_dict({**module.state_dict(), **matched, **_counters(module, state)})
    return WeightsLoaded(
        role=role,
        source=source,
        num_matched=len(matched),
        num_total=len(own),
        missing=[key for key in own if key not in given],
        mismatched=[
            f"{key}: {tuple(given[key].shape)} vs. {tuple(own[key].shape)}"
            for key in own
            if key in given and key not in matched
        ],
        unexpected=[key for key in given if key not in own],
    )


def _counters(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = module.state_dict()
    return {key: value for key, value in state.items() if key.endswith("num_batches_tracked") and key in own}


def load_torchvision(detector: Detector, name: str, *, role: Role) -> WeightsLoaded:
    """Load pretrained weights by torchvision's name into the backbone or the whole detector.

    Args:
        name: for example `ResNet18_Weights.IMAGENET1K_V1` or `RetinaNet_ResNet50_FPN_Weights.COCO_V1`.
    Raises:
        SpecError: no such weights, or they belong to no network that this detector holds.
        NetworkError: they are not on this machine and could not be fetched.
        WeightsError: nothing matched, as with another width or depth.
    """
    weights = _find(name)
    state = _fetch(weights, name)
    if isinstance(weights, _BACKBONE_WEIGHTS):
        body = detector.get_submodule("backbone.body")
        # The classifier on top of the backbone has no place in a detector.
        loaded = match_state(body, {k: v for k, v in state.items() if not k.startswith("fc.")}, role=role, source=name)
    else:
        loaded = match_state(detector, {_current_name(k): v for k, v in state.items()}, role=role, source=name)
    if loaded.num_matched == 0 or len(loaded.mismatched) > loaded.num_matched:
        raise WeightsError(
            f"only {loaded.num_matched} of {loaded.num_total} keys match; pretrained weights need the published depth "
            "and width: stem_width 64, fpn_width 256, no `blocks`",
            weights=name,
            mismatched=[*loaded.mismatched[:5]],
            missing=[*loaded.missing[:5]],
        )
    return loaded


def inherit_neck_and_head(student: Detector, teacher: Detector, *, source: str) -> WeightsLoaded:
    """Copy every parameter of the teacher outside its backbone's body whose name and shape the student shares.

    To be called after every other initialisation, which would else overwrite it.

    Raises:
        WeightsError: nothing matched: the heads are of different kinds or widths.
    """
    backbone = "backbone.body."
    outside = {key: value for key, value in teacher.state_dict().items() if not key.startswith(backbone)}
    loaded = match_state(student, outside, role="inherited", source=source)
    wanted = [key for key in student.state_dict() if not key.startswith(backbone)]
    loaded = loaded.model_copy(
        update={"num_total": len(wanted), "missing": [k for k in loaded.missing if not k.startswith(backbone)]}
    )
    if loaded.num_matched == 0:
        raise WeightsError(
            f"none of the student's {len(wanted)} keys of neck and head match the teacher's; "
            "give both the same fpn_width, or set inherit: nothing",
            teacher=source,
            mismatched=[*loaded.mismatched[:5]],
        )
    return loaded


def _find(name: str) -> WeightsEnum:
    families = {family.__name__: family for family in (*_BACKBONE_WEIGHTS, *_DETECTOR_WEIGHTS)}
    known = [str(entry) for family in families.values() for entry in family]
    if name in known:
        return torchvision.models.get_weight(name)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise SpecError(
        f"torchvision has no weights {name!r} for this detector; "
        + (f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"),
        weights=name,
    )


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


def _current_name(key: str) -> str:
    """torchvision's older checkpoints number a head's convolutions 0, 2, 4, 6; today they are 0.0, 1.0, 2.0, 3.0."""
    match = re.fullmatch(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)", key)
    return f"{match[1]}.{int(match[2]) // 2}.0.{match[3]}" if match else key
