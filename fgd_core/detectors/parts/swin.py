"""Builds Swin Transformers (arXiv:2103.14030) from torchvision's blocks, as backbones of detectors."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.ops import StochasticDepth, stochastic_depth

from fgd_core.detectors.parts.body import Body
from fgd_core.ranks import rank, world_size
from fgd_core.spec import backbones as spec

_PATCH_PX = 4
_HEADS = (3, 6, 12, 24)
"""Attention heads in each stage, for every width. Published: 32 channels a head."""


_BLOCKS: Mapping[spec.SwinName, tuple[int, int, int, int]] = {"swin_t": (2, 2, 6, 2), "swin_s": (2, 2, 18, 2)}


def build_swin(settings: spec.Swin) -> Body:
    """Build a Swin Transformer with random weights.

    Its children have the names of torchvision's `features`, where layers of odd index are the stages, and the layers
    between halve the maps. `norm0` to `norm3` normalise the outputs of the stages, as in mmdetection; torchvision's
    network is a classifier and has only the last.
    """
    width = settings.embed_dim
    layers: nn.Sequential = SwinTransformer(
        patch_size=[_PATCH_PX, _PATCH_PX],
        embed_dim=width,
        depths=[*(settings.blocks or _BLOCKS[settings.name])],
        num_heads=[*_HEADS],
        window_size=[settings.window_size, settings.window_size],
        stochastic_depth_prob=settings.drop_path_rate,
        num_classes=1,
    ).features
    _share_depths(layers)
    channels = (width, 2 * width, 4 * width, 8 * width)
    norms = ("norm0", "norm1", "norm2", "norm3")
    children: dict[str, nn.Module] = {"whole_patches": WholePatches(), **dict(layers.named_children())}
    children.update({name: MapNorm(each) for name, each in zip(norms, channels, strict=True)})
    return Body(
        nn.Sequential(OrderedDict(children)),
        (("whole_patches", "0"), ("1",), ("2", "3"), ("4", "5"), ("6", "7")),
        channels,
        norms,
    )


class DropPath(StochasticDepth):  # type: ignore[misc]
    """Leaves out a block for some images; each rank draws for the images of all ranks, so that the draws are the same
    for any number of ranks."""

    def forward(self, cells: Tensor) -> Tensor:
        """Drop or scale the images of (N, H, W, C)."""
        if not self.training or world_size() == 1:
            dropped: Tensor = super().forward(cells)
            return dropped
        every = torch.ones(len(cells) * world_size(), 1, 1, 1).to(cells)
        factors: Tensor = stochastic_depth(every, self.p, self.mode)
        return cells * factors.chunk(world_size())[rank()]


def _share_depths(layers: nn.Module) -> None:
    """Replace torchvision's class, which cannot be chosen in its network."""
    for part in layers.modules():
        if type(part) is StochasticDepth:
            part.__class__ = DropPath


class WholePatches(nn.Module):
    """Pads images with zeros on the right and at the bottom to whole patches, as mmdetection does.

    Without it, the patch embedding would drop up to 3 px of the image.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Pad (N, 3, H, W) to multiples of 4."""
        height, width = images.shape[-2:]
        return pad(images, (0, -width % _PATCH_PX, 0, -height % _PATCH_PX))


class MapNorm(nn.LayerNorm):
    """Normalises each cell over its channels, and moves the channels to where a pyramid expects them."""

    def forward(self, cells: Tensor) -> Tensor:
        """Normalise (N, H, W, C) to (N, C, H, W)."""
        return super().forward(cells).permute(0, 3, 1, 2)
