"""Random changes of training images: which images they change, and that all objects stay at their places."""

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle

import numpy as np
import pytest
import torch
from torch import Tensor

from fgd_core.data.altered import Altered
from fgd_core.data.augments import AUGMENTS, augmented
from fgd_core.data.combining import Draw
from fgd_core.data.examples import MIN_SIDE_PX, Example, chosen, cropped, resized_to
from fgd_core.data.loading import Batch, TrainLoader
from fgd_core.data.pictures import picture_folder
from fgd_core.data.shapes import ShapesDataset
from fgd_core.errors import DataError
from fgd_core.spec.augments import (
    AugmentSpec,
    CopyPaste,
    GaussianNoise,
    LargeScaleJitter,
    MixUp,
    Mosaic,
    PhotometricJitter,
    RandomCrop,
    VerticalFlip,
)
from fgd_core.spec.data import DEPTH, IMAGE, InputSpec, Shapes
from fgd_core.spec.evaluation import AlteredImages
from fgd_core.spec.kinds.train import TrainSpec

HEIGHT, WIDTH = 60, 80
BOXES = torch.tensor([[10.0, 20, 50, 44], [70, 50, 78, 58]])
OTHER_BOXES = torch.tensor([[4.0, 6, 40, 50], [44, 4, 76, 24], [50, 30, 70, 56]])
COLOURS = torch.tensor([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0], [0, 200, 200]], dtype=torch.uint8)
"""Of the objects, by label."""

SPECS: Mapping[type[AugmentSpec], AugmentSpec] = {
    GaussianNoise: GaussianNoise(images="all"),
    RandomCrop: RandomCrop(images="all"),
    VerticalFlip: VerticalFlip(),
    PhotometricJitter: PhotometricJitter(),
    LargeScaleJitter: LargeScaleJitter(),
    Mosaic: Mosaic(),
    MixUp: MixUp(),
    CopyPaste: CopyPaste(probability=1, share=0.6),
}
"""An instance of each change that often changes an image."""


def example(
    boxes: Tensor = BOXES, *, first_label: int = 0, is_all_small: bool = False, keypoints: bool = False
) -> Example:
    """Return a grey image whose objects are rectangles, each of the colour of its label, with a keypoint in the middle
    and one in the upper left corner."""
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
    labels = torch.arange(len(boxes)) + first_label
    image = torch.full((3, HEIGHT, WIDTH), 128, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2), label in zip(masks, boxes.int().tolist(), labels.tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
        image[:, y1:y2, x1:x2] = COLOURS[label][:, None, None]
    points = torch.stack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, :2] + 1], dim=1)  # (n, 2, 2)
    visible = torch.cat([points, torch.full((len(boxes), 2, 1), 2.0)], dim=2)
    return Example({IMAGE: image, "other": image}, boxes, labels, masks, is_all_small, visible if keypoints else None)


def changed(
    spec: AugmentSpec, given: Example, seed: int = 0, another: Callable[[], Example] | None = None, **of_input: int
) -> Example:
    keypoints = given.keypoints is not None
    others = another or (lambda: example(OTHER_BOXES, first_label=2, keypoints=keypoints))
    size = InputSpec(**{"shorter_px": HEIGHT, "longer_px": WIDTH, **of_input})
    return augmented(given, [(spec, Draw(np.random.default_rng(seed), size, lambda _: others()))])


