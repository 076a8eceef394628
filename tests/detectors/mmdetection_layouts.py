"""Lists names and shapes of mmdetection's checkpoints, from its modules and independent of the code that reads them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Layout = dict[str, tuple[int, ...]]
Entries = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, kw_only=True)
class SwinSizes:
    """Holds the sizes of a Swin Transformer; the defaults are those of Swin-T."""

    blocks: tuple[int, int, int, int] = (2, 2, 6, 2)
    embed: int = 96
    window: int = 7
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Holds the sizes of a network; the defaults are those of the published networks."""

    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem: int = 64
    groups: int = 1
    base_width: int = 64
    deformed: tuple[int, ...] = ()
    """Stages, from 1 to 4, whose 3x3 convolutions are deformable."""
    numbers_per_point: int = 2
    is_basic: bool = False
    body_norm: str = "bn"
    swin: SwinSizes | None = None
    """Of the backbone, if it is no ResNet."""
    width: int = 256
    representation: int = 1024
    classes: int = 80
    bins: int = 17
    neck_norm: bool = False
    tower_norm: bool = False
    tower_bias: bool = False
    tower_depth: int = 7
    """Of SOLO."""
    grids: tuple[int, int, int, int, int] = (40, 36, 24, 16, 12)
    """Of SOLO."""


def retinanet(s: Sizes) -> Layout:
    return dict(
        [
            *_body(s),
            *_neck(s, laterals=3, outputs=5, extra_on="C5"),
            *_towers(s, depth=4),
            *_layer("bbox_head.retina_cls", 9 * s.classes, s.width, 3),
            *_layer("bbox_head.retina_reg", 9 * 4, s.width, 3),
        ]
    )


def fcos(s: Sizes) -> Layout:
    return dict(
        [
            *_body(s),
            *_neck(s, laterals=3, outputs=5, extra_on="P5"),
            *_towers(replace(s, tower_norm=True), depth=4),
            *_layer("bbox_head.conv_cls", s.classes, s.width, 3),
            *_layer("bbox_head.conv_reg", 4, s.width, 3),
            *_layer("bbox_head.conv_centerness", 1, s.width, 3),
            *((f"bbox_head.scales.{level}.scale", ()) for level in range(5)),
        ]
    )


def gfl(s: Sizes) -> Layout:
    return dict(
        [
            *_body(s),
            *_neck(s, laterals=3, outputs=5, extra_on="P5"),
            *_towers(replace(s, tower_norm=True), depth=4),
            *_layer("bbox_head.gfl_cls", s.classes, s.width, 3),
            *_layer("bbox_head.gfl_reg", 4 * s.bins, s.width, 3),
            *((f"bbox_head.scales.{level}.scale", ()) for level in range(5)),
            ("bbox_head.integral.project", (s.bins,)),
        ]
    )


def reppoints(s: Sizes) -> Layout:
    return dict(
        [
            *_body(s),
            *_neck(s, laterals=3, outputs=5, extra_on="C5"),
            ("bbox_head.moment_transfer", (2,)),
            *_towers(s, depth=3),
            ("bbox_head.reppoints_cls_conv.weight", (s.width, s.width, 3, 3)),
            *_layer("bbox_head.reppoints_cls_out", s.classes, s.width, 1),
            *_layer("bbox_head.reppoints_pts_init_conv", s.width, s.width, 3),
            *_layer("bbox_head.reppoints_pts_init_out", 18, s.width, 1),
            ("bbox_head.reppoints_pts_refine_conv.weight", (s.width, s.width, 3, 3)),
            *_layer("bbox_head.reppoints_pts_refine_out", 18, s.width, 1),
        ]
    )


def faster_rcnn(s: Sizes) -> Layout:
    return dict([*_two_stages(s), *_boxes(s, "roi_head.bbox_head", deltas=4 * s.classes)])


def mask_rcnn(s: Sizes) -> Layout:
    return {**faster_rcnn(s), **dict(_masks(s, "roi_head.mask_head"))}


def cascade_rcnn(s: Sizes) -> Layout:
    stages = [entry for i in range(3) for entry in _boxes(s, f"roi_head.bbox_head.{i}", deltas=4)]
    return dict([*_two_stages(s), *stages])


