"""torchvision's ResNets with a width and a depth of one's own."""

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.ops import FrozenBatchNorm2d

from fgd_core.spec.detectors import ResNet

_DEPTHS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


def build_resnet(spec: ResNet) -> "ResNetBody":
    block, blocks = _DEPTHS[spec.name]
    norm = FrozenBatchNorm2d if spec.batch_norm == "frozen" else nn.BatchNorm2d
    return ResNetBody(block, spec.blocks or blocks, spec.stem_width, norm)


class ResNetBody(TorchvisionResNet):  # type: ignore[misc]
    """Stem and four stages, without the classifier; the names of parameters are torchvision's.

    Written out because torchvision's constructor fixes the stem at 64 channels.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: tuple[int, int, int, int],
        stem_width: int,
        norm: type[nn.Module],
    ) -> None:
        nn.Module.__init__(self)
        # What torchvision's `_make_layer` reads and moves on.
        self._norm_layer = norm
        self.inplanes, self.dilation, self.groups, self.base_width = stem_width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, stem_width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm(stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, stem_width, blocks[0])
        self.layer2 = self._make_layer(block, 2 * stem_width, blocks[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * stem_width, blocks[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * stem_width, blocks[3], stride=2)
        self.stage_channels = tuple(stem_width * 2**stage * block.expansion for stage in range(4))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
