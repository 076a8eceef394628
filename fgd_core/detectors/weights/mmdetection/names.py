"""mmdetection's names of parameters and ours, detector by detector."""

import re
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

Name: TypeAlias = str


class Change(Enum):
    """What is to be done to a tensor besides giving it another name."""

    NOTHING = auto()
    FIRST_CONVOLUTION = auto()
    """Made to take our images."""
    BACKGROUND_FIRST = auto()
    """The background's row moves from the end to the beginning."""
    CASCADE_BOXES = auto()
    """Rescaled from the deviations that mmdetection rounds (0.033, 0.067) to the weights of our box coder."""


class Rule(NamedTuple):
    theirs: str
    """Pattern of the whole name."""
    ours: str
    """Template on its groups; empty where nobody needs the tensor."""
    change: Change = Change.NOTHING
    why: str = ""
    """Nobody needs it."""


def our_name(rules: Sequence[Rule], name: Name) -> tuple[Name, Rule] | None:
    """Our name for a parameter of theirs, and the rule that says it; None where no rule knows it."""
    for rule in rules:
        match = re.fullmatch(rule.theirs, name)
        if match is not None:
            return match.expand(rule.ours), rule
    return None


def current_name(name: Name) -> Name:
    """mmdetection's present name for a parameter that an older release called otherwise."""
    for pattern, template in _OLD_NAMES:
        name = re.sub(pattern, template, name)
    return name


_OLD_NAMES = (
    # A ConvModule was a plain convolution.
    (r"^(neck\.(?:lateral|fpn)_convs\.\d+)\.(weight|bias)$", r"\1.conv.\2"),
    (r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$", r"\1.conv.\2"),
    (r"^bbox_head\.fcos_(cls|reg|centerness)\.", r"bbox_head.conv_\1."),
    # The offsets of a deformable convolution lay beside it.
    (r"\.conv2_offset\.", ".conv2.conv_offset."),
)

_W = r"(weight|bias)"
_NORM = r"(?:bn|gn)"

_BODY = (
    Rule(r"backbone\.conv1\.weight", "backbone.body.conv1.weight", Change.FIRST_CONVOLUTION),
    # A group norm is called by its kind; in ours the kind is the settings' matter.
    Rule(r"backbone\.gn1\.(.+)", r"backbone.body.bn1.\1"),
    Rule(r"backbone\.(layer\d\.\d+)\.gn(\d)\.(.+)", r"backbone.body.\1.bn\2.\3"),
    Rule(r"backbone\.fc\..+", "", why="the classifier on top has no place in a detector"),
    Rule(r"backbone\.(.+)", r"backbone.body.\1"),
)


def _neck(num_laterals: int) -> tuple[Rule, ...]:
    """A pyramid on so many maps of the backbone; what comes above it are further levels."""
    own = "|".join(str(level) for level in range(num_laterals))
    above = [Rule(rf"neck\.fpn_convs\.{num_laterals + i}\.conv\.{_W}", rf"{_TOP}.p{6 + i}.\1") for i in range(2)]
    with_norm = [
        Rule(rf"neck\.fpn_convs\.{num_laterals + i}\.{_NORM}\.(.+)", rf"{_TOP}.p{6 + i}_norm.\1") for i in range(2)
    ]
    return (
        Rule(rf"neck\.lateral_convs\.({own})\.conv\.{_W}", r"backbone.fpn.inner_blocks.\1.0.\2"),
        Rule(rf"neck\.lateral_convs\.({own})\.{_NORM}\.(.+)", r"backbone.fpn.inner_blocks.\1.1.\2"),
        Rule(rf"neck\.fpn_convs\.({own})\.conv\.{_W}", r"backbone.fpn.layer_blocks.\1.0.\2"),
        Rule(rf"neck\.fpn_convs\.({own})\.{_NORM}\.(.+)", r"backbone.fpn.layer_blocks.\1.1.\2"),
        *above,
        *with_norm,
    )


_TOP = "backbone.fpn.extra_blocks"
_FROM_C3, _FROM_C2 = _neck(3), _neck(4)

_RETINANET = (
    Rule(rf"bbox_head\.cls_convs\.(\d)\.conv\.{_W}", r"head.classification_head.conv.\1.0.\2"),
    Rule(rf"bbox_head\.reg_convs\.(\d)\.conv\.{_W}", r"head.regression_head.conv.\1.0.\2"),
    Rule(rf"bbox_head\.cls_convs\.(\d)\.{_NORM}\.(.+)", r"head.classification_head.conv.\1.1.\2"),
    Rule(rf"bbox_head\.reg_convs\.(\d)\.{_NORM}\.(.+)", r"head.regression_head.conv.\1.1.\2"),
    Rule(rf"bbox_head\.retina_cls\.{_W}", r"head.classification_head.cls_logits.\1"),
    Rule(rf"bbox_head\.retina_reg\.{_W}", r"head.regression_head.bbox_reg.\1"),
)

_GFL = (
    Rule(r"bbox_head\.integral\.project", "", why="a constant: the numbers of the bins"),
    Rule(r"bbox_head\.(.+)", r"head.\1"),
)

# Type of the detector -> its names.
RULES: Mapping[str, tuple[Rule, ...]] = {
    "retinanet": (*_BODY, *_FROM_C3, *_RETINANET),
    "gfl": (*_BODY, *_FROM_C3, *_GFL),
}
