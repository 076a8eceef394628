"""Maps mmdetection's parameter names to fgd's, for each detector."""

import re
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from fgd_core.spec.backbones import Swin
from fgd_core.spec.detectors import AnyDetector, RepPoints, Solo, TwoStage

Name: TypeAlias = str


class Change(Enum):
    """A change of a tensor besides its name."""

    NOTHING = auto()
    FIRST_CONVOLUTION = auto()
    """Converted to fgd's image normalisation."""
    BACKGROUND_FIRST = auto()
    """The background's row moves from last to first."""
    FLAT = auto()
    """Reshaped to one dimension."""
    MERGED_PATCHES = auto()
    """The channels of four merged cells are sorted by cell, and not by channel."""


class Rule(NamedTuple):
    """Maps the names that match a pattern."""

    pattern: str
    """Pattern of the whole name in mmdetection."""
    template: str
    """Template of our name with the groups of the pattern; empty if the tensor is not needed."""
    change: Change = Change.NOTHING
    why: str = ""
    """Why the tensor is not needed."""


def our_name(rules: Sequence[Rule], name: Name) -> tuple[Name, Rule] | None:
    """Return fgd's name of an mmdetection parameter and the rule that gives it; None if no rule matches."""
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match is not None:
            return match.expand(rule.template), rule
    return None


def current_name(name: Name) -> Name:
    """Convert a parameter name of an older mmdetection release to the current name."""
    for pattern, template in _OLD_NAMES:
        name = re.sub(pattern, template, name)
    return name


_OLD_NAMES = (
    # Plain convolutions became ConvModules.
    (r"^(neck\.(?:lateral|fpn)_convs\.\d+)\.(weight|bias)$", r"\1.conv.\2"),
    (r"^(bbox_head\.(?:cls|reg)_convs\.\d+)\.(weight|bias)$", r"\1.conv.\2"),
    (r"^bbox_head\.fcos_(cls|reg|centerness)\.", r"bbox_head.conv_\1."),
    # The offsets moved into the deformable convolution.
    (r"\.conv2_offset\.", ".conv2.conv_offset."),
)

_W = r"(weight|bias)"
_NORM = r"(?:bn|gn)"

_RESNET = (
    Rule(r"backbone\.conv1\.weight", "backbone.body.conv1.weight", Change.FIRST_CONVOLUTION),
    # mmdetection names a group norm `gn`; fgd names every norm `bn` and keeps its type in the settings.
    Rule(r"backbone\.gn1\.(.+)", r"backbone.body.bn1.\1"),
    Rule(r"backbone\.(layer\d\.\d+)\.gn(\d)\.(.+)", r"backbone.body.\1.bn\2.\3"),
    Rule(r"(backbone|head)\.fc\..+", "", why="a detector does not use the classifier on top"),
    Rule(r"backbone\.(.+)", r"backbone.body.\1"),
)


def _swin(*, has_p2: bool) -> tuple[Rule, ...]:
    """Map the names of a Swin Transformer: fgd numbers the embedding, the stages and the layers between as one list.

    Args:
        has_p2: whether the detector uses the map of stride 4.
    """
    body = "backbone.body"
    unused = () if has_p2 else (Rule(r"backbone\.norm0\..+", "", why="the detector has no map of stride 4"),)
    stages = [rule for stage in range(4) for rule in _swin_stage(stage)]
    return (
        Rule(r"backbone\.patch_embed\.projection\.weight", f"{body}.0.0.weight", Change.FIRST_CONVOLUTION),
        Rule(r"backbone\.patch_embed\.projection\.bias", f"{body}.0.0.bias"),
        Rule(rf"backbone\.patch_embed\.norm\.{_W}", rf"{body}.0.2.\1"),
        *stages,
        *unused,
        Rule(rf"backbone\.norm(\d)\.{_W}", rf"{body}.norm\1.\2"),
        Rule(r"(backbone|head)\.fc\..+", "", why="a detector does not use the classifier on top"),
    )


