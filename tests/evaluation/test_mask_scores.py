"""Mask AP, computed by hand for small cases and by pycocotools for real files, and the accuracy of pasting."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.nn import functional
from torchvision.ops import roi_align

from fgd_core.data import open_dataset
from fgd_core.data.masks import ObjectMasks, encode
from fgd_core.data.samples import Category, DetectionDataset, Sample, count, fingerprint
from fgd_core.data.shapes import ShapesDataset
from fgd_core.detectors import build_detector
from fgd_core.detectors.parts.region_pooling import crop_masks
from fgd_core.evaluation.coco import coco_scores, mask_scores
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.pasting import paste
from fgd_core.evaluation.samples import draw_samples
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import Coco, CocoSplit, Shapes
from fgd_core.spec.detectors import Convention, MaskRcnn
from fgd_core.spec.results import MaskScores

SIZE = (200, 200)
CAT, DOG = 0, 1


class Drawn:
    """A data set of masks; for each image, rows of (label, mask, is_crowd). Boxes enclose the masks."""

    def __init__(self, *images: Sequence[tuple[int, npt.NDArray[np.bool_], bool]]) -> None:
        self.categories = (Category(id=0, name="cat"), Category(id=40, name="dog"))
        self.samples = [_sample(image_id, rows) for image_id, rows in enumerate(images, start=100)]
        self.fingerprint = fingerprint(self.categories, self.samples)
        self.checked = count("val", self.categories, self.samples, [])

    def load_image(self, index: int) -> torch.Tensor:
        return torch.zeros(3, *SIZE, dtype=torch.uint8)


def _sample(image_id: int, rows: Sequence[tuple[int, npt.NDArray[np.bool_], bool]]) -> Sample:
    return Sample(
        image_id=image_id,
        file_name=f"{image_id}.png",
        height=SIZE[0],
        width=SIZE[1],
        boxes_xyxy_px=np.array([_box(mask) for _, mask, _ in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([label for label, _, _ in rows], dtype=np.int64),
        is_crowd=np.array([is_crowd for *_, is_crowd in rows], dtype=np.bool_),
        areas_px2=np.array([mask.sum() for _, mask, _ in rows], dtype=np.float64),
        masks=encode([mask for _, mask, _ in rows], SIZE),
    )


def _box(mask: npt.NDArray[np.bool_]) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def block(x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[y1:y2, x1:x2] = True
    return mask


def found(
    *rows: tuple[int, float, npt.NDArray[np.bool_]], boxes: Sequence[Sequence[float]] | None = None
) -> ImageDetections:
    """Build detections from rows of (label, score, mask); boxes enclose the masks unless given."""
    around = boxes if boxes is not None else [_box(mask) for *_, mask in rows]
    return ImageDetections(
        boxes_xyxy_px=torch.tensor(np.array(around, dtype=np.float32)).reshape(-1, 4),
        scores=torch.tensor([score for _, score, _ in rows]),
        labels=torch.tensor([label for label, *_ in rows], dtype=torch.int64),
        masks=encode([mask for *_, mask in rows], SIZE),
    )


def perfect(dataset: DetectionDataset) -> dict[int, ImageDetections]:
    return {
        s.image_id: ImageDetections(
            torch.from_numpy(s.boxes_xyxy_px), torch.ones(len(s.labels)), torch.from_numpy(s.labels), s.masks
        )
        for s in dataset.samples
    }


def nuclei(shared: Path, split: str) -> tuple[DetectionDataset, Path]:
    root = shared / "data" / "nuclei_small"
    if not root.is_dir():
        pytest.skip(f"no data set at {root}")
    annotations = root / f"annotations_{split}.json"
    part = CocoSplit(images=f"{root}/images", annotations=str(annotations))
    return open_dataset(Coco(train=part, val=part), "val", with_masks=True), annotations


class TestByHand:
    def test_true_masks_score_one(self) -> None:
        dataset = ShapesDataset(Shapes(num_val=20), "val", with_masks=True)
        scores = mask_scores(dataset, perfect(dataset))
        assert scores.ap == scores.ap50 == scores.ap75 == pytest.approx(1)
        assert {name: score.ap for name, score in scores.per_class.items()} == {
            category.name: pytest.approx(1) for category in dataset.categories
        }

    def test_true_masks_of_nuclei_score_one(self, shared: Path) -> None:
        dataset, _ = nuclei(shared, "val")
        scores = mask_scores(dataset, perfect(dataset))
        assert (scores.ap, scores.ap_small, scores.ap_medium) == (pytest.approx(1),) * 3
        assert scores.ap_large is None
        assert scores.per_class["nucleus"].num_boxes == 1053

    def test_a_mask_overlap_of_0_6_counts_at_three_of_ten_thresholds(self) -> None:
        dataset = Drawn([(CAT, block(10, 10, 50, 50), False)])
        one = {100: found((CAT, 1.0, block(10, 10, 34, 50)), boxes=[[10, 10, 50, 50]])}
        scores = mask_scores(dataset, one)
        assert (scores.ap, scores.ap50, scores.ap75) == (pytest.approx(0.3), pytest.approx(1), 0)
        assert coco_scores(dataset, one).ap == pytest.approx(1)

    def test_a_right_mask_in_a_wrong_box_is_right(self) -> None:
        dataset = Drawn([(CAT, block(10, 10, 50, 50), False)])
        one = {100: found((CAT, 1.0, block(10, 10, 50, 50)), boxes=[[10, 10, 34, 50]])}
        assert mask_scores(dataset, one).ap == pytest.approx(1)
        assert coco_scores(dataset, one).ap == pytest.approx(0.3)

    def test_one_detection_of_two_objects_after_a_false_positive(self) -> None:
        dataset = Drawn([(CAT, block(10, 10, 50, 50), False), (CAT, block(100, 100, 140, 140), False)])
        false_positive = (CAT, 0.9, block(60, 10, 90, 50))
        scores = mask_scores(dataset, {100: found(false_positive, (CAT, 0.5, block(10, 10, 50, 50)))})
        # Precision is 1/2 at the recall points 0.00 to 0.50 of 101, and nothing beyond.
        assert scores.ap == pytest.approx(51 / 101 / 2)

    def test_classes_are_scored_separately_and_none_without_objects(self) -> None:
        scores = mask_scores(
            Drawn([(CAT, block(10, 10, 50, 50), False)]), {100: found((CAT, 1.0, block(10, 10, 50, 50)))}
        )
        assert (scores.per_class["cat"].ap, scores.per_class["dog"].ap) == (pytest.approx(1), None)

    def test_masks_in_a_crowd_are_ignored(self) -> None:
        cat = (CAT, block(10, 10, 50, 50), False)
        crowd = (CAT, block(100, 100, 200, 200), True)
        in_crowd = (CAT, 0.9, block(110, 110, 130, 130))
        one = {100: found(in_crowd, (CAT, 0.5, block(10, 10, 50, 50)))}
        assert mask_scores(Drawn([cat, crowd]), one).ap == pytest.approx(1)
        assert mask_scores(Drawn([cat]), one).ap == pytest.approx(0.5)

    def test_a_false_positive_has_the_size_of_its_mask(self) -> None:
        dataset = Drawn([(CAT, block(10, 10, 20, 20), False)])
        # A small mask in a large box: among the small objects, the false positive has the highest score.
        false_positive = (CAT, 0.9, block(100, 100, 110, 110))
        one = {
            100: found(false_positive, (CAT, 0.5, block(10, 10, 20, 20)), boxes=[[60, 60, 199, 199], [10, 10, 20, 20]])
        }
        assert mask_scores(dataset, one).ap_small == pytest.approx(0.5)

    def test_no_detections_score_zero(self) -> None:
        assert mask_scores(Drawn([(CAT, block(10, 10, 50, 50), False)]), {}).ap == 0

    def test_detections_and_data_without_masks_are_refused(self) -> None:
        boxes_only = ImageDetections(torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, dtype=torch.int64))
        with pytest.raises(
            ValueError, match="image 100: mask scores need a mask, as run lengths, for each of the 2 boxes"
        ):
            mask_scores(Drawn([(CAT, block(10, 10, 50, 50), False)]), {100: boxes_only})
        with pytest.raises(ValueError, match="mask scores need a mask"):
            mask_scores(ShapesDataset(Shapes(num_val=3), "val"), {})


class TestAgainstPycocotools:
    def test_all_numbers_are_equal_on_real_files(self, shared: Path) -> None:
        dataset, annotations = nuclei(shared, "val")
        guessed = {sample.image_id: _imperfect(sample, seed) for seed, sample in enumerate(dataset.samples[:-3])}
        truth = COCO(str(annotations))
        rows = [
            {
                "image_id": image_id,
                "category_id": dataset.categories[label].id,
                "segmentation": {"size": mask["size"], "counts": mask["counts"].decode()},
                "score": score,
            }
            for image_id, one in guessed.items()
            for mask, score, label in zip(
                one.masks.as_run_lengths() if one.masks else [], one.scores.tolist(), one.labels.tolist(), strict=True
            )
        ]
        direct = COCOeval(truth, truth.loadRes(rows), "segm")
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
        scores = mask_scores(dataset, guessed)
        names = [name for name in MaskScores.model_fields if name != "per_class"]
        ours = [getattr(scores, name) for name in names]
        assert ours == [pytest.approx(value, abs=1e-12) if value >= 0 else None for value in direct.stats[:6]]
        assert 0.05 < ours[0] < 0.95
        assert scores.per_class["nucleus"].ap == pytest.approx(ours[0])


def _imperfect(sample: Sample, seed: int) -> ImageDetections:
    """Shift masks, drop some and duplicate some; many scores are equal."""
    assert sample.masks is not None
    rng = np.random.default_rng(seed)
    picked = rng.integers(len(sample.labels), size=len(sample.labels))
    masks = sample.masks.decode().numpy()[picked].astype(bool)
    shifted = [np.roll(mask, rng.integers(-2, 3, size=2), axis=(0, 1)) for mask in masks]
    return ImageDetections(
        torch.from_numpy(sample.boxes_xyxy_px[picked]),
        torch.from_numpy(rng.integers(1, 20, size=len(picked)) / 20),
        torch.from_numpy(sample.labels[picked]),
        encode(shifted, (sample.height, sample.width)),
    )


class TestPasting:
    def test_a_full_mask_fills_its_box(self) -> None:
        pasted = paste(torch.ones(1, 28, 28), torch.tensor([[4.0, 5, 14, 13]]), (30, 40)).decode()[0]
        expected = torch.zeros(30, 40, dtype=torch.uint8)
        expected[5:13, 4:14] = 1
        assert torch.equal(pasted, expected)

    def test_a_pixel_belongs_to_a_box_that_contains_its_centre(self) -> None:
        boxes = torch.tensor([[4.4, 5.6, 13.6, 13.4], [-3, -3, 2.5, 99], [39.4, 29.4, 40, 30]])
        pasted = paste(torch.ones(3, 28, 28), boxes, (30, 40)).decode()
        assert [_box(mask.numpy()) for mask in pasted] == [[4, 6, 14, 13], [0, 0, 2, 30], [39, 29, 40, 30]]

    def test_half_a_mask_covers_half_of_its_box(self) -> None:
        mask = torch.zeros(1, 28, 28)
        mask[:, :, :14] = 1
        pasted = paste(mask, torch.tensor([[10.0, 10, 30, 20]]), (30, 40)).decode()[0]
        assert _box(pasted.numpy()) == [10, 10, 20, 20]

    def test_boxes_without_a_pixel_have_empty_masks(self) -> None:
        boxes = torch.tensor([[4.6, 5, 5.4, 9], [7, 7, 7, 7], [50, 50, 60, 60], [-9, -9, -1, -1]])
        assert not paste(torch.ones(4, 28, 28), boxes, (30, 40)).decode().any()

    def test_no_boxes_have_no_masks(self) -> None:
        assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), (30, 40)).decode().shape == (0, 30, 40)

    def test_is_bilinear_sampling_at_the_centres_of_pixels(self) -> None:
        generator = torch.Generator().manual_seed(0)
        masks = functional.avg_pool2d(torch.rand(20, 30, 30, generator=generator), 3, stride=1)
        corners = torch.rand(20, 2, generator=generator) * 30 - 5
        boxes = torch.cat([corners, corners + 2 + torch.rand(20, 2, generator=generator) * 30], dim=1)
        rows, columns = (torch.arange(size) + 0.5 for size in (30, 40))
        pasted = paste(masks, boxes, (30, 40)).decode()
        for mask, (x1, y1, x2, y2), ours in zip(masks, boxes, pasted, strict=True):
            y, x = (rows - y1) / (y2 - y1) * 2 - 1, (columns - x1) / (x2 - x1) * 2 - 1
            grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
            probability = functional.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]
            is_clear = (probability - 0.5).abs() > 1e-4
            assert torch.equal(ours[is_clear] > 0, probability[is_clear] >= 0.5)

    def test_cropped_masks_of_nuclei_are_restored(self, shared: Path) -> None:
        dataset, _ = nuclei(shared, "val")
        for sample in dataset.samples[:4]:
            assert sample.masks is not None
            masks, boxes = sample.masks.decode(), torch.from_numpy(sample.boxes_xyxy_px)
            rois = torch.cat([torch.arange(len(boxes))[:, None].float(), boxes], dim=1)
            cropped = roi_align(masks[:, None].float(), rois, (28, 28), aligned=True)[:, 0]
            pasted = paste(cropped, boxes, (sample.height, sample.width)).decode()
            overlaps = (pasted & masks).sum((1, 2)) / (pasted | masks).sum((1, 2))
            assert overlaps.mean() > 0.999
            assert overlaps.min() > 0.9

    @pytest.mark.parametrize("convention", ["torchvision", "mmdetection"])
    def test_mask_targets_of_nuclei_are_pasted_at_their_position(self, shared: Path, convention: Convention) -> None:
        dataset, _ = nuclei(shared, "val")
        settings = MaskRcnn(backbone=ResNet(stem_width=4, blocks=(1, 1, 1, 1)), fpn_width=8, convention=convention)
        detector = build_detector(settings, 1)
        for sample in dataset.samples[:4]:
            assert sample.masks is not None
            masks, boxes = sample.masks.decode(), torch.from_numpy(sample.boxes_xyxy_px)
            is_aligned = convention == "mmdetection"
            learned = crop_masks(masks, boxes, torch.arange(len(boxes)), 28, aligned=is_aligned)
            pasted = paste(learned, boxes + detector.mask_offset_px, (sample.height, sample.width)).decode()
            overlaps = (pasted & masks).sum((1, 2)) / (pasted | masks).sum((1, 2))
            # Without the offset: 0.88 for torchvision.
            assert overlaps.mean() > 0.92


class TestPicture:
    @pytest.mark.parametrize("with_masks", [True, False])
    def test_shows_masks_if_there_are_any(self, *, with_masks: bool) -> None:
        dataset = Drawn([(CAT, block(40, 40, 160, 160), False)])
        seen = found((CAT, 0.9, block(40, 40, 160, 100)), boxes=[[40, 40, 160, 160]])
        if not with_masks:
            seen = seen._replace(masks=None)
        pixels = np.asarray(Image.open(io.BytesIO(draw_samples(dataset, {100: seen}))))
        side = 256
        truth, below = pixels[4 : 4 + side], pixels[8 + side :]
        inside, outside = (110 * side // 200, 4 + 100 * side // 200), (140 * side // 200, 4 + 100 * side // 200)
        assert truth[inside].any()
        assert truth[outside].any()
        assert below[80 * side // 200, 4 + 100 * side // 200].any() == with_masks
        assert not below[outside].any()

    def test_shows_the_better_of_two_masks_where_they_overlap(self) -> None:
        dataset = Drawn([(CAT, block(40, 40, 160, 160), False)])
        seen = found((CAT, 0.9, block(40, 40, 160, 160)), (DOG, 0.8, block(40, 40, 160, 160)))
        alone = found((CAT, 0.9, block(40, 40, 160, 160)))
        both, one = (np.asarray(Image.open(io.BytesIO(draw_samples(dataset, {100: each})))) for each in (seen, alone))
        middle = (8 + 256 + 140 * 256 // 200, 4 + 100 * 256 // 200)
        assert one[middle].any()
        assert (both[middle] == one[middle]).all()

    def test_shows_images_without_objects(self) -> None:
        empty = ImageDetections(
            torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), ObjectMasks(*SIZE, counts=())
        )
        assert draw_samples(Drawn([]), {100: empty})
