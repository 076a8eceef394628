"""Tests the parts of two-stage detectors on cases small enough to compute by hand."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.assignment import EveryBoxMatcher
from fgd_core.detectors.parts.proposals import ProposalLimits, ProposalNetwork
from fgd_core.detectors.parts.region_pooling import RegionPool, crop_masks
from fgd_core.detectors.parts.regions import RegionHeads
from fgd_core.detectors.parts.two_stage import box_branch
from fgd_core.outputs import RegionReading, Regions
from fgd_core.spec import detectors as spec

SETTINGS = spec.FasterRcnn(fpn_width=8, convention="mmdetection")
NUM_CLASSES = 3
STRIDES = (4, 8, 16, 32)


def heads(
    *, iou_threshold: float = 0.5, box_beta: float = 1.0, rois_per_image: int = 512, num_boxes: int = NUM_CLASSES
) -> RegionHeads:
    settings = SETTINGS.model_copy(update={"rois_per_image": rois_per_image})
    branch = box_branch(settings, 1 + NUM_CLASSES, num_boxes)
    return RegionHeads(settings, NUM_CLASSES, branch, iou_threshold=iou_threshold, box_beta=box_beta)


def one_object(*box: float, label: int = 0) -> Targets:
    return Targets([torch.tensor([box])], [torch.tensor([label])], [(200, 200)])


def no_object() -> Targets:
    return Targets([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)], [(200, 200)])


def maps() -> list[Tensor]:
    return [torch.zeros(1, 8, 256 // stride, 256 // stride) for stride in STRIDES]


def reading(logits: Tensor, deltas: Tensor) -> RegionReading:
    """Return outputs of which only the logits (n, 1 + K) and deltas (n, columns, 4) are read."""
    return RegionReading(torch.zeros(len(logits), 8, 7, 7), torch.zeros(len(logits), 32), logits, deltas)


class TestSample:
    @pytest.mark.parametrize(("threshold", "labels"), [(0.5, [2, 2, 2]), (0.6, [0, 2, 2]), (0.7, [0, 0, 2])])
    def test_a_proposal_matches_an_object_from_the_threshold(self, threshold: float, labels: list[int]) -> None:
        # Of the object's width and 55, 65 and 75 % of its height, so that this is their overlap.
        proposals = torch.tensor([[0.0, 0, 100, height] for height in (55, 65, 75)])
        regions = heads(iou_threshold=threshold).sample([proposals], one_object(0, 0, 100, 100, label=1))
        assert regions.labels[0].tolist() == [*labels, 2]
        assert regions.is_ground_truth[0].tolist() == [False, False, False, True]
        assert regions.boxes[0][3].tolist() == [0, 0, 100, 100]

    def test_at_most_a_quarter_match_objects(self) -> None:
        proposals = torch.tensor([[0.0, 0, 100, 100]] * 30 + [[150.0, 150, 160, 160]] * 30)
        regions = heads(rois_per_image=20).sample([proposals], one_object(0, 0, 100, 100))
        assert sorted(regions.labels[0].tolist()) == [0] * 15 + [1] * 5

    def test_is_reproducible_from_the_state_of_the_generator(self) -> None:
        proposals = torch.rand(100, 4).cumsum(1) * 50
        state = torch.get_rng_state()
        first = heads_without_random_draws(rois_per_image=20).sample([proposals], no_object())
        torch.set_rng_state(state)
        second = heads_without_random_draws(rois_per_image=20).sample([proposals], no_object())
        third = heads_without_random_draws(rois_per_image=20).sample([proposals], no_object())
        assert torch.equal(first.boxes[0], second.boxes[0])
        assert not torch.equal(first.boxes[0], third.boxes[0])


def heads_without_random_draws(**settings: int) -> RegionHeads:
    """Build heads without changing the generator, so that only the tested code draws from it."""
    with torch.random.fork_rng():
        return heads(**settings)  # type: ignore[arg-type]


class TestBoxLosses:
    def test_the_class_loss_is_the_mean_cross_entropy_with_background(self) -> None:
        regions = Regions(
            [torch.tensor([[0.0, 0, 100, 100], [50, 50, 60, 60]])],
            [torch.tensor([2, 0])],
            [torch.tensor([0, -1])],
            [torch.tensor([False, False])],
            [torch.tensor([0])],
        )
        logits = torch.tensor([[0.0, 0, math.log(5), 0], [0, 0, 0, 0]])
        predicted = reading(logits, torch.zeros(2, NUM_CLASSES, 4))
        terms = heads().box_losses(predicted, regions, one_object(0, 0, 100, 100, label=1))
        assert terms["classification"].item() == pytest.approx((math.log(8 / 5) + math.log(4)) / 2)
        assert terms["box"] == 0

    @pytest.mark.parametrize(
        ("beta", "expected"),
        # Differs by 0.05 in x and by 2 in height; averaged over two regions.
        [(0.0, (0.05 + 2) / 2), (1 / 9, (0.05**2 / 2 * 9 + 2 - 1 / 18) / 2), (1.0, (0.05**2 / 2 + 1.5) / 2)],
        ids=["L1", "torchvision's", "cascade's"],
    )
    @pytest.mark.parametrize("num_boxes", [1, NUM_CLASSES, 1 + NUM_CLASSES])
    def test_the_box_loss_is_the_distance_of_deltas_over_all_regions(
        self, beta: float, expected: float, num_boxes: int
    ) -> None:
        regions = Regions(
            [torch.tensor([[0.0, 0, 100, 100], [150, 150, 160, 160]])],
            [torch.tensor([3, 0])],
            [torch.tensor([0, -1])],
            [torch.tensor([False, False])],
            [torch.tensor([0])],
        )
        # The object's centre is 10 to the right and 30 below, its height 1.2 times the region's.
        wanted = torch.tensor([10 * 0.1, 10 * 0.3, 0, 5 * math.log(1.2)])
        # Predictions for other classes and the background do not count.
        deltas = torch.full((2, num_boxes, 4), 99.0)
        deltas[0, -1] = wanted + torch.tensor([0.05, 0, 0, -2])
        predicted = reading(torch.zeros(2, 1 + NUM_CLASSES), deltas)
        terms = heads(box_beta=beta, num_boxes=num_boxes).box_losses(
            predicted, regions, one_object(10, 20, 110, 140, label=2)
        )
        assert terms["box"].item() == pytest.approx(expected, rel=1e-5)

    def test_without_regions_are_zero_with_zero_gradients(self) -> None:
        detector = heads()
        terms = detector.losses(detector.predict(maps(), [torch.zeros(0, 4)], no_object()), no_object())
        assert {name: value.item() for name, value in terms.items()} == {"classification": 0, "box": 0}
        torch.stack(list(terms.values())).sum().backward()
        assert all(p.grad is not None and not p.grad.any() for p in detector.parameters())


class TestDecode:
    def test_a_box_never_grows_beyond_a_factor_of_62(self) -> None:
        huge = torch.full((1, 1, 4), 1e4) * torch.tensor([0.0, 0, 1, 1])
        (box,) = heads(num_boxes=1).decode(huge, [torch.tensor([[0.0, 0, 16, 16]])])
        assert (box[0, 0, 2:] - box[0, 0, :2]).tolist() == pytest.approx([1000, 1000])

    def test_no_boxes_keep_their_shape(self) -> None:
        (box,) = heads(num_boxes=1).decode(torch.zeros(0, 1, 4), [torch.zeros(0, 4)])
        assert box.shape == (0, 1, 4)


class TestRegionPool:
    @pytest.mark.parametrize(("side", "stride"), [(56, 4), (112, 8), (224, 16), (448, 32)])
    def test_pools_the_box_from_the_level_of_its_size(self, side: int, stride: int) -> None:
        # Every cell holds the stride of its level and the position of its middle.
        levels = []
        for level in STRIDES:
            middles = (torch.arange(1024 // level) + 0.5) * level
            x = middles.expand(len(middles), -1)
            levels.append(torch.stack([torch.full_like(x, level), x, x.T])[None])
        box = torch.tensor([[100.0, 300, 100 + side, 300 + side]])
        # The image is a small part of a large input: torchvision would estimate half the true strides.
        (pooled,) = RegionPool(7, aligned=True)(levels, [box])
        assert torch.equal(pooled[0], torch.full((7, 7), float(stride)))
        middles = (torch.arange(7) + 0.5) * side / 7
        torch.testing.assert_close(pooled[1], (100 + middles).expand(7, 7))
        torch.testing.assert_close(pooled[2], (300 + middles)[:, None].expand(7, 7))

    def test_a_large_box_is_the_mean_of_all_its_cells_in_mmdetections_convention(self) -> None:
        # Four cells of P5 for each cell of the result, in both directions.
        levels = [torch.randn(1, 2, 1024 // stride, 1024 // stride) for stride in STRIDES]
        (pooled,) = RegionPool(7, aligned=True)(levels, [torch.tensor([[64.0, 32, 960, 928]])])
        torch.testing.assert_close(pooled, F.avg_pool2d(levels[3][0, :, 1:29, 2:30], 4))

    def test_pools_each_box_from_its_own_image(self) -> None:
        levels = [torch.arange(3.0)[:, None, None, None].expand(3, 1, 64 // s, 64 // s) for s in STRIDES]
        box = torch.tensor([[8.0, 8, 40, 40]])
        pooled = RegionPool(7, aligned=False)(levels, [box, torch.zeros(0, 4), box])
        assert pooled.mean((1, 2, 3)).tolist() == [0, 2]


class TestMaskTargets:
    def test_equal_the_mask_if_the_box_has_as_many_pixels_as_the_crop(self) -> None:
        mask = torch.zeros(2, 40, 40, dtype=torch.uint8)
        mask[1, 5:15, 6:30] = 1
        cropped = crop_masks(mask, torch.tensor([[4.0, 2, 32, 30]]), torch.tensor([1]), 28, aligned=True)
        assert torch.equal(cropped[0], mask[1, 2:30, 4:32].float())

    @pytest.mark.parametrize("aligned", [True, False])
    def test_are_rounded_only_in_mmdetections_convention(self, aligned: bool) -> None:
        mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
        mask[0, 11:41, 7:31] = 1
        cropped = crop_masks(mask, torch.tensor([[0.0, 0, 56, 56]]), torch.tensor([0]), 28, aligned=aligned)
        assert cropped.max() == 1
        assert ((cropped > 0) & (cropped < 1)).any() != aligned


class TestProposals:
    def network(self, **settings: object) -> ProposalNetwork:
        torch.manual_seed(0)
        chosen = spec.FasterRcnn.model_validate({"fpn_width": 8, **settings})
        return ProposalNetwork(chosen, num_convs=1, box_beta=0.0, train_limits=ProposalLimits(2000, 50))

    def losses(self, network: ProposalNetwork, maps: list[Tensor], targets: Targets) -> dict[str, Tensor]:
        sample = network.predict(maps, targets.image_sizes, targets).sample
        assert sample is not None
        return network.losses(sample)

    def pyramid(self, side_px: int = 128) -> list[Tensor]:
        torch.manual_seed(1)
        return [torch.randn(2, 8, side_px // stride, side_px // stride) for stride in (*STRIDES, 64)]

    def test_are_limited_and_inside_the_image_and_without_gradient(self) -> None:
        targets = Targets([torch.zeros(0, 4)] * 2, [torch.zeros(0).long()] * 2, [(128, 100), (90, 128)])
        proposals, _ = self.network().predict(self.pyramid(), targets.image_sizes, targets)
        for boxes, (height, width) in zip(proposals, targets.image_sizes, strict=True):
            assert len(boxes) == 50
            assert not boxes.requires_grad
            assert boxes.min() >= 0
            assert boxes[:, 2].max() <= width and boxes[:, 3].max() <= height

    def test_are_at_most_a_thousand_for_detection(self) -> None:
        network = self.network(anchor_base_size_px=2)  # so small that boxes do not suppress each other
        for boxes in network.predict(self.pyramid(256), [(256, 256)] * 2).boxes:
            assert len(boxes) == 1000

    def test_losses_are_means_over_256_anchors_of_an_image(self) -> None:
        network = self.network()
        # All anchors get the same prediction, so the sample does not matter.
        for layer, value in ((network.head.cls_logits, math.log(3)), (network.head.bbox_pred, 0.5)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, value)
        # An anchor itself, of 32 px around the corner of a cell. The four next to it, 4 px away, overlap it by 0.78.
        box = torch.tensor([[48.0, 48, 80, 80]])
        targets = Targets([box, box[:0]], [torch.zeros(1).long(), torch.zeros(0).long()], [(128, 128)] * 2)
        terms = self.losses(network, self.pyramid(), targets)
        # Differs by 0.5 in each of four deltas; the shift of 4 / 32 has opposite signs for opposite neighbours.
        assert terms["rpn_box"].item() == pytest.approx(5 * 4 * 0.5 / 512)
        # Five predict an object with 3/4 and are right, all others are wrong.
        expected = (5 * math.log(4 / 3) + 507 * math.log(4)) / 512
        assert terms["rpn_objectness"].item() == pytest.approx(expected, rel=1e-5)

    def test_mmdetection_ignores_an_object_below_an_overlap_of_0_3(self) -> None:
        sliver = torch.tensor([[20.0, 50, 100, 52]])
        targets = Targets([sliver] * 2, [torch.zeros(1).long()] * 2, [(128, 128)] * 2)
        theirs, torchvisions = self.network(convention="mmdetection"), self.network(convention="torchvision")
        assert self.losses(theirs, self.pyramid(), targets)["rpn_box"] == 0
        assert self.losses(torchvisions, self.pyramid(), targets)["rpn_box"] > 0

    @pytest.mark.parametrize("convention", ["torchvision", "mmdetection"])
    def test_batch_padding_is_background_only_for_torchvision(self, convention: str) -> None:
        network, maps = self.network(convention=convention), self.pyramid()
        targets = Targets([torch.zeros(0, 4)] * 2, [torch.zeros(0).long()] * 2, [(30, 30)] * 2)
        terms = []
        for padding in (0.0, 1e3):
            maps[0][:, :, 16:, 16:] = padding  # from 64 px on
            torch.manual_seed(2)
            terms.append(self.losses(network, maps, targets)["rpn_objectness"])
        assert bool(terms[0] == terms[1]) == (convention == "mmdetection")

    def test_boxes_claim_anchors_from_the_least_overlap(self) -> None:
        overlap = torch.tensor([[0.2, 0.1, 0.0], [0.0, 0.35, 0.1]])
        assert EveryBoxMatcher(0.7, 0.3, claim_from=0.3)(overlap).tolist() == [-1, 1, -1]
        assert EveryBoxMatcher(0.7, 0.3)(overlap).tolist() == [0, 1, -1]