def _swin_stage(stage: int) -> tuple[Rule, ...]:
    there = rf"backbone\.stages\.{stage}"
    block, own = rf"{there}\.blocks\.(\d+)", rf"backbone.body.{2 * stage + 1}.\1"
    return (
        Rule(rf"{block}\.(norm[12])\.{_W}", rf"{own}.\2.\3"),
        Rule(rf"{block}\.attn\.w_msa\.(qkv|proj)\.{_W}", rf"{own}.attn.\2.\3"),
        Rule(rf"{block}\.attn\.w_msa\.(relative_position_bias_table)", rf"{own}.attn.\2"),
        Rule(rf"{block}\.attn\.w_msa\.(relative_position_index)", rf"{own}.attn.\2", Change.FLAT),
        Rule(rf"{block}\.ffn\.layers\.0\.0\.{_W}", rf"{own}.mlp.0.\2"),
        Rule(rf"{block}\.ffn\.layers\.1\.{_W}", rf"{own}.mlp.3.\2"),
        Rule(
            rf"{there}\.downsample\.(norm|reduction)\.{_W}",
            rf"backbone.body.{2 * stage + 2}.\1.\2",
            Change.MERGED_PATCHES,
        ),
    )


def _neck(num_laterals: int, *, is_top_normed: bool = False) -> tuple[Rule, ...]:
    """Map the names of a pyramid on `num_laterals` maps of the backbone; higher convolutions are extra levels."""
    lateral = "|".join(str(level) for level in range(num_laterals))
    top = "backbone.fpn.extra_blocks"
    rules = [
        Rule(rf"neck\.lateral_convs\.({lateral})\.conv\.{_W}", r"backbone.fpn.inner_blocks.\1.0.\2"),
        Rule(rf"neck\.lateral_convs\.({lateral})\.{_NORM}\.(.+)", r"backbone.fpn.inner_blocks.\1.1.\2"),
        Rule(rf"neck\.fpn_convs\.({lateral})\.conv\.{_W}", r"backbone.fpn.layer_blocks.\1.0.\2"),
        Rule(rf"neck\.fpn_convs\.({lateral})\.{_NORM}\.(.+)", r"backbone.fpn.layer_blocks.\1.1.\2"),
    ]
    for index, level in enumerate(("p6", "p7"), start=num_laterals):
        place = f"{top}.{level}.0" if is_top_normed else f"{top}.{level}"
        rules.append(Rule(rf"neck\.fpn_convs\.{index}\.conv\.{_W}", rf"{place}.\1"))
        if is_top_normed:
            rules.append(Rule(rf"neck\.fpn_convs\.{index}\.{_NORM}\.(.+)", rf"{top}.{level}.1.\1"))
    return tuple(rules)


_RETINANET = (
    Rule(rf"bbox_head\.cls_convs\.(\d)\.conv\.{_W}", r"head.classification_head.conv.\1.0.\2"),
    Rule(rf"bbox_head\.reg_convs\.(\d)\.conv\.{_W}", r"head.regression_head.conv.\1.0.\2"),
    Rule(rf"bbox_head\.cls_convs\.(\d)\.{_NORM}\.(.+)", r"head.classification_head.conv.\1.1.\2"),
    Rule(rf"bbox_head\.reg_convs\.(\d)\.{_NORM}\.(.+)", r"head.regression_head.conv.\1.1.\2"),
    Rule(rf"bbox_head\.retina_cls\.{_W}", r"head.classification_head.cls_logits.\1"),
    Rule(rf"bbox_head\.retina_reg\.{_W}", r"head.regression_head.bbox_reg.\1"),
)


def _fcos() -> tuple[Rule, ...]:
    rules = []
    for tower, head in (("cls_convs", "classification_head"), ("reg_convs", "regression_head")):
        for index in range(4):
            # fgd numbers a convolution, its norm and its activation in one sequence.
            convs = f"head.{head}.conv"
            rules.append(Rule(rf"bbox_head\.{tower}\.{index}\.conv\.{_W}", rf"{convs}.{3 * index}.\1"))
            rules.append(Rule(rf"bbox_head\.{tower}\.{index}\.{_NORM}\.(.+)", rf"{convs}.{3 * index + 1}.\1"))
    return (
        *rules,
        Rule(rf"bbox_head\.conv_cls\.{_W}", r"head.classification_head.cls_logits.\1"),
        Rule(rf"bbox_head\.conv_reg\.{_W}", r"head.regression_head.bbox_reg.\1"),
        Rule(rf"bbox_head\.conv_centerness\.{_W}", r"head.regression_head.bbox_ctrness.\1"),
        Rule(r"bbox_head\.scales\.(\d)\.scale", r"head.scales.\1"),
    )