def box_of(mask: Tensor) -> Tensor:
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.type)
class TestAnyAugment:
    def test_is_a_pure_function_of_its_generator(self, spec: AugmentSpec) -> None:
        first, again = (changed(spec, example(), seed=7) for _ in range(2))
        assert torch.equal(first.image, again.image) and torch.equal(first.boxes, again.boxes)
        assert not all(torch.equal(changed(spec, example(), seed=seed).image, example().image) for seed in range(3))

    def test_leaves_the_given_example_as_it_is(self, spec: AugmentSpec) -> None:
        given, untouched = example(), example()
        for seed in range(5):
            changed(spec, given, seed=seed)
        assert torch.equal(given.image, untouched.image) and torch.equal(given.boxes, untouched.boxes)

    def test_keeps_the_boxes_of_the_masks(self, spec: AugmentSpec) -> None:
        # Masks have whole pixels: where an image is resized, its boxes are up to a pixel away.
        away_px = 1.0 if spec.type in ("large_scale_jitter", "mosaic") else 0.0
        for seed in range(20):
            given = changed(spec, example(), seed=seed)
            assert given.masks is not None and given.masks.shape[1:] == given.size_px
            for mask, box in zip(given.masks, given.boxes, strict=True):
                assert (box_of(mask) - box).abs().max() <= away_px

    def test_shows_each_object_under_its_mask(self, spec: AugmentSpec) -> None:
        if spec.type in ("photometric_jitter", "mixup"):
            pytest.skip("changes colours on purpose")
        for seed in range(20):
            given = changed(spec, example(), seed=seed)
            assert given.masks is not None
            for mask, label in zip(given.masks, given.labels.tolist(), strict=True):
                if mask.sum() < 60:
                    continue  # Resizing blends nearly all of its pixels with their neighbours.
                middle = given.image[:, mask.bool()].float().median(1).values
                assert (middle - COLOURS[label].float()).abs().max() <= 30, (seed, label)

    def test_keeps_visible_keypoints_on_their_objects(self, spec: AugmentSpec) -> None:
        if not spec.suits_keypoints:
            pytest.skip("refused with keypoints")
        num_points = 0
        for seed in range(10):
            given = changed(spec, example(keypoints=True), seed=seed)
            assert given.keypoints is not None and len(given.keypoints) == len(given.boxes)
            for points, box in zip(given.keypoints, given.boxes, strict=True):
                for x, y, visibility in points.tolist():
                    if visibility == 2:
                        num_points += 1
                        assert box[0] - 0.01 <= x <= box[2] + 0.01 and box[1] - 0.01 <= y <= box[3] + 0.01
        assert num_points > 10

    def test_changes_all_pictures_alike(self, spec: AugmentSpec) -> None:
        if spec.type == "photometric_jitter":
            pytest.skip("changes the image alone")
        given = changed(spec, example(), seed=3)
        assert torch.equal(given.pictures["other"], given.image)


def test_each_augment_is_tested() -> None:
    assert SPECS.keys() == AUGMENTS.keys()


class TestNoise:
    def test_has_the_given_deviation_and_probability(self) -> None:
        spec, given = GaussianNoise(probability=0.3, deviation=0.08, images="all"), example(torch.zeros(0, 4))
        images = [changed(spec, given, seed=seed).image for seed in range(200)]
        noisy = [image for image in images if image.float().std() > 0]
        assert 40 <= len(noisy) <= 80
        assert noisy[0].float().std().item() == pytest.approx(0.08 * 255, rel=0.05)

    def test_changes_only_images_whose_boxes_are_all_small(self) -> None:
        spec = GaussianNoise(probability=1)
        small = example(is_all_small=True)
        assert not torch.equal(changed(spec, small).image, small.image)
        assert changed(spec, given := example()) is given


class TestCrop:
    def test_leaves_images_whose_boxes_are_all_small(self) -> None:
        given = example(is_all_small=True)
        assert changed(RandomCrop(), given) is given

    def test_has_sides_between_the_smallest_and_the_whole(self) -> None:
        sizes = [changed(RandomCrop(images="all"), example(), seed=seed).size_px for seed in range(100)]
        assert all(
            0.8 * HEIGHT - 1 <= height <= HEIGHT and 0.8 * WIDTH - 1 <= width <= WIDTH for height, width in sizes
        )
        assert len(set(sizes)) > 50

    def test_clips_boxes_and_drops_objects_outside(self) -> None:
        part = cropped(example(), (10, 20), (30, 40))
        assert part.boxes.tolist() == [[0, 10, 30, 30]] and part.labels.tolist() == [0]

    def test_that_would_lose_all_objects_is_not_made(self) -> None:
        given = example(torch.tensor([[0.0, 0, 1, 1]]))
        parts = [changed(RandomCrop(min_side=0.1, images="all"), given, seed=seed) for seed in range(50)]
        assert all(len(part.labels) == 1 for part in parts)


class TestVerticalFlip:
    def test_turns_the_image_upside_down(self) -> None:
        given = changed(VerticalFlip(probability=1), example())
        assert torch.equal(given.image, example().image.flip(1))
        assert given.boxes.tolist() == [[10, 16, 50, 40], [70, 2, 78, 10]]

    def test_is_refused_for_keypoints_by_name(self) -> None:
        spec = {
            "name": "a",
            "data": {"type": "shapes"},
            "input": {"augment": [{"type": "vertical_flip"}]},
            "detector": {"type": "keypoint_rcnn", "num_keypoints": 5},
        }
        with pytest.raises(ValueError, match=r"vertical_flip, which does not suit the keypoints of detector; leave it"):
            TrainSpec.model_validate(spec)


