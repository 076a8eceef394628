"""A pool of images without labels: opened, kept apart from the splits, shown in an order that a resume continues."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fgd_core.data import open_dataset, pool_change_since_check
from fgd_core.data.loading import Batch, ShownPool, TrainLoader
from fgd_core.data.pool import Pool
from fgd_core.errors import DataError
from fgd_core.spec.augments import Mosaic
from fgd_core.spec.data import Coco, Fingerprints, InputSpec, Registered, Resolved
from fgd_core.spec.pool import PoolFolder
from tests.library import write_pool, write_squares

INPUT = InputSpec(shorter_px=64, longer_px=64, augment=(Mosaic(),))


@pytest.fixture
def data(tmp_path: Path) -> Coco:
    """Six images in three places: the first three are trained on, and all of them differ from the last."""
    spec = write_squares(tmp_path / "train", 6)
    val = tmp_path / "val.json"
    content = json.loads(Path(spec["train"]["annotations"]).read_text())
    val.write_text(json.dumps(content | _only(content, 6)))
    Path(spec["train"]["annotations"]).write_text(json.dumps(content | _only(content, 1, 2, 3, 4)))
    return Coco.model_validate(spec | {"val": {"images": spec["val"]["images"], "annotations": str(val)}})


def _only(content: dict[str, list[dict[str, int]]], *ids: int) -> dict[str, list[dict[str, int]]]:
    return {
        "images": [each for each in content["images"] if each["id"] in ids],
        "annotations": [each for each in content["annotations"] if each["image_id"] in ids],
    }


def opened(data: Coco, folder: Path, **settings: str) -> Pool:
    spec = PoolFolder.model_validate({"images": str(folder), **settings})
    return Pool(spec, open_dataset(data, "train"), open_dataset(data, "val"))


class TestPool:
    def test_has_the_images_of_all_subfolders_the_classes_of_the_data_and_no_boxes(
        self, data: Coco, tmp_path: Path
    ) -> None:
        write_pool(tmp_path / "pool/a/b", 3)
        pool = opened(data, tmp_path / "pool")
        assert [each.file_name for each in pool.samples] == [f"a/b/pool_{index}.png" for index in range(3)]
        assert [each.name for each in pool.categories] == ["square"]
        assert not any(len(each.labels) for each in pool.samples)
        assert pool.load_image(2).shape == (3, 64, 64) and pool.event.num_images == 3

    def test_refuses_an_image_of_the_validation_split_whatever_its_name(self, data: Coco, tmp_path: Path) -> None:
        write_pool(tmp_path / "pool")
        shutil.copy(Path(data.val.images) / "5.png", tmp_path / "pool/other.png")
        with pytest.raises(DataError, match=r"pool_image_in_val: 1 \(other\.png\).*data\.pool\.on_bad"):
            opened(data, tmp_path / "pool")
        pool = opened(data, tmp_path / "pool", on_bad="drop")
        assert len(pool.samples) == 6
        assert [(each.problem, each.action, each.count) for each in pool.event.findings] == [
            ("pool_image_in_val", "dropped", 1)
        ]

    def test_leaves_out_and_counts_images_that_have_labels(self, data: Coco, tmp_path: Path) -> None:
        write_pool(tmp_path / "pool")
        shutil.copy(Path(data.train.images) / "1.png", tmp_path / "pool/again.png")
        pool = opened(data, tmp_path / "pool")
        assert len(pool.samples) == 6
        assert [(each.problem, each.count) for each in pool.event.findings] == [("pool_image_in_train", 1)]

    @pytest.mark.parametrize("content", [b"", b"no image"])
    def test_names_files_that_are_no_images(self, data: Coco, tmp_path: Path, content: bytes) -> None:
        write_pool(tmp_path / "pool")
        (tmp_path / "pool/bad.png").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.png"):
            opened(data, tmp_path / "pool")
        assert len(opened(data, tmp_path / "pool", on_bad="drop").samples) == 6

    @pytest.mark.parametrize(("make", "lacks"), [(False, "does not exist"), (True, "has no images")])
    def test_names_a_folder_without_images(self, data: Coco, tmp_path: Path, make: bool, lacks: str) -> None:
        if make:
            (tmp_path / "pool").mkdir()
        with pytest.raises(DataError, match=rf"{lacks}; correct data\.pool\.images"):
            opened(data, tmp_path / "pool")

    def test_has_another_fingerprint_with_other_images(self, data: Coco, tmp_path: Path) -> None:
        write_pool(tmp_path / "pool")
        before = opened(data, tmp_path / "pool").fingerprint
        (tmp_path / "pool/pool_0.png").unlink()
        assert opened(data, tmp_path / "pool").fingerprint != before

    @pytest.mark.parametrize("checked", ["same", "f" * 64, None])
    def test_that_changed_since_its_check_is_noticed(self, data: Coco, tmp_path: Path, checked: str | None) -> None:
        write_pool(tmp_path / "pool")
        pool = opened(data, tmp_path / "pool")
        prints = Fingerprints(train="a" * 64, val="b" * 64, pool=pool.fingerprint if checked == "same" else checked)
        named = Registered(name="cells", resolved=Resolved(dataset_id="1", data=data, fingerprints=prints))
        change = pool_change_since_check(named, pool)
        assert (change is not None) == (checked == "f" * 64)


class TestBatches:
    def loader(self, data: Coco, pool: Pool | None, *, workers: int = 0, ratio: int = 2) -> TrainLoader:
        shown = ShownPool(pool, ratio, 0.5) if pool is not None else None
        train = open_dataset(data, "train")
        return TrainLoader(train, INPUT, batch_size=2, seed=3, workers=workers, pool=shown)

    @pytest.fixture
    def pool(self, data: Coco, tmp_path: Path) -> Pool:
        write_pool(tmp_path / "pool", 7)
        return opened(data, tmp_path / "pool")

    def test_have_so_many_images_of_the_pool_without_boxes(self, data: Coco, pool: Pool) -> None:
        (first, second) = map(own_pool, self.loader(data, pool).epoch(0))
        assert len(first.images) == len(second.images) == 4
        assert not first.is_labelled and first.weight == 0.5 and not any(map(len, first.boxes))
        assert first.to("cpu").images.dtype == torch.float32

    def test_show_the_same_labelled_images_as_without_a_pool(self, data: Coco, pool: Pool) -> None:
        for plain, pooled in zip(self.loader(data, None).epoch(1), self.loader(data, pool).epoch(1), strict=True):
            assert torch.equal(plain.images, pooled.images) and plain.seeds == pooled.seeds

    def test_show_the_whole_pool_before_any_image_of_it_again(self, data: Coco, pool: Pool) -> None:
        loader = self.loader(data, pool, ratio=1)
        shown = [image for epoch in (0, 1) for each in loader.epoch(epoch) for image in own_pool(each).image_ids]
        # Seven images: three steps of two are one pass.
        assert len(set(shown[:6])) == 6 and len(shown) == 8

    @pytest.mark.parametrize("workers", [0, 1])
    def test_are_the_same_when_an_epoch_resumes(self, data: Coco, pool: Pool, workers: int) -> None:
        whole = own_pool([*self.loader(data, pool).epoch(1)][1])
        loader = self.loader(data, pool, workers=workers)
        resumed = own_pool(next(loader.epoch(1, start_step=1)))
        loader.close()
        assert torch.equal(whole.images, resumed.images) and whole.seeds == resumed.seeds

    def test_need_as_many_images_as_a_step_shows(self, data: Coco, pool: Pool) -> None:
        with pytest.raises(DataError, match=r"shows 8 images of the pool, and the pool has 7; lower pool\.ratio"):
            self.loader(data, pool, ratio=4)


def own_pool(batch: Batch) -> Batch:
    assert batch.pool is not None
    return batch.pool
