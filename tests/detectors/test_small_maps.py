"""Gradients over maps of a few cells must not depend on the old content of memory.

These tests fill memory with NaN or large numbers and free it before each convolution. A kernel that reads
uninitialised memory then gets a wrong result, whichever kernel the processor uses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fgd_core.data.targets import Targets
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.parts.small_maps import SmallMapConv2d, use_float32_on_small_maps
from fgd_core.spec.backbones import MobileNet, ResNet, Swin
from fgd_core.spec.detectors import AnyDetector, RetinaNet
from tests.detectors.steps import losses_of

POISONS = (float("nan"), 1e4, -3e4)
# In float32 numbers: malloc handles small and large blocks separately, so these are of all sizes of a small network.
_BLOCK_SIZES = [2**power + more for power in range(4, 13) for more in (0, 8, 2 ** (power - 1))]
# Wide enough for the kernels that take 16 channels at a time.
WIDTH = 16
BACKBONES = {
    "BasicBlock": ResNet(name="resnet18", stem_width=WIDTH, blocks=(1, 1, 1, 1)),
    "Bottleneck": ResNet(name="resnet50", stem_width=WIDTH, blocks=(1, 1, 1, 1)),
    "stride in 1x1": ResNet(name="resnet50", stem_width=WIDTH, blocks=(1, 1, 1, 1), stride_in="1x1"),
    "groups": ResNet(name="resnext50_32x4d", stem_width=WIDTH, blocks=(1, 1, 1, 1)),
    "deformable": ResNet(name="resnet50", stem_width=WIDTH, blocks=(1, 1, 1, 1), deformable_stages=(3, 4, 5)),
    "MobileNet": MobileNet(name="mobilenet_v3_small"),
    "Swin": Swin(embed_dim=24, blocks=(1, 1, 2, 1)),
}
# Stem, blocks, extra levels, towers, squeezes, depthwise convolutions.
GEOMETRIES = [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (3, 2, 4), (5, 1, 16), (5, 2, 16), (7, 2, 1)]
SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 5), (5, 1), (3, 3), (4, 2), (6, 7)]


def poison(value: float) -> None:
    """Fill memory with `value` and free it."""
    held = [torch.full((size,), value) for size in _BLOCK_SIZES for _ in range(2)]
    held.clear()


class Poisoned(TorchDispatchMode):
    """Fills freed memory with `value` before every convolution, forward and backward."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "conv" in str(func):
            poison(self._value)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        yield


