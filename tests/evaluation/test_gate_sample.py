"""The AP of a sample, with its interval, and the cache of teachers' APs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from fgd_core.cache_folder import VARIABLE
from fgd_core.data.samples import DetectionDataset
from fgd_core.data.shapes import ShapesDataset
from fgd_core.evaluation.ap_cache import remembered_ap
from fgd_core.evaluation.coco import coco_scores
from fgd_core.evaluation.gate_sample import TeacherAp, estimate_ap, sample_of
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.relabelled import mean_ap
from fgd_core.spec.data import Shapes
from fgd_core.spec.events import ApSample


def detections(dataset: DetectionDataset, seed: int) -> Mapping[int, ImageDetections]:
    """Find most boxes of most images, a few pixels off; how well differs from image to image."""
    draw = np.random.default_rng(seed)
    found = {}
    for sample in dataset.samples:
        is_found = draw.random(len(sample.labels)) < draw.uniform(0.3, 1)
        boxes = torch.from_numpy(sample.boxes_xyxy_px[is_found]) + torch.from_numpy(
            draw.normal(0, 2, (int(is_found.sum()), 4)).astype(np.float32)
        )
        scores = torch.from_numpy(draw.random(len(boxes)).astype(np.float32))
        found[sample.image_id] = ImageDetections(boxes, scores, torch.from_numpy(sample.labels[is_found]))
    return found


class TestSample:
    def test_the_interval_contains_the_ap_of_the_whole_split(self) -> None:
        dataset = ShapesDataset(Shapes(num_val=100), "val")
        classes = [category.name for category in dataset.categories]
        sample, hits = sample_of(dataset, 40), 0
        assert sample is not None
        for seed in range(8):
            found = detections(dataset, seed)
            estimated = estimate_ap(sample, found, classes)
            whole = mean_ap(coco_scores(dataset, found), classes)
            assert whole is not None and estimated.sample is not None
            assert 0.01 < estimated.sample.high - estimated.sample.low < 0.3
            hits += estimated.sample.low <= whole <= estimated.sample.high
        assert hits >= 7

    def test_the_images_depend_on_the_data_only(self) -> None:
        datasets = [ShapesDataset(Shapes(num_val=count), "val") for count in (40, 40, 41)]
        samples = [sample_of(dataset, 10) for dataset in datasets]
        ids = [[each.image_id for each in sample.samples] for sample in samples if sample is not None]
        assert ids[0] == ids[1] != ids[2]
        assert len({*ids[0]}) == 10 and ids[0] == sorted(ids[0])

    def test_it_shows_its_own_images(self) -> None:
        dataset = ShapesDataset(Shapes(num_val=20), "val")
        sample = sample_of(dataset, 5)
        assert sample is not None
        place = {each.image_id: index for index, each in enumerate(dataset.samples)}
        for index, each in enumerate(sample.samples):
            assert torch.equal(sample.load_image(index), dataset.load_image(place[each.image_id]))

    def test_a_small_split_has_none(self) -> None:
        assert sample_of(ShapesDataset(Shapes(num_val=10), "val"), 10) is None

    @pytest.mark.parametrize(
        ("ap", "low", "limit", "is_above"),
        [
            (0.40, 0.39, 0.38, True),
            (0.40, 0.37, 0.38, False),
            (0.40, 0.37, None, True),
            (0.0, 0.0, None, False),
            (0.0, 0.0, -0.01, False),
            (None, 0.0, None, False),
        ],
    )
    def test_it_only_accepts_where_the_whole_interval_does(
        self, ap: float | None, low: float, limit: float | None, is_above: bool
    ) -> None:
        found = TeacherAp(ap=ap, sample=ApSample(num_images=9, low=low, high=0.5))
        assert found.is_surely_above(limit) == is_above


class TestCache:
    def test_a_value_is_measured_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
        assert remembered_ap("key", lambda: {"ap": 0.25}) == {"ap": 0.25}
        assert remembered_ap("key", lambda: pytest.fail("measured again")) == {"ap": 0.25}
        assert remembered_ap("another", lambda: None) is None
        assert remembered_ap("another", lambda: pytest.fail("measured again")) is None

    @pytest.mark.parametrize("content", [b"", b'{"ap": 0.'])
    def test_a_damaged_file_is_measured_and_written_again(
        self, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(VARIABLE, str(tmp_path))
        (tmp_path / "teachers").mkdir()
        (tmp_path / "teachers/key.json").write_bytes(content)
        assert remembered_ap("key", lambda: 0.5) == 0.5
        assert remembered_ap("key", lambda: pytest.fail("measured again")) == 0.5

    @pytest.mark.parametrize("folder", ["off", "/dev/null/cache"])
    def test_without_a_usable_folder_it_measures_each_time(self, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(VARIABLE, folder)
        assert [remembered_ap("key", lambda value=value: value) for value in (1, 2)] == [1, 2]
