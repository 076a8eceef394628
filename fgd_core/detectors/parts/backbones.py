"""Builds torchvision's backbones with a configurable width and depth, under torchvision's parameter names."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

from torch import nn
from torchvision.models.mobilenetv3 import MobileNetV3, mobilenet_v3_large, mobilenet_v3_small
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet

from fgd_core.detectors.parts.body import Body
from fgd_core.detectors.parts.deformable import SelfDeformingConv2d
from fgd_core.detectors.parts.norms import build_norm
from fgd_core.detectors.parts.swin import build_swin
from fgd_core.spec import backbones as spec


class _Architecture(NamedTuple):
    block: type[BasicBlock | Bottleneck]
    blocks: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64


_RESNETS: Mapping[spec.ResNetName, _Architecture] = {
    "resnet18": _Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": _Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": _Architecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": _Architecture(Bottleneck, (3, 4, 23, 3)),
    "resnet152": _Architecture(Bottleneck, (3, 8, 36, 3)),
    "resnext50_32x4d": _Architecture(Bottleneck, (3, 4, 6, 3), 32, 4),
    "resnext101_32x4d": _Architecture(Bottleneck, (3, 4, 23, 3), 32, 4),
    "resnext101_64x4d": _Architecture(Bottleneck, (3, 4, 23, 3), 64, 4),
}


def build_body(settings: spec.BackboneSpec) -> Body:
    """Build a backbone with random weights."""
    return BODIES[type(settings)](settings)


def _resnet(settings: spec.ResNet) -> Body:
    body = ResNetBody(_RESNETS[settings.name], settings.blocks, settings.stem_width, build_norm(settings.norm))
    if settings.stride_in == "1x1":
        _stride_in_1x1(body)
    for stage in sorted(set(settings.deformable_stages)):
        _deform(body.get_submodule(f"layer{stage - 1}"), modulated=settings.deformable_version == "v2")
    stages = (("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
    return Body(body, stages, body.stage_channels)


def _mobilenet(settings: spec.MobileNet) -> Body:
    # torchvision trained this network's weights with this epsilon and momentum.
    norm = build_norm(settings.norm, eps=0.001, momentum=0.01)
    layers: nn.Sequential = _MOBILENETS[settings.name](norm_layer=norm, width_mult=settings.width_factor).features
    # A stage starts with the layer that halves the map; the last convolution belongs to the last stage.
    first = [index for index, layer in enumerate(layers) if _stride(layer) == 2]
    bounds = [0, *first[1:], len(layers)]
    stages = tuple(tuple(str(i) for i in range(*span)) for span in pairwise(bounds))
    c2, c3, c4, c5 = (_channels_after(layers[int(stage[-1])]) for stage in stages[1:])
    return Body(layers, stages, (c2, c3, c4, c5))


# the backbone's spec -> a function that builds it
BODIES: Mapping[type[spec.ResNet | spec.MobileNet | spec.Swin], Callable[..., Body]] = {
    spec.ResNet: _resnet,
    spec.MobileNet: _mobilenet,
    spec.Swin: build_swin,
}

_MOBILENETS: Mapping[spec.MobileNetName, Callable[..., MobileNetV3]] = {
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
}


class ResNetBody(TorchvisionResNet):  # type: ignore[misc]
    """Runs the stem and four stages of a ResNet, without the classifier.

    The constructor is written out because torchvision's fixes the stem at 64 channels.
    """

    def __init__(
        self,
        architecture: _Architecture,
        blocks: tuple[int, int, int, int] | None,
        stem_width: int,
        norm: Callable[[int], nn.Module],
    ) -> None:
        nn.Module.__init__(self)
        block, depths = architecture.block, blocks or architecture.blocks
        # torchvision's `_make_layer` reads these and updates `inplanes`.
        self._norm_layer = norm
        self.inplanes, self.dilation, self.groups = stem_width, 1, architecture.groups
        self.base_width = architecture.width_per_group
        self.conv1 = nn.Conv2d(3, stem_width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, stem_width, depths[0])
        self.layer2 = self._make_layer(block, 2 * stem_width, depths[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * stem_width, depths[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * stem_width, depths[3], stride=2)
        expansion = block.expansion
        self.stage_channels = (
            stem_width * expansion,
            2 * stem_width * expansion,
            4 * stem_width * expansion,
            8 * stem_width * expansion,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _stride_in_1x1(body: ResNetBody) -> None:
    """Move the stride of each bottleneck from its second convolution to its first."""
    for module in body.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride


def _deform(stage: nn.Module, *, modulated: bool) -> None:
    for module in stage.modules():
        if isinstance(module, Bottleneck):
            module.conv2 = SelfDeformingConv2d(module.conv2, modulated=modulated)


def _stride(layer: nn.Module) -> int:
    """Return the stride of a MobileNetV3 layer: the product over its convolutions, of which at most one strides."""
    return math.prod(module.stride[0] for module in layer.modules() if isinstance(module, nn.Conv2d))


def _channels_after(layer: nn.Module) -> int:
    return [module for module in layer.modules() if isinstance(module, nn.Conv2d)][-1].out_channels