def cascade_mask_rcnn(s: Sizes) -> Layout:
    return {**cascade_rcnn(s), **dict(entry for i in range(3) for entry in _masks(s, f"roi_head.mask_head.{i}"))}


def solo(s: Sizes) -> Layout:
    towers = [
        entry
        for name, added in (("mask_convs", 2), ("cls_convs", 0))
        for index in range(s.tower_depth)
        for entry in _conv_module(
            f"mask_head.{name}.{index}", s.width, s.width + (0 if index else added), 3, has_norm=True
        )
    ]
    masks = [
        entry
        for level, grid in enumerate(s.grids)
        for entry in _layer(f"mask_head.conv_mask_list.{level}", grid**2, s.width, 1)
    ]
    return dict(
        [
            *_body(s, first_map=0),
            *_neck(s, laterals=4, outputs=4),
            *towers,
            *masks,
            *_layer("mask_head.conv_cls", s.classes, s.width, 3),
        ]
    )


def filled(layout: Mapping[str, tuple[int, ...]], *, device: str = "cpu", seed: int = 0) -> dict[str, Tensor]:
    """Build a random state dict with positive variances and integer counters."""
    torch.manual_seed(seed)
    state = {key: torch.randn(shape, device=device) * 0.05 for key, shape in layout.items()}
    for key, value in state.items():
        if key.endswith("running_var"):
            state[key] = value.abs() + 0.5
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.int64, device=device)
        if key.endswith("relative_position_index"):
            state[key] = _relative_positions(len(value)).to(device)
    return state


def _relative_positions(cells: int) -> Tensor:
    """Return the row of the bias table for each two cells of a window: (cells, cells)."""
    side = math.isqrt(cells)
    row, column = torch.arange(cells) // side, torch.arange(cells) % side
    down, right = row[:, None] - row[None], column[:, None] - column[None]
    return (down + side - 1) * (2 * side - 1) + right + side - 1


def _body(s: Sizes, *, first_map: int = 1) -> Entries:
    """Yield the layers of the backbone.

    Args:
        first_map: index of the first stage whose output the neck gets; only a Swin Transformer has norms for them.
    """
    yield from _resnet(s) if s.swin is None else _swin(s.swin, first_map)


def _swin(s: SwinSizes, first_map: int) -> Entries:
    yield from _layer("backbone.patch_embed.projection", s.embed, 3, 4)
    yield from _norm("backbone.patch_embed.norm", s.embed, "ln")
    cells = s.window * s.window
    for stage, blocks in enumerate(s.blocks):
        width = s.embed * 2**stage
        for block in range(blocks):
            name = f"backbone.stages.{stage}.blocks.{block}"
            yield from _norm(f"{name}.norm1", width, "ln")
            yield f"{name}.attn.w_msa.relative_position_bias_table", ((2 * s.window - 1) ** 2, s.heads[stage])
            yield f"{name}.attn.w_msa.relative_position_index", (cells, cells)
            yield from _linear(f"{name}.attn.w_msa.qkv", 3 * width, width)
            yield from _linear(f"{name}.attn.w_msa.proj", width, width)
            yield from _norm(f"{name}.norm2", width, "ln")
            yield from _linear(f"{name}.ffn.layers.0.0", 4 * width, width)
            yield from _linear(f"{name}.ffn.layers.1", width, 4 * width)
        if stage < 3:
            yield from _norm(f"backbone.stages.{stage}.downsample.norm", 4 * width, "ln")
            yield f"backbone.stages.{stage}.downsample.reduction.weight", (2 * width, 4 * width)
        if stage >= first_map:
            yield from _norm(f"backbone.norm{stage}", width, "ln")


