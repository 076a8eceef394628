"""Tests SOLO: which cells learn which object, the losses, matrix NMS, and masks that are cut to their boxes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fgd_core.data.targets import Targets
from fgd_core.detectors.parts.mask_grid import cell_matches, centres_of_mass, dice_losses, shrunk_masks
from fgd_core.detectors.parts.mask_selection import CELL_PX, MaskCandidates, boxes_around, peak_scores, select_masks
from fgd_core.detectors.parts.matrix_nms import matrix_nms_factors
from fgd_core.detectors.solo import Solo, SoloOutputs
from fgd_core.errors import DataError
from fgd_core.evaluation.pasting import paste
from fgd_core.outputs import BACKGROUND
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import ResNet
from tests.tiers import slow

NUM_CLASSES = 3
GRIDS = (10, 8, 6, 4, 3)
SETTINGS = spec.Solo(
    backbone=ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1), norm="group"),
    fpn_width=16,
    num_grids=GRIDS,
    tower_depth=2,
    object_base_size_px=24,
)


def detector(**fields: object) -> Solo:
    torch.manual_seed(0)
    return Solo(SETTINGS.model_copy(update=fields), NUM_CLASSES)


def rectangles(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Draw masks that fill boxes of whole pixels (n, 4): (n, *size) uint8."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks


def targets_of(*boxes: list[list[float]], size: tuple[int, int] = (64, 64)) -> Targets:
    """Return targets of one image for each argument; objects have the labels 0, 1, …."""
    tensors = [torch.tensor(own).reshape(-1, 4) for own in boxes]
    return Targets(
        tensors,
        [torch.arange(len(own)) % NUM_CLASSES for own in tensors],
        [size] * len(tensors),
        [rectangles(own, size) for own in tensors],
    )


def cells_of(matches: Tensor, grid: int) -> dict[tuple[int, int], int]:
    """Return the object of each cell (row, column) that has one."""
    return {divmod(cell, grid): own for cell, own in enumerate(matches.tolist()) if own != BACKGROUND}


class TestCells:
    def test_an_object_gets_the_cells_of_its_centre_region(self) -> None:
        # 10 x 10 cells of 10 px. The centre is at (54.5, 24.5), the region is 20 px wide and 2 px high.
        boxes = torch.tensor([[5.0, 20, 105, 30]])
        centres = torch.tensor([[54.5, 24.5]])
        assert cells_of(cell_matches(boxes, centres, 10, (100, 100)), 10) == {(2, 4): 0, (2, 5): 0, (2, 6): 0}

    def test_no_object_gets_a_cell_further_away_than_the_next(self) -> None:
        boxes, centres = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[52.0, 48.0]])
        found = cells_of(cell_matches(boxes, centres, 40, (100, 100)), 40)
        assert set(found) == {(row, column) for row in (18, 19, 20) for column in (19, 20, 21)}

    def test_cells_end_at_the_border(self) -> None:
        boxes, centres = torch.tensor([[0.0, 0, 200, 200]]), torch.tensor([[1.0, 99.0]])
        assert set(cells_of(cell_matches(boxes, centres, 10, (100, 100)), 10)) == {(8, 0), (8, 1), (9, 0), (9, 1)}

    def test_the_last_of_two_objects_gets_a_common_cell(self) -> None:
        boxes = torch.tensor([[40.0, 40, 60, 60], [41, 41, 61, 61]])
        matches = cell_matches(boxes, torch.tensor([[50.0, 50], [51, 51]]), 1, (100, 100))
        assert matches.tolist() == [1]

    def test_the_grid_covers_the_padded_image(self) -> None:
        boxes, centres = torch.tensor([[40.0, 40, 60, 60]]), torch.tensor([[55.0, 55.0]])
        assert cells_of(cell_matches(boxes, centres, 10, (100, 200)), 10) == {(5, 2): 0}

    def test_an_object_without_pixels_gets_no_cell(self) -> None:
        boxes = torch.tensor([[40.0, 40, 60, 60], [5, 5, 9, 9]])
        masks = rectangles(torch.tensor([[40.0, 40, 60, 60], [5, 5, 5, 9]]), (100, 100))
        centres = centres_of_mass(masks)
        assert centres[0].tolist() == [49.5, 49.5]
        assert set(cell_matches(boxes, centres, 10, (100, 100)).tolist()) == {BACKGROUND, 0}

    def test_no_objects_give_background(self) -> None:
        assert cell_matches(torch.zeros(0, 4), torch.zeros(0, 2), 3, (32, 32)).tolist() == [BACKGROUND] * 9


class TestLevels:
    @pytest.mark.parametrize(
        ("side", "levels"), [(2, [0]), (20, [0, 1]), (30, [1, 2]), (48, [1, 2, 3]), (100, [3, 4]), (2000, [4])]
    )
    def test_an_object_trains_the_levels_of_its_size(self, side: float, levels: list[int]) -> None:
        """The ranges are 0 to 24, 12 to 48, 24 to 96, 48 to 192 and from 96 on."""
        boxes = torch.tensor([[0.0, 0, side, side]])
        assert [level for level in range(5) if detector()._is_of_level(boxes, level)] == levels

    def test_the_published_ranges(self) -> None:
        """Source: `scale_ranges` of mmdetection's configs/solo."""
        published = [(1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)]
        solo = Solo(spec.Solo(backbone=SETTINGS.backbone, fpn_width=8, tower_depth=1), 1)
        for side in (1, 47.9, 48, 95.9, 96, 96.1, 191.9, 192.1, 383.9, 384, 384.1, 768, 768.1, 2048):
            boxes = torch.tensor([[0.0, 0, side, side]])
            found = [bool(solo._is_of_level(boxes, level)) for level in range(5)]
            assert found == [lower <= side <= upper for lower, upper in published]


