"""Compares FCOS with torchvision's, weight by weight, and with both versions of mmdetection's, by hand."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.models.detection import FCOS as TorchvisionFcos
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.image_list import ImageList

from fgd_core.boxes import boxes_around, distances_to_sides
from fgd_core.data.targets import Targets
from fgd_core.detectors.fcos import Fcos, Locations, centreness_of, match_locations
from fgd_core.detectors.weights import match_state
from fgd_core.spec import detectors as spec
from tests.detectors.steps import detections_of, losses_of

SIZES = [(128, 96), (100, 128)]
TINY = spec.ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
Pair = tuple[Fcos, TorchvisionFcos]


@pytest.fixture(scope="module")
def pair() -> Pair:
    torch.manual_seed(0)
    theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=7, score_thresh=0.05)
    # New heads score all locations equally and predict tiny boxes; this creates scores above and below the threshold.
    generator = torch.Generator().manual_seed(2)
    torch.nn.init.normal_(theirs.head.classification_head.cls_logits.bias, -2.0, 1.5, generator=generator)
    torch.nn.init.normal_(theirs.head.regression_head.bbox_reg.bias, 2.0, 1.0, generator=generator)
    torch.nn.init.normal_(theirs.head.regression_head.bbox_ctrness.weight, std=0.1, generator=generator)
    ours = Fcos(spec.Fcos(), num_classes=7)
    loaded = match_state(ours, theirs.state_dict(), role="detector", source="torchvision")
    assert loaded.num_matched == loaded.num_total
    assert not loaded.unexpected
    return ours.eval(), theirs.eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    # 128 is the coarsest stride, so torchvision's locations do not drift and both detectors must agree.
    return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


class TestAgainstTorchvision:
    @pytest.mark.parametrize("counts", [(3, 0), (0, 0)], ids=["objects in one image", "none"])
    @torch.no_grad()
    def test_features_and_losses_are_equal(self, pair: Pair, images: Tensor, counts: tuple[int, int]) -> None:
        ours, theirs = pair
        all_boxes = torch.tensor([[10.0, 20, 60, 90], [30, 30, 50, 50], [0, 0, 120, 100]])
        boxes = [all_boxes[:n] for n in counts]
        labels = [torch.tensor([3, 6, 0])[:n] for n in counts]
        features = ours.features(images)
        mine = losses_of(ours, features, Targets(boxes, labels, SIZES))
        maps = list(theirs.backbone(images).values())
        anchors = theirs.anchor_generator(ImageList(images, SIZES), maps)
        targets = [{"boxes": b, "labels": i} for b, i in zip(boxes, labels, strict=True)]
        cells = [m.shape[2] * m.shape[3] for m in maps]
        expected = theirs.compute_loss(targets, theirs.head(maps), anchors, cells)
        for ours_map, their_map in zip(features, maps, strict=True):
            torch.testing.assert_close(ours_map, their_map, rtol=0, atol=0)
        torch.testing.assert_close(mine["classification"], expected["classification"])
        torch.testing.assert_close(mine["box"], expected["bbox_regression"])
        torch.testing.assert_close(mine["centreness"], expected["bbox_ctrness"])

    @torch.no_grad()
    def test_detections_are_equal(self, pair: Pair, images: Tensor) -> None:
        ours, theirs = pair
        mine = detections_of(ours, ours.features(images), SIZES)
        maps = list(theirs.backbone(images).values())
        outputs = theirs.head(maps)
        anchors = theirs.anchor_generator(ImageList(images, SIZES), maps)
        counts = [m.shape[2] * m.shape[3] for m in maps]
        split = {name: list(out.split(counts, dim=1)) for name, out in outputs.items()}
        expected = theirs.postprocess_detections(split, [list(a.split(counts)) for a in anchors], SIZES)
        for one, other in zip(mine, expected, strict=True):
            assert len(one.scores) > 20
            torch.testing.assert_close(one.scores, other["scores"])
            torch.testing.assert_close(one.boxes_xyxy_px, other["boxes"])
            torch.testing.assert_close(one.labels, other["labels"])


class TestLocations:
    @pytest.mark.parametrize(
        ("convention", "first", "last"), [("torchvision", 0.0, 128.0), ("mmdetection", 64.0, 192.0)]
    )
    def test_sit_at_the_true_strides(self, convention: spec.Convention, first: float, last: float) -> None:
        detector = Fcos(spec.Fcos(backbone=TINY, fpn_width=8, convention=convention), 1)
        locations = detector._locations(detector.features(torch.zeros(1, 3, 160, 160)))
        of_p7 = locations.points[locations.strides == 128]
        assert sorted(set(of_p7[:, 0].tolist())) == [first, last]

    def test_have_a_range_of_four_to_eight_strides_except_at_the_end_levels(self) -> None:
        detector = Fcos(spec.Fcos(backbone=TINY, fpn_width=8), 1)
        locations = detector._locations(detector.features(torch.zeros(1, 3, 64, 64)))
        bounds = {(s, n, f) for s, n, f in zip(*(t.tolist() for t in locations[1:]), strict=True)}
        assert bounds == {(8, 0, 64), (16, 64, 128), (32, 128, 256), (64, 256, 512), (128, 512, math.inf)}


def row(*xs: float, y: float = 40, stride: float = 8, nearest: float = 0, farthest: float = 64) -> Locations:
    """Locations of one level in a row."""
    n = len(xs)
    return Locations(
        torch.tensor([[x, y] for x in xs]),
        torch.full((n,), stride),
        torch.full((n,), nearest),
        torch.full((n,), farthest),
    )


class TestMatchLocations:
    box = torch.tensor([[10.0, 10, 70, 70]])  # its centre is at 40, 40

    def match(
        self, locations: Locations, boxes: Tensor, radius: float | None = None, *, with_bounds: bool = False
    ) -> list[int]:
        return match_locations(locations, boxes, centre_radius=radius, with_bounds=with_bounds).tolist()

    def test_only_locations_inside_an_object_match_it(self) -> None:
        assert self.match(row(10, 11, 69, 70, 100), self.box) == [-1, 0, 0, -1, -1]

    def test_only_locations_within_the_centre_radius_match(self) -> None:
        assert self.match(row(27, 28, 29, 40, 51, 52), self.box, 1.5) == [-1, -1, 0, 0, 0, -1]

    def test_a_location_matches_the_smallest_object_around_it(self) -> None:
        boxes = torch.cat([self.box, torch.tensor([[35.0, 35, 45, 45]])])
        assert self.match(row(30, 40), boxes) == [0, 1]

    def test_objects_outside_the_range_of_a_level_do_not_match(self) -> None:
        locations = row(40, y=40, nearest=30, farthest=60)  # 30 from every side
        assert self.match(locations, self.box) == [-1]
        assert self.match(locations, self.box, with_bounds=True) == [0]
        assert self.match(row(41, nearest=30, farthest=60), self.box) == [0]
        assert self.match(row(41, nearest=0, farthest=30), self.box) == [-1]

    def test_an_image_without_objects_has_only_background(self) -> None:
        assert self.match(row(10, 20), torch.zeros(0, 4)) == [-1, -1]


class TestCentreness:
    def test_is_the_root_of_the_product_of_both_ratios(self) -> None:
        distances = torch.tensor([[30.0, 30, 30, 30], [10, 20, 40, 20], [0, 5, 60, 5]])
        assert centreness_of(distances).tolist() == pytest.approx([1.0, 0.5, 0.0])

    def test_boxes_around_inverts_distances_to_sides(self) -> None:
        points, boxes = torch.tensor([[20.0, 30]]), torch.tensor([[10.0, 5, 70, 65]])
        distances = distances_to_sides(points, boxes)
        assert distances.tolist() == [[10, 25, 50, 35]]
        assert torch.equal(boxes_around(points, distances), boxes)


def mmdetection_fcos(version: spec.Version) -> Fcos:
    torch.manual_seed(0)
    detector = Fcos(spec.Fcos(backbone=TINY, fpn_width=8, convention="mmdetection", version=version), 2).eval()
    for level, scale in enumerate(detector.head.scales):
        torch.nn.init.constant_(scale, 1 + level / 4)
    torch.nn.init.constant_(detector.head.regression_head.bbox_reg.bias, 2.0)
    return detector


class TestConventionOfMmdetection:
    @torch.no_grad()
    def test_the_first_version_exponentiates_and_has_centreness_in_the_class_tower(self) -> None:
        detector = mmdetection_fcos("v1")
        maps = detector.features(torch.randn(1, 3, 64, 64))
        out = detector.predict(maps, [(64, 64)])
        classes, boxes = detector.head.classification_head, detector.head.regression_head
        raw = boxes.bbox_reg(boxes.conv(maps[1])).flatten(2).transpose(1, 2)
        torch.testing.assert_close(out.distances[1], (1.25 * raw).exp())
        beside = boxes.bbox_ctrness(classes.conv(maps[1])).flatten(2).transpose(1, 2)
        torch.testing.assert_close(out.centreness[1], beside)
        assert [level.shape[1:] for level in out.logits] == [(64, 2), (16, 2), (4, 2), (1, 2), (1, 2)]

    @torch.no_grad()
    def test_the_second_version_clamps_and_has_centreness_in_the_box_tower(self) -> None:
        detector = mmdetection_fcos("v2")
        maps = detector.features(torch.randn(1, 3, 64, 64))
        out = detector.predict(maps, [(64, 64)])
        boxes = detector.head.regression_head
        raw = boxes.bbox_reg(boxes.conv(maps[1])).flatten(2).transpose(1, 2)
        torch.testing.assert_close(out.distances[1], (1.25 * raw).clamp(min=0))
        torch.testing.assert_close(
            out.centreness[1], boxes.bbox_ctrness(boxes.conv(maps[1])).flatten(2).transpose(1, 2)
        )

    @torch.no_grad()
    def test_centreness_can_move_to_the_class_tower(self) -> None:
        torch.manual_seed(0)
        detector = Fcos(
            spec.Fcos(backbone=TINY, fpn_width=8, convention="mmdetection", centreness_from="classes"), num_classes=2
        )
        maps = detector.features(torch.randn(1, 3, 64, 64))
        centreness = detector.predict(maps, [(64, 64)]).centreness
        tower = detector.head.classification_head.conv(maps[1])
        beside = detector.head.regression_head.bbox_ctrness(tower).flatten(2).transpose(1, 2)
        torch.testing.assert_close(centreness[1], beside)

    def test_keys_are_those_of_its_checkpoints(self) -> None:
        first, second = (set(mmdetection_fcos(version).head.state_dict()) for version in ("v1", "v2"))
        assert {f"scales.{level}" for level in range(5)} < first < second
        # Only in the improved recipe do convolutions before a norm have a bias.
        assert {key for key in second - first if not key.endswith(".bias")} == set()
        assert len(second - first) == 8

    @pytest.mark.parametrize("version", ["v1", "v2"])
    @torch.no_grad()
    def test_losses_equal_a_loop_over_the_locations(self, version: spec.Version) -> None:
        detector = mmdetection_fcos(version)
        features = detector.features(torch.randn(2, 3, 64, 64))
        box = torch.tensor([[13.0, 17, 49, 53]])  # of 36 px, so P3's alone
        labels = [torch.tensor([1]), torch.zeros(0, dtype=torch.int64)]
        losses = losses_of(detector, features, Targets([box, torch.zeros(0, 4)], labels, [(64, 64)] * 2))
        out = detector.predict(features, [(64, 64)] * 2)
        logits, distances, centreness = (
            torch.cat(levels, dim=1).tolist() for levels in (out.logits, out.distances, out.centreness)
        )
        x1, y1, x2, y2 = box[0].tolist()
        focal = sum(_focal(x, is_object=False) for image in logits for location in image for x in location)
        boxes, centres, weights = [], [], []
        for cell in range(64):
            x, y = 8 * (cell % 8) + 4.0, 8 * (cell // 8) + 4.0
            left, top, right, bottom = x - x1, y - y1, x2 - x, y2 - y
            near = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < 12
            if min(left, top, right, bottom) <= 0 or (version == "v2" and not near):
                continue
            focal += _focal(logits[0][cell][1], is_object=True) - _focal(logits[0][cell][1], is_object=False)
            ratio = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
            weights.append(math.sqrt(ratio))
            p = _sigmoid(centreness[0][cell][0])
            centres.append(-weights[-1] * math.log(p) - (1 - weights[-1]) * math.log(1 - p))
            own = [d * (8 if version == "v2" else 1) for d in distances[0][cell]]
            boxes.append(_box_loss(version, own, [left, top, right, bottom]))
        assert len(weights) == (20 if version == "v1" else 9)
        assert float(losses["classification"]) == pytest.approx(focal / len(weights), rel=1e-4)
        assert float(losses["centreness"]) == pytest.approx(sum(centres) / len(weights), rel=1e-4)
        weighted = sum(w * b for w, b in zip(weights, boxes, strict=True)) / sum(weights)
        assert float(losses["box"]) == pytest.approx(weighted, rel=1e-4)

    @torch.no_grad()
    def test_candidates_are_selected_by_class_and_ranked_by_class_times_centreness(self) -> None:
        detector = mmdetection_fcos("v2")
        classes, centreness = detector.head.classification_head.cls_logits, detector.head.regression_head.bbox_ctrness
        for layer, value in [(classes, 0.0), (centreness, -4.0)]:
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.constant_(layer.bias, value)
        (found,) = detections_of(detector, detector.features(torch.randn(1, 3, 64, 64)), [(64, 64)])
        # 0.5 passes the threshold of 0.05, though 0.5 times a centreness of 0.018 would not.
        assert len(found.scores) > 0
        assert found.scores.tolist() == pytest.approx([0.5 * _sigmoid(-4)] * len(found.scores))

    def test_torchvision_has_no_first_version(self) -> None:
        with pytest.raises(ValidationError, match="torchvision has no version v1"):
            spec.Fcos(version="v1")


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _focal(logit: float, *, is_object: bool) -> float:
    p = _sigmoid(logit)
    return -0.25 * (1 - p) ** 2 * math.log(p) if is_object else -0.75 * p**2 * math.log(1 - p)


def _box_loss(version: spec.Version, own: list[float], wanted: list[float]) -> float:
    """-log IoU or 1 - GIoU of two boxes around one location, by their distances to it."""
    both = list(zip(own, wanted, strict=True))
    common = [min(pair) for pair in both]
    hull = [max(pair) for pair in both]

    def area(sides: list[float]) -> float:
        return (sides[0] + sides[2]) * (sides[1] + sides[3])

    union = area(own) + area(wanted) - area(common)
    iou = area(common) / union
    return -math.log(iou) if version == "v1" else 1 - iou + (area(hull) - union) / area(hull)
