"""The cache of an opened data set: what it keeps, and when it is not used."""

import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from coco_folder import CocoFolder
from PIL import Image

from fgd_core.cache_folder import VARIABLE
from fgd_core.data import file_states, open_dataset, opening_cache
from fgd_core.data.opening_cache import MappedSamples
from fgd_core.data.samples import DetectionDataset, Sample, count
from fgd_core.errors import DataError
from fgd_core.spec.data import Coco


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CocoFolder:
    """Creates a data set of three images, one without objects, whose file is large enough for a cache."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = CocoFolder(tmp_path / "set")
    for name in ("é.png", "2.jpg", "3.png"):
        folder.add_image(file_name=name)
    mask = [[4, 5, 14, 5, 14, 13, 4, 13]]
    folder.add_box(segmentation=mask)
    folder.add_box(3, (1, 1, 5, 5), area=None, iscrowd=1, segmentation=[[1, 1, 6, 1, 6, 6]])
    folder.add_box(3, (30, 20, 20, 20), category_id=2, segmentation=[[30, 20, 50, 20, 50, 40]])
    folder.images[0]["note"] = "x" * opening_cache.MIN_BYTES
    return folder


def _caches(folder: CocoFolder) -> list[Path]:
    return sorted((folder.annotations_file.parent / ".fgd").glob("*"))


def _is_cached(dataset: DetectionDataset) -> bool:
    return isinstance(dataset.samples, MappedSamples)


def _fields(sample: Sample) -> list[Any]:
    arrays = [sample.boxes_xyxy_px, sample.labels, sample.is_crowd, sample.areas_px2, sample.keypoints]
    masks = [] if sample.masks is None else [sample.masks.height, sample.masks.width, sample.masks.counts]
    plain = [sample.image_id, sample.file_name, sample.height, sample.width, *masks]
    return plain + [None if each is None else (each.dtype, each.shape, each.tolist()) for each in arrays]


class TestContents:
    @pytest.mark.parametrize("with_masks", [False, True])
    def test_are_the_same_as_read(self, folder: CocoFolder, with_masks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        written, mapped = folder.open(with_masks=with_masks), folder.reopen(with_masks=with_masks)
        monkeypatch.setenv(VARIABLE, "off")
        read = folder.reopen(with_masks=with_masks)
        assert [_is_cached(each) for each in (written, mapped, read)] == [True, True, False]
        for dataset in (written, mapped):
            assert [*map(_fields, dataset.samples)] == [*map(_fields, read.samples)]
            assert dataset.categories == read.categories
            assert dataset.checked == read.checked
            assert dataset.checked.findings
            assert dataset.checked == count("train", dataset.categories, [*dataset.samples], dataset.checked.findings)
        assert [_fields(each) for each in mapped.samples[-2:]] == [*map(_fields, read.samples)][-2:]
        with pytest.raises(IndexError):
            mapped.samples[3]

    def test_are_mapped_by_every_process(self, folder: CocoFolder) -> None:
        samples = folder.open().samples
        assert len(pickle.dumps(samples)) < 1000
        assert [*map(_fields, pickle.loads(pickle.dumps(samples)))] == [*map(_fields, samples)]

    def test_are_separate_for_each_split_and_set_of_options(self, folder: CocoFolder) -> None:
        folder.open()
        folder.reopen(split="val")
        folder.reopen("drop")
        folder.reopen(with_masks=True)
        assert len(_caches(folder)) == 4
        assert folder.reopen(split="val").checked.split == "val"
        assert folder.reopen(with_masks=True).samples[0].masks is not None

    def test_contain_the_refusal_of_bad_data(self, folder: CocoFolder) -> None:
        folder.add_box(bbox=(1, 1, -4, 4))
        messages = []
        for _ in range(2):
            with pytest.raises(DataError, match="negative_box_size") as caught:
                folder.open()
            messages.append(caught.value.message)
        assert messages[0] == messages[1]
        assert len(_caches(folder)) == 1


def _rewritten_in_place(folder: CocoFolder) -> None:
    """Changes one digit, and sets the time of the file back."""
    before = folder.annotations_file.stat()
    content = folder.annotations_file.read_bytes()
    changed = content.replace(b'"bbox": [4, 5, 10, 8]', b'"bbox": [4, 5, 10, 7]')
    assert changed != content
    folder.annotations_file.write_bytes(changed)
    os.utime(folder.annotations_file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _other_image(folder: CocoFolder) -> None:
    Image.new("RGB", (30, 40)).save(folder.images_folder / "2.jpg")


def _damaged_cache(folder: CocoFolder) -> None:
    (cache,) = _caches(folder)
    content = bytearray(cache.read_bytes())
    content[-1] ^= 1
    cache.write_bytes(content)


def _half_a_cache(folder: CocoFolder) -> None:
    (cache,) = _caches(folder)
    cache.write_bytes(cache.read_bytes()[:-100])


def _text_as_cache(folder: CocoFolder) -> None:
    (cache,) = _caches(folder)
    cache.write_text("not a cache")


class TestACache:
    @pytest.mark.parametrize("change", [_rewritten_in_place, _damaged_cache, _half_a_cache, _text_as_cache])
    def test_is_replaced_after(self, folder: CocoFolder, change: Callable[[CocoFolder], None]) -> None:
        before = folder.open()
        change(folder)
        stale = opening_cache.open_arrays(_caches(folder)[0])
        after = folder.reopen()
        assert _is_cached(after)
        renewed = opening_cache.open_arrays(_caches(folder)[0])
        assert renewed is not None
        assert stale is None or stale.facts["sha256"] != renewed.facts["sha256"]
        assert (after.fingerprint == before.fingerprint) == (change is not _rewritten_in_place)
        assert len(_caches(folder)) == 1

    @pytest.mark.parametrize("is_settled", [True, False])
    def test_spares_reading_annotations_that_have_not_just_changed(
        self, folder: CocoFolder, monkeypatch: pytest.MonkeyPatch, is_settled: bool
    ) -> None:
        if is_settled:
            monkeypatch.setattr(file_states, "SETTLED_AFTER_S", 0.0)
        folder.open()
        folder.reopen()  # reads the code once, for its digest
        before = psutil.Process().io_counters().read_chars
        assert _is_cached(folder.reopen())
        was_read = psutil.Process().io_counters().read_chars - before >= opening_cache.MIN_BYTES
        assert was_read == (not is_settled)

    def test_is_replaced_after_a_change_of_settled_annotations(
        self, folder: CocoFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_states, "SETTLED_AFTER_S", 0.0)
        before, written = folder.open(), folder.annotations_file.stat()
        _rewritten_in_place(folder)
        rewritten = folder.annotations_file.stat()
        assert (rewritten.st_size, rewritten.st_mtime_ns) == (written.st_size, written.st_mtime_ns)
        assert folder.reopen().fingerprint != before.fingerprint

    def test_is_used_for_the_same_annotations_with_another_time(self, folder: CocoFolder, tmp_path: Path) -> None:
        folder.write()
        other = tmp_path / "val.json"
        shutil.copy(folder.annotations_file, other)
        data = Coco(train=folder.split, val=folder.split.model_copy(update={"annotations": str(other)}))
        open_dataset(data, "train")
        before = _caches(folder)[0].stat().st_ino
        os.utime(folder.annotations_file, (0, 0))
        assert _is_cached(open_dataset(data, "train"))
        assert _caches(folder)[0].stat().st_ino == before

    def test_is_not_used_after_an_image_has_changed(self, folder: CocoFolder) -> None:
        folder.open()
        _other_image(folder)
        with pytest.raises(DataError, match="size_transposed"):
            folder.reopen()

    def test_of_other_code_is_not_used(self, folder: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.open()
        (cache,) = _caches(folder)
        before = cache.stat().st_ino
        monkeypatch.setattr(opening_cache, "_code", lambda: "another version")
        assert _is_cached(folder.reopen())
        assert cache.stat().st_ino != before

    def test_is_not_written_while_an_image_is_missing(self, folder: CocoFolder) -> None:
        folder.write()
        (folder.images_folder / "3.png").unlink()
        assert folder.reopen("drop").checked.num_images == 2
        assert _caches(folder) == []
        Image.new("RGB", (40, 30)).save(folder.images_folder / "3.png")
        assert folder.reopen("drop").checked.num_images == 3

    def test_is_not_written_for_a_small_file(self, folder: CocoFolder) -> None:
        del folder.images[0]["note"]
        assert not _is_cached(folder.open())
        assert _caches(folder) == []

    @pytest.mark.parametrize("why", ["read-only, also for root", "a file is in the way"])
    def test_lies_with_the_user_if_it_cannot_lie_beside_the_data(
        self, folder: CocoFolder, tmp_path: Path, why: str
    ) -> None:
        beside = folder.annotations_file.parent
        if why == "a file is in the way":
            (beside / ".fgd").write_text("")
        else:
            beside.chmod(0o555)
        assert _is_cached(folder.open())
        assert _is_cached(folder.reopen())
        assert len([*(tmp_path / "home").rglob("*.safetensors")]) == 1

    def test_lies_where_the_environment_says(
        self, folder: CocoFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "chosen"))
        assert _is_cached(folder.open())
        assert len([*(tmp_path / "chosen").rglob("*.safetensors")]) == 1
        assert _caches(folder) == []

    def test_leaves_no_unfinished_file_for_long(self, folder: CocoFolder) -> None:
        folder.open()
        (cache,) = _caches(folder)
        killed, running = (cache.with_name(f"{cache.name}.{name}.partial") for name in ("killed", "running"))
        killed.write_text("half")
        running.write_text("half")
        os.utime(killed, (0, 0))
        _rewritten_in_place(folder)
        folder.reopen()
        assert not killed.exists()
        assert running.exists()

    def test_may_be_written_by_several_processes_at_once(self, folder: CocoFolder) -> None:
        folder.write()
        with multiprocessing.get_context("fork").Pool(4) as pool:
            found = pool.map(_opened, [folder] * 8)
        assert set(found) == {(True, folder.reopen().fingerprint)}
        assert len(_caches(folder)) == 1


def _opened(folder: CocoFolder) -> tuple[bool, str]:
    dataset = folder.reopen()
    return _is_cached(dataset) and np.isfinite(dataset.samples[0].areas_px2).all(), dataset.fingerprint


class TestLimits:
    """Of the files that a run may read."""

    def test_are_kept_by_a_cache(self, folder: CocoFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        outside = tmp_path / "outside.png"
        (folder.images_folder / "3.png").rename(outside)
        (folder.images_folder / "3.png").symlink_to(outside)
        assert _is_cached(folder.open())
        monkeypatch.setenv("FGD_RUN_ROOTS", str(folder.annotations_file.parent))
        with pytest.raises(DataError, match="outside the folders"):
            folder.reopen()

    def test_allow_a_cache_of_files_inside(self, folder: CocoFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.open()
        before = _caches(folder)[0].stat().st_ino
        monkeypatch.setenv("FGD_RUN_ROOTS", str(folder.annotations_file.parent))
        assert _is_cached(folder.reopen())
        assert _caches(folder)[0].stat().st_ino == before