class TestPhotometricJitter:
    def test_changes_the_image_and_no_other_picture(self) -> None:
        given = changed(PhotometricJitter(probability=1), example())
        assert not torch.equal(given.image, example().image)
        assert torch.equal(given.pictures["other"], example().image)

    @pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
    def test_of_one_kind_changes_only_this(self, name: str) -> None:
        nothing = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
        given = changed(PhotometricJitter(probability=1, **{**nothing, name: 0.4}), example(), seed=1)
        grey, object_ = given.image[:, 0, 0].int().tolist(), given.image[:, 30, 30].int().tolist()
        assert (abs(grey[0] - 128) > 1) == (name in ("brightness", "contrast"))
        assert object_ != [200, 0, 0]

    def test_without_bounds_changes_nothing_but_rounding(self) -> None:
        spec = PhotometricJitter(probability=1, brightness=0, contrast=0, saturation=0, hue=0)
        assert (changed(spec, example()).image.int() - example().image.int()).abs().max() <= 1


class TestLargeScaleJitter:
    def test_has_sides_up_to_the_usual_size(self) -> None:
        sizes = [changed(LargeScaleJitter(), example(), seed=seed, longer_px=2 * WIDTH).size_px for seed in range(40)]
        assert all(height <= HEIGHT and width <= WIDTH for height, width in sizes)
        assert sum(size == (HEIGHT, WIDTH) for size in sizes) > 10
        assert min(sizes)[0] < 0.4 * HEIGHT

    def test_resizes_the_original_once(self) -> None:
        """A factor of 2 on a size of one half shows the pixels of the original."""
        fine = torch.arange(HEIGHT * WIDTH, dtype=torch.int64).reshape(HEIGHT, WIDTH) % 251
        given = example()._replace(pictures={IMAGE: fine.to(torch.uint8).expand(3, -1, -1)})
        found = changed(LargeScaleJitter(scale=(2, 2)), given, shorter_px=32, longer_px=WIDTH)
        whole = resized_to(given, (64, 86)).image
        assert found.size_px == (32, 43)
        places = [
            (row, column)
            for row in range(64 - 32 + 1)
            for column in range(86 - 43 + 1)
            if torch.equal(whole[:, row : row + 32, column : column + 43], found.image)
        ]
        assert len(places) == 1

    def test_drops_objects_that_become_too_small(self) -> None:
        found = changed(LargeScaleJitter(scale=(0.2, 0.2)), example())
        assert found.labels.tolist() == [0]
        assert (found.boxes[:, 2:] - found.boxes[:, :2]).min() >= MIN_SIDE_PX

    def test_is_refused_twice_by_name(self) -> None:
        twice = {"augment": [{"type": "large_scale_jitter"}] * 2}
        with pytest.raises(ValueError, match=r"resizes images 2 times \(large_scale_jitter, large_scale_jitter\)"):
            InputSpec.model_validate(twice)


def four_examples() -> Iterator[Example]:
    """Yield images of one object each, which fills them."""
    for label in cycle((1, 2, 3)):
        yield example(torch.tensor([[0.0, 0, WIDTH, HEIGHT]]), first_label=label)


