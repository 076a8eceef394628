"""RepPoints: the checks of mmdetection's tests, and one batch computed by hand."""

from math import log, sqrt

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.deformable import DeformConv2d
from fgd_core.detectors.parts.late_norm import LateNormPyramid
from fgd_core.detectors.parts.norms import group_norm
from fgd_core.detectors.parts.point_sets import kernel_grid, moment_box
from fgd_core.detectors.reppoints import RepPoints, RepPointsHead
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from tests.detectors.steps import losses_of

TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
NOTHING = Targets([torch.zeros(0, 4)], [torch.zeros(0).long()], [(128, 128)])
WHOLE_IMAGE = Targets([torch.tensor([[0.0, 0, 128, 128]])], [torch.tensor([0])], [(128, 128)])
NUM_LOCATIONS = 16**2 + 8**2 + 4**2 + 2**2 + 1


def tiny(*, num_classes: int = 2) -> RepPoints:
    torch.manual_seed(0)
    return RepPoints(spec.RepPoints(backbone=TINY, fpn_width=8), num_classes)


def constant_outputs(*, reach_in_cells: float) -> RepPoints:
    """Scores 0.5 everywhere, and both boxes of a location reach so far from it to every side."""
    detector = tiny(num_classes=1)
    head = detector.head
    for layer in (head.reppoints_cls_out, head.reppoints_pts_init_out, head.reppoints_pts_refine_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    # Three points in nine on each line: a variance of 6 / 8.
    head.reppoints_pts_init_out.bias.data += kernel_grid(3).flatten() * reach_in_cells / sqrt(0.75)
    return detector


def maps(size: int = 128) -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(1, 8, size // stride, size // stride, generator=random) for stride in (8, 16, 32, 64, 128)]


class TestPointSets:
    def test_have_the_order_of_a_deformable_convolutions_offsets(self) -> None:
        ys, xs = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
        points = torch.rand(9, 2, generator=torch.Generator().manual_seed(0)) * 4 - 2
        offsets = (points - kernel_grid(3)).flatten().view(1, 18, 1, 1).expand(1, 18, 9, 9)
        convolution = DeformConv2d(1, 1, 3, padding=1, bias=False)
        for number, (dy, dx) in enumerate(points.tolist()):
            nn.init.zeros_(convolution.weight)
            convolution.weight.data.view(9)[number] = 1  # sees only this point
            seen = convolution((100 * ys + xs)[None, None], offsets)[0, 0, 4, 4].item()
            assert seen == pytest.approx(100 * (4 + dy) + 4 + dx, rel=1e-5)

    def test_become_a_box_of_their_mean_and_unbiased_deviation(self) -> None:
        points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 6.0]])  # y, x
        expected = torch.tensor([2 - sqrt(12), 0.0, 2 + sqrt(12), 2.0])
        torch.testing.assert_close(moment_box(points, torch.zeros(2)), expected)

    def test_are_scaled_by_the_learned_factors_of_width_and_height(self) -> None:
        points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 6.0]])
        expected = torch.tensor([2 - 2 * sqrt(12), -2.0, 2 + 2 * sqrt(12), 4.0])
        torch.testing.assert_close(moment_box(points, torch.tensor([log(2), log(3)])), expected)

    def test_give_the_factors_a_hundredth_of_their_gradient(self) -> None:
        transfer = torch.zeros(2, requires_grad=True)
        moment_box(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 6.0]]), transfer)[2].backward()
        torch.testing.assert_close(transfer.grad, torch.tensor([0.01 * sqrt(12), 0.0]))

    def test_that_coincide_have_a_finite_gradient(self) -> None:
        points = torch.ones(9, 2, requires_grad=True)
        moment_box(points, torch.zeros(2)).sum().backward()
        assert points.grad is not None and points.grad.isfinite().all()


class TestHead:
    def test_passes_a_tenth_of_the_second_stages_gradient_to_the_first_points(self) -> None:
        head = tiny().head
        features = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(2))
        (through_head,) = torch.autograd.grad(head(features).logits.sum(), [head.reppoints_pts_init_out.bias])
        towers = features, features
        for tower in range(3):
            towers = head.cls_convs[tower](towers[0]), head.reg_convs[tower](towers[1])
        points = head.reppoints_pts_init_out(head.reppoints_pts_init_conv(towers[1]).relu())
        seen = head.reppoints_cls_conv(towers[0], points - kernel_grid(3).view(1, -1, 1, 1))
        logits = head.reppoints_cls_out(seen.relu())
        (whole,) = torch.autograd.grad(logits.sum(), [head.reppoints_pts_init_out.bias])
        assert whole.any()
        torch.testing.assert_close(through_head, 0.1 * whole)

    def test_moves_the_first_points_without_a_gradient_to_them(self) -> None:
        head = tiny().head
        nn.init.zeros_(head.reppoints_pts_refine_conv.weight)
        nn.init.constant_(head.reppoints_pts_refine_out.bias, 0.25)
        outputs = head(torch.randn(1, 8, 6, 6))
        torch.testing.assert_close(outputs.refined, outputs.first + 0.25)
        outputs.refined.sum().backward()
        assert not head.reppoints_pts_init_out.bias.grad.any()

    def test_keeps_points_exact_under_autocast(self) -> None:
        head = RepPointsHead(8, 1, has_norm=True)
        nn.init.constant_(head.reppoints_pts_init_out.bias, 30.0625)  # bfloat16 has 30 and 30.125
        nn.init.zeros_(head.reppoints_pts_init_out.weight)
        with torch.autocast("cpu", torch.bfloat16):
            assert (head(torch.randn(1, 8, 6, 6)).first == 30.0625).all()