def _resnet(s: Sizes) -> Entries:
    yield "backbone.conv1.weight", (s.stem, 3, 7, 7)
    yield from _norm(f"backbone.{s.body_norm}1", s.stem, s.body_norm)
    expansion = 1 if s.is_basic else 4
    channels = s.stem
    for stage, blocks in enumerate(s.blocks, start=1):
        planes = s.stem * 2 ** (stage - 1)
        inner = planes if s.is_basic else int(planes * (s.base_width / 64)) * s.groups
        for block in range(blocks):
            name = f"backbone.layer{stage}.{block}"
            shapes = [(inner, channels, 3, 3), (planes, inner, 3, 3)]
            if not s.is_basic:
                shapes = [(inner, channels, 1, 1), (inner, inner // s.groups, 3, 3), (4 * planes, inner, 1, 1)]
            for number, shape in enumerate(shapes, start=1):
                yield f"{name}.conv{number}.weight", shape
                yield from _norm(f"{name}.{s.body_norm}{number}", shape[0], s.body_norm)
            if stage in s.deformed:
                yield from _layer(f"{name}.conv2.conv_offset", 9 * s.numbers_per_point, inner, 3)
            if block == 0 and (stage > 1 or channels != planes * expansion):
                yield f"{name}.downsample.0.weight", (planes * expansion, channels, 1, 1)
                yield from _norm(f"{name}.downsample.1", planes * expansion, s.body_norm)
            channels = planes * expansion


def _neck(s: Sizes, *, laterals: int, outputs: int, extra_on: str = "") -> Entries:
    first = s.stem * (1 if s.is_basic else 4) if s.swin is None else s.swin.embed
    of_body = [first * 2**stage for stage in range(4)]
    for index in range(laterals):
        yield from _conv_module(f"neck.lateral_convs.{index}", s.width, of_body[4 - laterals + index], 1, s.neck_norm)
    for index in range(outputs):
        given = of_body[-1] if index == laterals and extra_on == "C5" else s.width
        yield from _conv_module(f"neck.fpn_convs.{index}", s.width, given, 3, s.neck_norm)


def _towers(s: Sizes, *, depth: int) -> Entries:
    for tower in ("cls_convs", "reg_convs"):
        for index in range(depth):
            name = f"bbox_head.{tower}.{index}"
            yield from _conv_module(name, s.width, s.width, 3, s.tower_norm, bias=s.tower_bias)


def _two_stages(s: Sizes) -> Entries:
    yield from _body(s, first_map=0)
    yield from _neck(s, laterals=4, outputs=4)
    yield from _layer("rpn_head.rpn_conv", s.width, s.width, 3)
    yield from _layer("rpn_head.rpn_cls", 3, s.width, 1)
    yield from _layer("rpn_head.rpn_reg", 3 * 4, s.width, 1)


def _boxes(s: Sizes, name: str, *, deltas: int) -> Entries:
    yield from _linear(f"{name}.fc_cls", s.classes + 1, s.representation)
    yield from _linear(f"{name}.fc_reg", deltas, s.representation)
    yield from _linear(f"{name}.shared_fcs.0", s.representation, s.width * 7 * 7)
    yield from _linear(f"{name}.shared_fcs.1", s.representation, s.representation)


def _masks(s: Sizes, name: str) -> Entries:
    for index in range(4):
        yield from _layer(f"{name}.convs.{index}.conv", s.width, s.width, 3)
    yield from _layer(f"{name}.upsample", s.width, s.width, 2)
    yield from _layer(f"{name}.conv_logits", s.classes, s.width, 1)


def _conv_module(name: str, out: int, given: int, kernel: int, has_norm: bool, *, bias: bool = False) -> Entries:
    yield f"{name}.conv.weight", (out, given, kernel, kernel)
    if bias or not has_norm:
        yield f"{name}.conv.bias", (out,)
    if has_norm:
        yield from _norm(f"{name}.gn", out, "gn")


def _norm(name: str, channels: int, kind: str) -> Entries:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)
    if kind == "bn":
        yield f"{name}.running_mean", (channels,)
        yield f"{name}.running_var", (channels,)
        yield f"{name}.num_batches_tracked", ()


def _layer(name: str, out: int, given: int, kernel: int) -> Entries:
    yield f"{name}.weight", (out, given, kernel, kernel)
    yield f"{name}.bias", (out,)


def _linear(name: str, out: int, given: int) -> Entries:
    yield f"{name}.weight", (out, given)
    yield f"{name}.bias", (out,)
