"""The order of images: rare classes come more often, batches have similar aspect ratios, epochs are reproducible."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from torch import Tensor

from fgd_core.data.epoch_order import EpochOrder, aspect_groups, repeat_factors
from fgd_core.data.loading import TrainLoader
from fgd_core.data.samples import Sample
from fgd_core.data.shapes import ShapesDataset
from fgd_core.data.training_share import training_share
from fgd_core.errors import DataError
from fgd_core.spec.augments import Mosaic
from fgd_core.spec.data import InputSpec, Sampling, Shapes

PLAIN = Sampling()


def sample(*labels: int, width: int = 40, height: int = 30, num_crowd: int = 0) -> Sample:
    """Return an image with these objects, the last of which are crowds."""
    is_crowd = np.arange(len(labels)) >= len(labels) - num_crowd
    boxes = np.tile(np.array([[0, 0, 5, 5]], np.float32), (len(labels), 1))
    return Sample(1, "a.png", height, width, boxes, np.array(labels, np.int64), is_crowd, np.full(len(labels), 25.0))


RARE = [sample(0) for _ in range(38)] + [sample(0, 1), sample(1, 2), sample()]
"""Of 41 images, 39 have class 0, 2 have class 1, and 1 has class 2."""


def images(order: EpochOrder, epoch: int) -> list[int]:
    return [place.image for batch in order.batches(epoch) for place in batch]


def order_of(samples: Sequence[Sample], sampling: Sampling = PLAIN, *, batch_size: int = 4) -> EpochOrder:
    return EpochOrder(samples, sampling, batch_size=batch_size, seed=3)


class TestPlainOrder:
    def test_is_the_permutation_that_it_always_was(self) -> None:
        expected = np.random.default_rng((0, 3, 5)).permutation(41)[:40].tolist()
        assert images(order_of(RARE), 5) == expected


class TestRepeatFactors:
    def test_are_those_of_the_rarest_class(self) -> None:
        factors = repeat_factors(RARE, 0.2)
        assert factors[:38].tolist() == [1.0] * 38
        assert factors[38:] == pytest.approx([(0.2 * 41 / 2) ** 0.5, (0.2 * 41) ** 0.5, 1], abs=1e-6)

    def test_ignore_crowds(self) -> None:
        assert repeat_factors([sample(0), sample(0, 1, num_crowd=1)], 1.0).tolist() == [1, 1]

    def test_are_the_mean_counts_of_images(self) -> None:
        order = order_of(RARE, Sampling(repeat_threshold=0.2), batch_size=1)
        counts = [Counter(images(order, epoch)) for epoch in range(300)]
        # 2.02 and 2.86 times; an epoch without an incomplete last batch may leave one out.
        assert {count[38] for count in counts} | {count[39] for count in counts} == {1, 2, 3}
        assert np.mean([count[39] for count in counts]) == pytest.approx(2.81, abs=0.08)
        assert all(count[0] <= 1 for count in counts)

    def test_give_all_epochs_the_same_number_of_steps(self) -> None:
        order = order_of(RARE, Sampling(repeat_threshold=0.2))
        assert order.steps_per_epoch == int(39 + 2.0248 + 2.8636) // 4
        assert {len(order.batches(epoch)) for epoch in range(50)} == {order.steps_per_epoch}

    def test_number_the_repetitions_of_an_image(self) -> None:
        order = order_of(RARE, Sampling(repeat_threshold=0.2), batch_size=1)
        found = sorted(place.repetition for batch in order.batches(0) for place in batch if place.image == 39)
        assert found == list(range(len(found))) and len(found) > 1

    def test_of_no_rare_class_change_only_the_order(self) -> None:
        order = order_of(RARE, Sampling(repeat_threshold=1e-9), batch_size=1)
        assert sorted(images(order, 0)) == list(range(41))


class TestFraction:
    def shown(self, fraction: float, seed: int = 3) -> set[int]:
        order = EpochOrder(RARE, Sampling(fraction=fraction), batch_size=1, seed=seed)
        return set(images(order, 0))

    def test_is_the_share_of_the_images_that_all_epochs_show(self) -> None:
        order = order_of(RARE, Sampling(fraction=0.3), batch_size=1)
        assert order.steps_per_epoch == len({*images(order, 0)}) == round(0.3 * 41)
        assert {*images(order, 0)} == {*images(order, 1)}

    def test_of_a_smaller_share_are_part_of_a_larger_one(self) -> None:
        assert self.shown(0.1) < self.shown(0.4) < self.shown(0.9) < self.shown(1.0) == {*range(41)}

    def test_shows_the_same_images_for_every_seed(self) -> None:
        assert self.shown(0.4, seed=1) == self.shown(0.4, seed=2)

    def test_counts_rare_classes_and_shapes_of_the_images_that_it_shows(self) -> None:
        samples = [sample(index % 20 // 19, width=(50, 200)[index % 2], height=100) for index in range(80)]
        sampling = Sampling(fraction=0.5, aspect_groups=3, repeat_threshold=0.5)
        order, shown = order_of(samples, sampling), training_share(80, sampling).tolist()
        factors = repeat_factors([samples[index] for index in shown], 0.5)
        assert order.steps_per_epoch == int(factors.sum()) // 4
        groups = aspect_groups(samples, 3)
        assert sum(np.ptp(groups[[place.image for place in batch]]) > 0 for batch in order.batches(0)) <= 1
        assert {*images(order, 0)} <= {*shown}


class TestAspectGroups:
    MIXED = tuple(sample(width=width, height=100) for width in (50, 75, 100, 133, 200, 400) for _ in range(9))

    def test_are_logarithmic_steps(self) -> None:
        widths = (25, 50, 70, 71, 100, 141, 142, 199, 200)
        groups = aspect_groups([sample(width=width, height=100) for width in widths], 2)
        assert groups.tolist() == [0, 1, 1, 2, 3, 3, 4, 4, 5]

    def test_are_the_same_within_nearly_all_batches(self) -> None:
        sampling, groups = Sampling(aspect_groups=3), aspect_groups(self.MIXED, 3)
        batches = order_of(self.MIXED, sampling).batches(0)
        spreads = [int(np.ptp(groups[[place.image for place in batch]])) for batch in batches]
        # 9 images of each group fill two batches of four; the six that are left over share the last one.
        assert len(batches) == 13 and spreads.count(0) == 12

    def test_show_each_image_at_most_once_and_leave_out_any(self) -> None:
        order = order_of(self.MIXED, Sampling(aspect_groups=3))
        shown = [images(order, epoch) for epoch in range(60)]
        assert all(len(set(epoch)) == len(epoch) == 52 for epoch in shown)
        assert set.intersection(*(set(range(54)) - set(epoch) for epoch in shown[:3])) == set()
        left = Counter(image // 9 for epoch in shown for image in set(range(54)) - set(epoch))
        assert left.keys() == set(range(6))

    def test_come_in_random_order(self) -> None:
        groups = aspect_groups(self.MIXED, 3)
        batches = order_of(self.MIXED, Sampling(aspect_groups=3)).batches(1)
        first = [int(groups[batch[0].image]) for batch in batches]
        assert first not in (sorted(first), sorted(first, reverse=True))

    def test_go_with_repeats(self) -> None:
        samples = [sample(index % 20 // 19, width=(50, 200)[index % 2], height=100) for index in range(40)]
        order = order_of(samples, Sampling(aspect_groups=3, repeat_threshold=0.5))
        groups = aspect_groups(samples, 3)
        for epoch in range(20):
            batches = order.batches(epoch)
            assert len(batches) == order.steps_per_epoch == int(38 + 2 * 10**0.5) // 4
            assert sum(np.ptp(groups[[place.image for place in batch]]) > 0 for batch in batches) <= 1


class TestLoader:
    SPEC = InputSpec(shorter_px=64, longer_px=64, sampling=Sampling(repeat_threshold=1.0, aspect_groups=1))

    def test_resumes_repeats_and_changes_them_differently(self) -> None:
        dataset = ShapesDataset(Shapes(num_train=10, image_size_px=64), "train")
        whole = [*TrainLoader(dataset, self.SPEC, batch_size=3, seed=0, workers=0).epoch(1)]
        resumed = [*TrainLoader(dataset, self.SPEC, batch_size=3, seed=0, workers=0).epoch(1, 2)]
        assert [batch.image_ids for batch in whole[2:]] == [batch.image_ids for batch in resumed]
        assert [batch.seeds for batch in whole[2:]] == [batch.seeds for batch in resumed]
        assert len(whole) > 10 // 3
        seeds: dict[int, set[int]] = {}
        for batch in whole:
            assert batch.seeds is not None
            for image, seed in zip(batch.image_ids, batch.seeds, strict=True):
                seeds.setdefault(image, set()).add(seed)
        assert sum(map(len, seeds.values())) == 3 * len(whole)

    def test_refuses_a_batch_larger_than_the_share_that_it_shows(self) -> None:
        dataset = ShapesDataset(Shapes(num_train=10, image_size_px=64), "train")
        spec = self.SPEC.model_copy(update={"sampling": Sampling(fraction=0.5)})
        with pytest.raises(DataError, match=r"split of 5 that input.sampling.fraction leaves; set .* to 5 or less"):
            TrainLoader(dataset, spec, batch_size=6, seed=0, workers=0)

    def test_combines_only_images_of_the_share(self) -> None:
        shown, read = {*training_share(10, Sampling(fraction=0.4)).tolist()}, set[int]()

        class Watched(ShapesDataset):
            def load_image(self, index: int) -> Tensor:
                read.add(index)
                return super().load_image(index)

        dataset = Watched(Shapes(num_train=10, image_size_px=64), "train")
        spec = self.SPEC.model_copy(update={"augment": (Mosaic(),), "sampling": Sampling(fraction=0.4)})
        loader = TrainLoader(dataset, spec, batch_size=1, seed=0, workers=0)
        assert {each.image_ids[0] for epoch in range(3) for each in loader.epoch(epoch)}
        assert read == shown