# Heads with the same names in fgd and mmdetection.
_SAME_HEAD = (
    Rule(r"bbox_head\.integral\.project", "", why="a constant: the indices of the bins"),
    Rule(r"bbox_head\.(.+)", r"head.\1"),
)

_PROPOSALS = (
    Rule(rf"rpn_head\.rpn_conv\.{_W}", r"rpn.head.conv.0.0.\1"),
    Rule(rf"rpn_head\.rpn_cls\.{_W}", r"rpn.head.cls_logits.\1"),
    Rule(rf"rpn_head\.rpn_reg\.{_W}", r"rpn.head.bbox_pred.\1"),
)


def _regions(suffix: str = "", prefix: str = "") -> tuple[Rule, ...]:
    """Map the names of the region heads.

    Args:
        suffix: of mmdetection's head names: in a cascade, a pattern of the stage's number.
        prefix: of fgd's head names.
    """
    boxes, masks = rf"roi_head\.bbox_head{suffix}", rf"roi_head\.mask_head{suffix}"
    first_group = 2 if suffix else 1
    return (
        Rule(rf"{boxes}\.shared_fcs\.0\.{_W}", rf"roi_heads.{prefix}box_head.fc6.\{first_group}"),
        Rule(rf"{boxes}\.shared_fcs\.1\.{_W}", rf"roi_heads.{prefix}box_head.fc7.\{first_group}"),
        Rule(
            rf"{boxes}\.fc_cls\.{_W}",
            rf"roi_heads.{prefix}box_predictor.cls_score.\{first_group}",
            Change.BACKGROUND_FIRST,
        ),
        Rule(rf"{boxes}\.fc_reg\.{_W}", rf"roi_heads.{prefix}box_predictor.bbox_pred.\{first_group}"),
        Rule(rf"{masks}\.convs\.(\d)\.conv\.{_W}", rf"roi_heads.{prefix}mask_head.\{first_group}.0.\{first_group + 1}"),
        Rule(rf"{masks}\.upsample\.{_W}", rf"roi_heads.{prefix}mask_predictor.conv5_mask.\{first_group}"),
        Rule(rf"{masks}\.conv_logits\.{_W}", rf"roi_heads.{prefix}mask_predictor.mask_fcn_logits.\{first_group}"),
    )


_TWO_STAGES = (*_neck(4), *_PROPOSALS, *_regions())
_CASCADE = (*_neck(4), *_PROPOSALS, *_regions(r"\.(\d)", r"stages.\1."))

# Type of the detector -> the rules of its neck and its heads.
_RULES: Mapping[str, tuple[Rule, ...]] = {
    "retinanet": (*_neck(3), *_RETINANET),
    "fcos": (*_neck(3), *_fcos()),
    "gfl": (*_neck(3), *_SAME_HEAD),
    "reppoints": (*_neck(3), *_SAME_HEAD),
    "faster_rcnn": _TWO_STAGES,
    "mask_rcnn": _TWO_STAGES,
    "cascade_rcnn": _CASCADE,
    "cascade_mask_rcnn": _CASCADE,
    "solo": (*_neck(4), Rule(r"mask_head\.(.+)", r"head.\1")),
}


def rules_of(settings: AnyDetector) -> tuple[Rule, ...] | None:
    """Return the rules of a detector; None if mmdetection has no such detector."""
    above = _RULES.get(str(type(settings).model_fields["type"].default))
    if isinstance(settings, RepPoints) and settings.norm == "group":
        above = (*_neck(3, is_top_normed=True), *_SAME_HEAD)
    body = _swin(has_p2=isinstance(settings, TwoStage | Solo)) if isinstance(settings.backbone, Swin) else _RESNET
    return None if above is None else (*body, *above)