class TestMosaic:
    def test_shows_four_images_around_the_point(self) -> None:
        others = four_examples()
        own = example(torch.tensor([[0.0, 0, WIDTH, HEIGHT]]))
        spec = Mosaic(scale=(1, 1), centre=(0.5, 0.5))
        given = changed(spec, own, another=lambda: next(others))
        assert given.size_px == (HEIGHT, WIDTH)
        assert given.boxes.tolist() == [[0, 0, 40, 30], [40, 0, 80, 30], [0, 30, 40, 60], [40, 30, 80, 60]]
        assert given.labels.tolist() == [0, 1, 2, 3]
        corners = given.image[:, [0, 0, -1, -1], [0, -1, 0, -1]].T
        assert torch.equal(corners, COLOURS[:4])

    def test_is_filled_with_the_mean_colour_beside_small_images(self) -> None:
        given = changed(Mosaic(scale=(0.25, 0.25), centre=(0.5, 0.5)), example(torch.zeros(0, 4)))
        assert given.image[:, 0, 0].tolist() == [124, 116, 104]
        assert given.image[:, HEIGHT // 2 - 1, WIDTH // 2 - 1].tolist() == [128, 128, 128]

    def test_drops_objects_cut_to_a_sliver(self) -> None:
        """The upper left quarter shows columns 40 to 80 of the image."""
        own = example(torch.tensor([[30.0, 40, 41.5, 50], [30, 40, 44, 50]]))
        nothing = example(torch.zeros(0, 4))
        given = changed(Mosaic(scale=(1, 1), centre=(0.5, 0.5)), own, another=lambda: nothing)
        assert given.boxes.tolist() == [[0, 10, 4, 20]]
        assert given.labels.tolist() == [1]

    def test_with_the_point_in_a_corner_shows_one_image(self) -> None:
        given = changed(Mosaic(scale=(1, 1), centre=(1, 1)), example())
        assert torch.equal(given.image, example().image) and given.labels.tolist() == [0, 1]


class TestMixUp:
    def test_blends_the_images_and_keeps_all_objects(self) -> None:
        given = changed(MixUp(probability=1), example())
        assert given.labels.tolist() == [0, 1, 2, 3, 4]
        assert given.boxes.tolist() == [*BOXES.tolist(), *OTHER_BOXES.tolist()]
        share = given.image[0, 22, 12] / 200  # The first object is red, and the blue object there is not.
        assert 0.3 < share < 0.7
        assert (given.image[2, 22, 12] / 200 - (1 - share)).abs() < 0.02

    def test_has_shares_of_the_whole_range_with_a_small_alpha(self) -> None:
        shares = [changed(MixUp(probability=1, alpha=0.2), example(), seed=seed).image[0, 22, 12] for seed in range(40)]
        assert min(shares) < 10 and max(shares) > 190


class TestCopyPaste:
    COVER = torch.tensor([[30.0, 10, 60, 58]])

    def test_covers_pixels_masks_boxes_and_keypoints(self) -> None:
        spec = CopyPaste(probability=1, share=1)
        given = changed(
            spec,
            example(torch.tensor([[10.0, 20, 50, 44], [62, 50, 78, 58]]), keypoints=True),
            another=lambda: example(self.COVER, first_label=2, keypoints=True),
        )
        assert given.labels.tolist() == [0, 1, 2]
        assert given.boxes.tolist() == [[10, 20, 30, 44], [62, 50, 78, 58], [30, 10, 60, 58]]
        assert given.masks is not None and given.masks.sum(0).max() == 1
        assert given.keypoints is not None
        assert given.keypoints[..., 2].tolist() == [[1, 2], [2, 2], [2, 2]]
        assert given.image[:, 30, 40].tolist() == COLOURS[2].tolist()

    def test_drops_objects_that_are_no_longer_visible(self) -> None:
        hidden = example(torch.tensor([[32.0, 20, 50, 44], [10, 10, 31, 20]]))
        given = changed(CopyPaste(probability=1, share=1), hidden, another=lambda: example(self.COVER, first_label=2))
        assert given.labels.tolist() == [1, 2]

    def test_copies_the_given_share_of_objects(self) -> None:
        spec = CopyPaste(probability=1, share=0.5)
        counts = [int((changed(spec, example(), seed=seed).labels >= 2).sum()) for seed in range(60)]
        assert set(counts) == {0, 1, 2, 3} and 1.2 < np.mean(counts) < 1.8

    def test_without_masks_is_refused_by_name(self) -> None:
        with pytest.raises(DataError, match="copy_paste, which copies objects by their masks, but some objects of the"):
            changed(CopyPaste(), example()._replace(masks=None))


ALL = (
    PhotometricJitter(),
    LargeScaleJitter(scale=(0.5, 1.5)),
    Mosaic(probability=0.5, until_epoch=1),
    MixUp(),
    CopyPaste(probability=1),
)
INPUT = InputSpec(shorter_px=64, longer_px=64, train_shorter_px=(48, 96), train_shorter_from="range", augment=ALL)


@pytest.fixture(scope="module")
def dataset() -> ShapesDataset:
    shapes = Shapes(num_train=13, num_val=1, image_size_px=64)
    return ShapesDataset(shapes, "train", with_masks=True, with_keypoints=True)


class TestBatches:
    def loader(self, dataset: ShapesDataset, spec: InputSpec = INPUT, *, workers: int = 0) -> TrainLoader:
        return TrainLoader(dataset, spec, batch_size=4, seed=0, workers=workers)

    def test_are_the_same_when_an_epoch_resumes_with_workers(self, dataset: ShapesDataset) -> None:
        whole = [[*self.loader(dataset).epoch(epoch)] for epoch in (0, 1)]
        resumed = self.loader(dataset, workers=2)
        for epoch in (1, 0):
            for one, other in zip(whole[epoch][1:], resumed.epoch(epoch, 1), strict=True):
                assert_equal(one, other)
        resumed.close()
        assert len({size for batch in whole[1] for size in batch.image_sizes}) > 4

    def test_end_a_change_after_its_epochs(self, dataset: ShapesDataset) -> None:
        spec = INPUT.model_copy(update={"augment": (Mosaic(until_epoch=1),)})
        plain = INPUT.model_copy(update={"augment": ()})
        for epoch, is_same in ((0, False), (1, True)):
            pairs = zip(self.loader(dataset, spec).epoch(epoch), self.loader(dataset, plain).epoch(epoch), strict=True)
            assert all(torch.equal(one.images, other.images) == is_same for one, other in pairs)

    def test_without_masks_still_copy_objects(self, dataset: ShapesDataset) -> None:
        spec = INPUT.model_copy(update={"augment": (CopyPaste(probability=1, share=1),)})
        loader = TrainLoader(dataset, spec, batch_size=4, seed=0, workers=0, with_masks=False)
        batches = [*loader.epoch(0)]
        plain = [*self.loader(dataset, INPUT.model_copy(update={"augment": ()})).epoch(0)]
        assert all(batch.masks is None for batch in batches)
        assert sum(len(boxes) for batch in batches for boxes in batch.boxes) > 1.3 * sum(
            len(boxes) for batch in plain for boxes in batch.boxes
        )

    def test_of_drawn_depth_show_the_objects_of_the_image(self) -> None:
        shapes = Shapes(num_train=8, depth=True, image_size_px=64)
        dataset = ShapesDataset(shapes, "train")
        depth = picture_folder(shapes, DEPTH, "train", dataset.samples)
        spec = INPUT.model_copy(update={"augment": (LargeScaleJitter(scale=(0.6, 1.5)), Mosaic())})
        loader = TrainLoader(dataset, spec, batch_size=4, seed=0, workers=0, pictures=[depth])
        for batch in (loaded.to("cpu") for loaded in loader.epoch(0)):
            for picture, boxes, (height, width) in zip(
                batch.pictures[DEPTH], batch.boxes, batch.image_sizes, strict=True
            ):
                outside = torch.ones(height, width, dtype=torch.bool)
                for x1, y1, x2, y2 in boxes.round().int().tolist():
                    outside[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = False
                    assert min(x2 - x1, y2 - y1) < 8 or picture[0, y1:y2, x1:x2].max() > -0.5
                # The mean colour, or black; only slivers of objects are brighter.
                assert (picture[0, :height, :width][outside] > 0.01).float().mean() <= 0.02


def assert_equal(one: Batch, other: Batch) -> None:
    assert one.image_ids == other.image_ids and one.seeds == other.seeds
    assert torch.equal(one.images, other.images)
    for name in ("boxes", "labels", "masks", "keypoints"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(one, name), getattr(other, name), strict=True))


def test_chosen_objects_keep_their_masks() -> None:
    given = chosen(example(), torch.tensor([False, True]))
    assert given.labels.tolist() == [1] and given.masks is not None and given.masks.sum() == 64


def test_an_altered_copy_is_the_same_each_time_and_near_its_image() -> None:
    dataset = ShapesDataset(Shapes(num_train=1, num_val=2), "val")
    one, again, other = (Altered(dataset, AlteredImages(), copy) for copy in (0, 0, 1))
    image, copy = dataset.load_image(1), one.load_image(1)
    assert torch.equal(copy, again.load_image(1))
    assert not torch.equal(copy, other.load_image(1))
    assert 0 < (copy.float() - image.float()).abs().mean() < 0.1 * 255
    assert one.samples is dataset.samples
