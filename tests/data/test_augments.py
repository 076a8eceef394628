"""Random changes of training images: which images they change, and that boxes and masks stay on their objects."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fgd_core.data.augments import AUGMENTS, augmented
from fgd_core.data.examples import Example, cropped
from fgd_core.data.loading import TrainLoader
from fgd_core.data.shapes import ShapesDataset
from fgd_core.spec.augments import AugmentSpec, GaussianNoise, RandomCrop
from fgd_core.spec.data import IMAGE, InputSpec, Shapes

HEIGHT, WIDTH = 60, 80
BOXES = torch.tensor([[10.0, 20, 50, 44], [70, 50, 78, 58]])


def example(boxes: Tensor = BOXES, *, is_all_small: bool = False) -> Example:
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    pictures = {IMAGE: torch.full((3, HEIGHT, WIDTH), 128, dtype=torch.uint8)}
    return Example(pictures | {"other": pictures[IMAGE]}, boxes, torch.arange(len(boxes)), masks, is_all_small)


def changed(spec: AugmentSpec, given: Example, seed: int = 0) -> Example:
    return augmented(given, [(spec, np.random.default_rng(seed))])


class TestAnyAugment:
    @pytest.mark.parametrize("kind", AUGMENTS, ids=lambda kind: kind.__name__)
    def test_is_a_pure_function_of_its_generator(self, kind: type[AugmentSpec]) -> None:
        spec = kind(images="all")
        first, again = (changed(spec, example(), seed=7) for _ in range(2))
        assert torch.equal(first.image, again.image) and torch.equal(first.boxes, again.boxes)
        assert not all(torch.equal(changed(spec, example(), seed=seed).image, example().image) for seed in range(3))

    @pytest.mark.parametrize("kind", AUGMENTS, ids=lambda kind: kind.__name__)
    def test_keeps_the_boxes_of_the_masks(self, kind: type[AugmentSpec]) -> None:
        for seed in range(20):
            given = changed(kind(images="all"), example(), seed=seed)
            assert given.masks is not None and given.masks.shape[1:] == given.size_px
            for mask, box in zip(given.masks, given.boxes, strict=True):
                rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
                found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert torch.equal(found.float(), box.squeeze())

    @pytest.mark.parametrize("kind", AUGMENTS, ids=lambda kind: kind.__name__)
    def test_changes_all_pictures_alike(self, kind: type[AugmentSpec]) -> None:
        given = changed(kind(images="all"), example(), seed=3)
        assert torch.equal(given.pictures["other"], given.image)


class TestNoise:
    def test_has_the_given_deviation_and_probability(self) -> None:
        spec = GaussianNoise(probability=0.3, deviation=0.08, images="all")
        images = [changed(spec, example(), seed=seed).image for seed in range(200)]
        noisy = [image for image in images if image.float().std() > 0]
        assert 40 <= len(noisy) <= 80
        assert noisy[0].float().std().item() == pytest.approx(0.08 * 255, rel=0.05)

    def test_changes_only_images_whose_boxes_are_all_small(self) -> None:
        spec = GaussianNoise(probability=1)
        assert changed(spec, example(is_all_small=True)).image.float().std() > 0
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


def test_end_after_their_epochs() -> None:
    dataset = ShapesDataset(Shapes(num_train=4, num_val=1, image_size_px=64), "train")
    plain = InputSpec(shorter_px=64, longer_px=64)
    spec = plain.model_copy(update={"augment": (GaussianNoise(probability=1, images="all", until_epoch=1),)})
    epochs = [
        [
            next(TrainLoader(dataset, each, batch_size=4, seed=0, workers=0).epoch(epoch)).images
            for each in (plain, spec)
        ]
        for epoch in (0, 1)
    ]
    assert [torch.equal(*images) for images in epochs] == [False, True]