class TestMasks:
    def test_shrinking_is_bilinear(self) -> None:
        torch.manual_seed(0)
        masks = (torch.rand(3, 30, 45) > 0.5).to(torch.uint8)
        for px in (4, 8, 16):
            padded = functional.pad(masks.float(), (0, 64 - 45, 0, 32 - 30))
            size = (32 // px, 64 // px)
            expected = functional.interpolate(padded[None], size=size, mode="bilinear", align_corners=False)[0] >= 0.5
            assert torch.equal(shrunk_masks(masks, px, size), expected)

    def test_dice_loss_of_a_perfect_mask_is_zero_and_of_a_wrong_one_is_one(self) -> None:
        target = torch.zeros(2, 4, 4, dtype=torch.bool)
        target[:, 1:3, 1:3] = True
        logits = torch.where(target, 40.0, -40.0)
        logits[1] *= -1
        assert dice_losses(logits, target).tolist() == pytest.approx([0, 1], abs=1e-3)

    def test_dice_loss_is_that_of_the_formula(self) -> None:
        torch.manual_seed(0)
        logits, target = torch.randn(3, 5, 6), torch.rand(3, 5, 6) > 0.5
        for loss, p, t in zip(dice_losses(logits, target).tolist(), logits.sigmoid(), target, strict=True):
            shared = sum(float(a) for a, b in zip(p.flatten(), t.flatten(), strict=True) if b)
            squares = sum(float(a) ** 2 for a in p.flatten()) + 1e-3 + float(t.sum()) + 1e-3
            assert loss == pytest.approx(1 - 2 * shared / squares, abs=1e-5)


class TestLosses:
    def test_a_batch_without_objects_trains_the_classes_only(self) -> None:
        solo = detector().train()
        losses = losses_of(solo, targets_of([], []))
        assert losses["classification"] > 0 and losses["mask"] == 0
        torch.stack([*losses.values()]).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in solo.head.parameters())

    def test_are_those_of_a_plain_computation(self) -> None:
        solo = detector()
        targets = targets_of([[8, 8, 40, 40], [20, 4, 60, 30]], [[30, 30, 50, 44]])
        with torch.no_grad():
            out = solo.predict(solo.features(images(2)), targets.image_sizes)
            losses = solo.losses(out, targets)
            expected = plain_losses(solo, out, targets)
        assert losses["mask"].item() == pytest.approx(expected[0], rel=1e-5)
        assert losses["classification"].item() == pytest.approx(expected[1], rel=1e-5)

    def test_data_without_masks_is_refused(self) -> None:
        with pytest.raises(DataError, match="trains masks, but the data has none"):
            losses_of(detector(), targets_of([[8, 8, 40, 40]])._replace(masks=None))

    def test_bfloat16_gives_nearly_the_same(self) -> None:
        solo, targets = detector(), targets_of([[8, 8, 40, 40]], [[30, 30, 50, 44]])
        exact = losses_of(solo, targets)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = losses_of(solo, targets)
        torch.stack([*rounded.values()]).sum().backward()
        for name, value in exact.items():
            assert rounded[name].item() == pytest.approx(value.item(), rel=0.05)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in solo.parameters())