class TestLosses:
    def test_without_objects_include_only_the_classification(self) -> None:
        values = losses_of(tiny(), maps(), NOTHING)
        assert values["classification"] > 0
        assert values["first_box"] == values["box"] == 0

    @pytest.mark.parametrize("side", [20.0, 70.0, 128.0])
    def test_of_an_objects_first_box_come_from_exactly_one_level(self, side: float) -> None:
        features = [level.requires_grad_() for level in maps()]
        target = WHOLE_IMAGE._replace(boxes=[torch.tensor([[0.0, 0, side, side]])])
        losses_of(tiny(), features, target)["first_box"].backward()
        assert sum(bool(level.grad is not None and level.grad.any()) for level in features) == 1

    def test_are_as_computed_by_hand(self) -> None:
        values = losses_of(constant_outputs(reach_in_cells=4), maps(), WHOLE_IMAGE)
        # It is assigned to P5, whose box is twice as wide: each side differs by 64 px, half of four strides.
        assert values["first_box"].item() == pytest.approx(0.5 * 4 * (0.5 - 0.055), rel=1e-4)
        # On P4 the box of the middle is the object. Overlaps of one half and more: its eight neighbours, 16 px away,
        # and four at 32 px. Between 0.4 and one half: eight that are 32 and 16 px away, four at 48 px.
        num_positives, num_neither = 1 + 8 + 4, 8 + 4
        near, far = 16 / 64 - 0.055, 32 / 64 - 0.055
        assert values["box"].item() == pytest.approx((4 * 2 * near + 4 * 4 * near + 4 * 2 * far) / 13, rel=1e-4)
        num_background = NUM_LOCATIONS - num_positives - num_neither
        focal = 0.5**2 * log(2) * (0.25 * num_positives + 0.75 * num_background)
        assert values["classification"].item() == pytest.approx(focal / num_positives, rel=1e-5)

    def test_use_locations_whose_first_box_overlaps_by_half_or_the_best_one(self) -> None:
        # Half as wide, P5's boxes are the object, and four neighbours of the middle, 32 px away, overlap by 0.6.
        detector = constant_outputs(reach_in_cells=2)
        nn.init.constant_(detector.head.reppoints_pts_refine_out.bias, 0.0)
        first, second = (
            losses_of(detector, maps(), WHOLE_IMAGE),
            losses_of(constant_outputs(reach_in_cells=0.5), maps(), WHOLE_IMAGE),
        )
        assert first["first_box"].item() == pytest.approx(0, abs=1e-5)
        assert first["box"].item() == pytest.approx(4 * 2 * (32 / 128 - 0.055) / 5, rel=1e-4)
        # A quarter as wide: the best is P6's middle, which overlaps by one quarter and differs by 32 px at each side.
        assert second["box"].item() == pytest.approx(4 * (32 / 256 - 0.055), rel=1e-4)

    def test_ignore_the_batch_padding(self) -> None:
        detector = constant_outputs(reach_in_cells=4)
        whole = losses_of(detector, maps(), NOTHING)["classification"]
        half = losses_of(detector, maps(), NOTHING._replace(image_sizes=[(128, 64)]))["classification"]
        num_of_half = 16 * 8 + 8 * 4 + 4 * 2 + 2 + 1
        assert (half / whole).item() == pytest.approx(num_of_half / NUM_LOCATIONS, rel=1e-5)


class TestNeck:
    def test_with_norms_returns_maps_before_the_last_norm_of_the_same_network(self) -> None:
        pyramid = LateNormPyramid(TINY, width=8, strides=(8, 16, 32), norm=group_norm).eval()
        images = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(3))
        stages = pyramid.body(images)
        plain = FeaturePyramidNetwork([8, 16, 32], 8, norm_layer=group_norm)
        ours = pyramid.fpn.state_dict()
        plain.load_state_dict({name: value for name, value in ours.items() if "extra" not in name})
        expected = list(plain(stages).values())
        for name in ("p6", "p7"):
            source = stages["2"] if name == "p6" else expected[-1]
            convolved = nn.functional.conv2d(source, ours[f"extra_blocks.{name}.0.weight"], stride=2, padding=1)
            scale, shift = ours[f"extra_blocks.{name}.1.weight"], ours[f"extra_blocks.{name}.1.bias"]
            expected.append(nn.functional.group_norm(convolved, 4, scale, shift))
        before = pyramid.maps(images)
        for level, behind in zip(pyramid.normed(before), expected, strict=True):
            torch.testing.assert_close(level, behind)
        # Before the norm: twice the weights give twice the maps.
        pyramid.fpn.layer_blocks[0][0].weight.data *= 2
        torch.testing.assert_close(pyramid.maps(images)[0], 2 * before[0])

    def test_with_norms_applies_the_last_norm_in_losses_and_detections(self) -> None:
        detector = tiny().eval()
        before, lifted = maps(), [level + 3 for level in maps()]
        for name, value in losses_of(detector, before, WHOLE_IMAGE).items():
            torch.testing.assert_close(losses_of(detector, lifted, WHOLE_IMAGE)[name], value, rtol=1e-3, atol=1e-5)
        plain = RepPoints(spec.RepPoints(backbone=TINY, fpn_width=8, norm="none"), 2)
        assert losses_of(plain, before, WHOLE_IMAGE)["box"] != losses_of(plain, lifted, WHOLE_IMAGE)["box"]

    def test_without_norms_has_biases_and_no_late_norm(self) -> None:
        detector = RepPoints(spec.RepPoints(backbone=TINY, fpn_width=8, norm="none"), 2)
        assert detector.head.cls_convs[0].conv.bias is not None
        assert not any(isinstance(module, nn.GroupNorm) for module in detector.modules())
        assert losses_of(detector, detector.features(torch.randn(1, 3, 128, 128)), WHOLE_IMAGE)["box"] > 0