class TestAConvolution:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
    @pytest.mark.parametrize(("kernel", "stride", "groups"), GEOMETRIES)
    def test_has_the_gradients_of_float32_whatever_memory_holds(
        self, kernel: int, stride: int, groups: int, dtype: torch.dtype
    ) -> None:
        torch.manual_seed(0)
        layer = nn.Conv2d(WIDTH, 2 * WIDTH, kernel, stride, padding=kernel // 2, groups=groups)
        layer = use_float32_on_small_maps(nn.Sequential(layer))[0]
        wrong = []
        for size in SIZES:
            # All positive, so that no sum is small compared with its terms and consists of rounding errors.
            features = torch.rand(2, WIDTH, *size) + 0.5
            expected = self.gradients(layer, features, torch.float32, 0.0)
            for value in POISONS:
                found = self.gradients(layer, features, dtype, value)
                for one, other in zip(found, expected, strict=True):
                    if not torch.allclose(one, other, rtol=0.05, atol=0.01 * other.abs().max().item()):
                        wrong.append((size, value))
        assert wrong == []

    @staticmethod
    def gradients(layer: nn.Module, features: Tensor, dtype: torch.dtype, value: float) -> list[Tensor]:
        features = features.clone().requires_grad_()
        with Poisoned(value):
            with autocast(dtype):
                output = layer(features)
            return [*torch.autograd.grad(output.float().sum(), [features, *layer.parameters()])]

    @pytest.mark.parametrize(("kernel", "stride", "groups"), GEOMETRIES)
    @pytest.mark.parametrize("added_padding", [0, 1])
    def test_of_one_cell_is_that_of_pytorch(self, kernel: int, stride: int, groups: int, added_padding: int) -> None:
        torch.manual_seed(0)
        layer = nn.Conv2d(WIDTH, 2 * WIDTH, kernel, stride, padding=kernel // 2 + added_padding, groups=groups)
        features = torch.randn(2, WIDTH, 1, 1)
        expected = self.gradients(layer, features, torch.float32, 0.0), layer(features)
        layer = use_float32_on_small_maps(layer)
        torch.testing.assert_close((self.gradients(layer, features, torch.float32, 0.0), layer(features)), expected)

    def test_of_one_cell_reads_only_the_centre_of_its_kernel(self) -> None:
        layer = use_float32_on_small_maps(nn.Conv2d(4, 4, 3, padding=1))
        with torch.no_grad():
            layer.weight[:, :, 0] = torch.nan
        assert layer(torch.rand(1, 4, 1, 1)).isfinite().all()
        assert layer(torch.rand(1, 4, 2, 2)).isnan().any()

    def test_returns_the_type_of_autocast_for_a_small_map(self) -> None:
        layer = use_float32_on_small_maps(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(torch.rand(1, 4, 2, 9)).dtype == layer(torch.rand(1, 4, 9, 9)).dtype == torch.bfloat16
        assert layer(torch.rand(1, 4, 2, 9)).dtype == torch.float32


class TestADetector:
    @pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.__name__)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
    def test_has_the_same_gradients_whatever_memory_holds(self, kind: type[AnyDetector], dtype: torch.dtype) -> None:
        self.check(kind(backbone=BACKBONES["BasicBlock"], fpn_width=WIDTH), dtype)

    @pytest.mark.parametrize("name", BACKBONES)
    def test_has_the_same_gradients_with_every_backbone(self, name: str) -> None:
        self.check(RetinaNet(backbone=BACKBONES[name], fpn_width=WIDTH), torch.bfloat16)

    def check(self, settings: AnyDetector, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        detector = build_detector(settings, 2).train()
        # Running means must not change between the steps that are compared.
        for layer in detector.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.0
        first, *others = [self.gradients(detector, dtype, value) for value in POISONS]
        assert all(gradient.isfinite().all() for gradient in first.values())
        for other in others:
            assert [name for name in first if not torch.equal(first[name], other[name])] == []

    @staticmethod
    def gradients(detector: Detector, dtype: torch.dtype, value: float) -> dict[str, Tensor]:
        """Compute gradients for images of 64 px, whose P6 and P7 are one cell; samplers draw the same each time."""
        torch.manual_seed(1)
        images = torch.randn(2, 3, 64, 64)
        boxes, labels = torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1])
        masks = [torch.ones(1, 64, 64, dtype=torch.uint8)] * 2 if detector.has_masks else None
        keypoints = [torch.full((1, 17, 3), 20.0)] * 2 if detector.has_keypoints else None
        targets = Targets([boxes] * 2, [labels] * 2, [(64, 64)] * 2, masks, keypoints)
        detector.zero_grad()
        with Poisoned(value):
            with autocast(dtype):
                losses = losses_of(detector, detector.features(images), targets)
            torch.stack([*losses.values()]).sum().backward()
        return {name: p.grad.clone() for name, p in detector.named_parameters() if p.grad is not None}

    @pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.__name__)
    def test_has_no_other_convolution(self, kind: type[AnyDetector]) -> None:
        detector = build_detector(kind(backbone=BACKBONES["BasicBlock"], fpn_width=WIDTH), 2)
        plain = [name for name, layer in detector.named_modules() if isinstance(layer, nn.Conv2d)]
        assert plain == [name for name, layer in detector.named_modules() if isinstance(layer, SmallMapConv2d)]