def losses_of(solo: Solo, targets: Targets) -> dict[str, Tensor]:
    features = solo.features(images(len(targets.boxes)))
    return solo.losses(solo.predict(features, targets.image_sizes, targets), targets)


def images(count: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, 64, 64)


def plain_losses(solo: Solo, out: SoloOutputs, targets: Targets) -> tuple[float, float]:
    """Compute the mask and the class loss cell by cell, from the masks of all cells, as the reference does."""
    assert targets.masks is not None
    dice, focal, num_positives = 0.0, 0.0, 0
    for level, (grid, px) in enumerate(zip(GRIDS, (4, 4, 8, 16, 16), strict=True)):
        logits = solo.head.conv_mask_list[level](out.mask_features[level])  # (N, G^2, H, W)
        for image, (boxes, labels, masks) in enumerate(zip(targets.boxes, targets.labels, targets.masks, strict=True)):
            labels_here = torch.full((grid, grid), -1)
            owner: dict[tuple[int, int], Tensor] = {}
            for box, label, mask in zip(boxes, labels, masks, strict=True):
                width, height = float(box[2] - box[0]), float(box[3] - box[1])
                lower, upper = 24 * 2**level / 4, 24 * 2**level
                if not (lower if level else 0) <= math.sqrt(width * height) <= (upper if level < 4 else math.inf):
                    continue
                rows, columns = mask.nonzero().float().mean(0).tolist()
                span = {}
                for name, centre, side in (("row", rows, height), ("column", columns, width)):
                    ends = [math.floor((centre + sign * 0.1 * side) / 64 * grid) for sign in (-1, 1)]
                    own = math.floor(centre / 64 * grid)
                    span[name] = range(max(0, ends[0], own - 1), min(grid - 1, ends[1], own + 1) + 1)
                for row in span["row"]:
                    for column in span["column"]:
                        labels_here[row, column] = label
                        owner[row, column] = mask
            for (row, column), mask in owner.items():
                size = logits.shape[2:]
                small = functional.interpolate(mask[None, None].float(), size=size, mode="bilinear")[0] >= 0.5
                assert size == (64 // px, 64 // px)
                dice += float(dice_losses(logits[image, row * grid + column][None], small))
            num_positives += len(owner)
            wanted = functional.one_hot(labels_here + 1, NUM_CLASSES + 1)[..., 1:].view(-1, NUM_CLASSES)
            p = out.logits[level][image].sigmoid()
            focal += float(-(wanted * 0.25 * (1 - p) ** 2 * p.log()).sum())
            focal += float(-((1 - wanted) * 0.75 * p**2 * (1 - p).log()).sum())
    return 3 * dice / num_positives, focal / (num_positives + 1)


class TestMatrixNms:
    def test_factors_are_those_of_the_formula(self) -> None:
        torch.manual_seed(0)
        masks, labels = torch.rand(12, 50) > 0.4, torch.randint(0, 2, (12,))
        factors = matrix_nms_factors(masks, labels, sigma=2.0).tolist()

        def overlap(i: int, j: int) -> float:
            return float((masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()) * float(labels[i] == labels[j])

        for j in range(12):
            most = [max((overlap(k, i) for k in range(i)), default=0.0) for i in range(j)]
            decays = [math.exp(-2 * overlap(i, j) ** 2) / math.exp(-2 * most[i] ** 2) for i in range(j)]
            assert factors[j] == pytest.approx(min(decays, default=1.0), rel=1e-5)

    def test_a_copy_is_lowered_and_another_class_is_not(self) -> None:
        mask = torch.zeros(3, 10, dtype=torch.bool)
        mask[:, :5] = True
        factors = matrix_nms_factors(mask, torch.tensor([0, 0, 1]), sigma=2.0)
        assert factors.tolist() == pytest.approx([1, math.exp(-2), 1])

    def test_no_masks_give_no_factors(self) -> None:
        empty = torch.zeros(0, 10, dtype=torch.bool)
        assert matrix_nms_factors(empty, torch.zeros(0, dtype=torch.int64), sigma=2.0).shape == (0,)


class TestSelection:
    def test_only_the_highest_of_neighbouring_cells_remains(self) -> None:
        scores = torch.tensor([[[0.2, 0.5, 0.1], [0.3, 0.4, 0.9], [0.6, 0.1, 0.2]]])
        # A cell is compared with its left, upper and upper left neighbour.
        assert peak_scores(scores)[0].tolist() == [
            pytest.approx([0.2, 0.5, 0]),
            pytest.approx([0.3, 0, 0.9]),
            pytest.approx([0.6, 0, 0]),
        ]

    def test_boxes_end_where_masks_fall_to_one_half(self) -> None:
        mask = torch.zeros(1, 6, 8)
        mask[0, 2:4, 3:5] = 1
        mask[0, 2:4, 5] = 0.25
        mask[0, 0, 0] = 0.4
        # Between 1 and 0.25 the half is two thirds of a cell behind the centre of the last cell.
        assert boxes_around(mask)[0].tolist() == pytest.approx([3, 2, 4.5 + 2 / 3, 4])
        whole = torch.ones(1, 6, 8)
        assert boxes_around(whole)[0].tolist() == [0, 0, 8, 6]

    def test_a_score_is_class_times_certainty(self) -> None:
        mask = torch.zeros(1, 8, 8)
        mask[0, 2:4, 2:4] = torch.tensor([[0.6, 0.8], [0.8, 1.0]])
        found = select_masks(candidates(mask, [0.5]), (32, 32), score_threshold=0, max_detections=10)
        assert found.scores.tolist() == pytest.approx([0.5 * 0.8])

    def test_small_masks_and_low_scores_are_left_out(self) -> None:
        masks = torch.zeros(3, 8, 8)
        masks[0, :4, :4] = masks[1, 4:, 4:] = 1
        masks[2, 0, 7] = 1
        few = candidates(masks, [0.5, 0.02, 0.9])._replace(least_cells=torch.tensor([8, 8, 1]))
        found = select_masks(few, (32, 32), score_threshold=0.05, max_detections=10)
        assert found.scores.tolist() == [0.5]
        assert found.boxes_xyxy_px.tolist() == [[0, 0, 16, 16]]

    def test_masks_in_the_padding_only_are_left_out(self) -> None:
        masks = torch.zeros(2, 8, 8)
        masks[0, :, 6:] = masks[1, 1:4, 1:7] = 1
        found = select_masks(candidates(masks, [0.9, 0.5]), (30, 22), score_threshold=0, max_detections=10)
        assert found.scores.tolist() == [0.5]
        assert found.boxes_xyxy_px.tolist() == [[4, 4, 22, 16]]

    def test_no_candidates_give_no_detections(self) -> None:
        found = select_masks(candidates(torch.zeros(0, 8, 8), []), (32, 32), score_threshold=0, max_detections=10)
        assert found.boxes_xyxy_px.shape == (0, 4) and found.masks is not None and len(found.masks) == 0

    @pytest.mark.parametrize(("side_px", "least_iou"), [(40, 0.98), (100, 0.98), (200, 0.985), (400, 0.985)])
    def test_little_of_a_mask_is_lost_by_cutting_it_to_its_box(self, side_px: int, least_iou: float) -> None:
        """The whole mask, enlarged to pixels, is compared with the mask that is cut to its box and pasted back."""
        for shape in (ellipse, star):
            probabilities = functional.avg_pool2d(shape(side_px, 448)[None].float(), CELL_PX)
            found = select_masks(candidates(probabilities, [0.9]), (448, 448), score_threshold=0, max_detections=1)
            assert found.masks is not None
            cut = paste(found.masks, found.boxes_xyxy_px, (448, 448)).decode()[0].bool()
            whole = functional.interpolate(probabilities[None], scale_factor=CELL_PX, mode="bilinear")[0, 0] > 0.5
            assert (cut & whole).sum() / (cut | whole).sum() > least_iou


def candidates(masks: Tensor, scores: list[float]) -> MaskCandidates:
    """Return candidates of different classes, so that matrix NMS lowers nothing."""
    count = len(masks)
    return MaskCandidates(masks, torch.tensor(scores), torch.arange(count), torch.zeros(count))


def ellipse(side: int, size: int) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return ((xs - 230) / side * 2) ** 2 + ((ys - 220) / side * 3) ** 2 < 1


def star(side: int, size: int) -> Tensor:
    ys, xs = torch.meshgrid(torch.arange(size) - 220.5, torch.arange(size) - 230.5, indexing="ij")
    return (xs**2 + ys**2).sqrt() < side / 2 * (0.6 + 0.4 * torch.cos(5 * torch.atan2(ys, xs)))


@slow("tests/acceptance/test_overfit.py::test_overfits_eight_images")
def test_it_finds_the_shapes_that_it_learnt() -> None:
    """Overfits two images of three objects each in a few steps, and finds each with its class and mask."""
    torch.manual_seed(0)
    targets = targets_of([[4, 6, 34, 30], [38, 36, 60, 60], [40, 2, 62, 20]], [[10, 30, 40, 62], [44, 6, 60, 28]])
    pictures = torch.zeros(2, 3, 64, 64)
    assert targets.masks is not None
    for picture, masks, labels in zip(pictures, targets.masks, targets.labels, strict=True):
        for mask, label in zip(masks, labels, strict=True):
            picture[label] += mask
    solo = detector(fpn_width=32, tower_depth=2).train()
    optimizer = torch.optim.AdamW(solo.parameters(), lr=2e-3)
    for _ in range(150):
        losses = solo.losses(solo.predict(solo.features(pictures), targets.image_sizes, targets), targets)
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimizer.step()
    solo.eval()
    with torch.no_grad():
        detections = solo.detect(solo.predict(solo.features(pictures), targets.image_sizes), targets.image_sizes)
    for found, labels, masks in zip(detections, targets.labels, targets.masks, strict=True):
        assert found.masks is not None
        pasted = paste(found.masks, found.boxes_xyxy_px, (64, 64)).decode().bool()
        for label, mask in zip(labels, masks.bool(), strict=True):
            ious = [(own & mask).sum() / (own | mask).sum() for own in pasted[found.labels == label]]
            assert max(ious, default=torch.tensor(0.0)) > 0.8
