"""A run may only read certain folders; the check happens on the opened file, not on its path."""

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from fgd_core import confined
from fgd_core.data.coco_file import read_coco
from fgd_core.data.folders import files_below
from fgd_core.data.image_faults import Unusable
from fgd_core.data.image_files import decode
from fgd_core.data.image_headers import read_headers
from fgd_core.data.text_files import read_text
from fgd_core.data.voc_xml import read_xml
from fgd_core.detectors.weights.files.formats import read_content
from fgd_core.errors import DataError, StorageError, WeightsError
from fgd_core.spec.readable import ROOTS, environment


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Creates the folders `data` and `storage`, which runs may read, and `secret`, which they may not, with files."""
    for folder in ("data", "secret", "storage/jobs/mine", "storage/jobs/other"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "words.txt").write_text(folder)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")
        torch.save({"a": torch.ones(2)}, tmp_path / folder / "a.pt")
    roots = (tmp_path / "data", tmp_path / "storage")
    for name, value in environment(roots, tmp_path / "storage" / "jobs").items():
        monkeypatch.setenv(name, value)
    return tmp_path


def is_read(path: Path) -> bool:
    try:
        confined.read_bytes(path)
    except confined.OutsideError:
        return False
    return True


class TestReading:
    def test_a_file_in_a_root_is_read(self, disk: Path) -> None:
        assert is_read(disk / "data" / "words.txt")

    def test_a_file_outside_the_roots_is_not_read_by_any_path(self, disk: Path) -> None:
        (disk / "data" / "link").symlink_to(disk / "secret" / "words.txt")
        (disk / "data" / "up").symlink_to(disk)
        (disk / "data" / "twice").symlink_to(disk / "data" / "link")
        for path in ("data/link", "data/up/secret/words.txt", "data/twice", "data/../secret/words.txt"):
            assert not is_read(disk / path), path

    def test_a_link_between_two_roots_is_followed(self, disk: Path) -> None:
        (disk / "storage" / "link").symlink_to(disk / "data" / "words.txt")
        assert is_read(disk / "storage" / "link")

    def test_a_root_may_be_a_link(self, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (disk / "root").symlink_to(disk / "data")
        monkeypatch.setenv(ROOTS, str(disk / "root"))
        assert is_read(disk / "root" / "words.txt")
        assert is_read(disk / "data" / "words.txt")

    def test_a_folder_with_the_name_of_a_root_as_prefix_is_outside(self, disk: Path) -> None:
        (disk / "data-2").mkdir()
        (disk / "data-2" / "words.txt").touch()
        assert not is_read(disk / "data-2" / "words.txt")

    def test_only_files_of_allowed_jobs_are_read(self, disk: Path) -> None:
        jobs = disk / "storage" / "jobs"
        assert not is_read(jobs / "mine" / "words.txt")
        confined.allow(jobs / "mine")
        assert is_read(jobs / "mine" / "words.txt")
        assert not is_read(jobs / "other" / "words.txt")

    def test_an_allowed_job_gives_no_access_to_other_jobs(self, disk: Path) -> None:
        jobs = disk / "storage" / "jobs"
        (jobs / "mine" / "link.pt").symlink_to(jobs / "other" / "a.pt")
        (jobs / "linked").symlink_to(jobs / "other")
        for name in ("mine", "linked"):
            confined.allow(jobs / name)
        assert not is_read(jobs / "mine" / "link.pt")
        assert not is_read(jobs / "linked" / "a.pt")

    def test_a_pipe_is_refused_without_waiting(self, disk: Path) -> None:
        os.mkfifo(disk / "data" / "pipe")
        assert not is_read(disk / "data" / "pipe")

    def test_without_a_control_plane_every_link_is_followed(self, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(ROOTS)
        (disk / "data" / "link").symlink_to(disk / "secret" / "words.txt")
        assert is_read(disk / "data" / "link")

    def test_a_root_of_the_whole_disk_sets_no_variables(self) -> None:
        assert environment((Path("/"),), None) == {}


class TestOpening:
    def test_a_file_replaced_after_opening_is_read_as_opened(self, disk: Path) -> None:
        path = disk / "data" / "words.txt"
        with confined.pinned(path) as held:
            path.unlink()
            path.symlink_to(disk / "secret" / "words.txt")
            assert held.read_text() == "data"
        assert not is_read(path)

    def test_an_image_link_that_leads_out_is_a_finding(self, disk: Path) -> None:
        link = disk / "data" / "link.png"
        link.symlink_to(disk / "secret" / "a.png")
        found = read_headers([str(link)]).at(0)
        assert isinstance(found, Unusable)
        assert (found.problem, "outside" in found.detail) == ("unreadable_image", True)
        with pytest.raises(DataError, match="outside the folders"):
            decode(link, (8, 8))

    def test_a_text_link_that_leads_out_is_refused(self, disk: Path) -> None:
        link = disk / "data" / "link.txt"
        link.symlink_to(disk / "secret" / "words.txt")
        with pytest.raises(OSError, match="outside the folders"):
            read_text(link)

    def test_annotation_links_that_lead_out_are_refused(self, disk: Path) -> None:
        (disk / "secret" / "a.json").write_text("{}")
        (disk / "secret" / "a.xml").write_text("<annotation/>")
        for name in ("a.json", "a.xml"):
            (disk / "data" / name).symlink_to(disk / "secret" / name)
        with pytest.raises(StorageError, match="outside the folders"):
            read_coco(disk / "data" / "a.json")
        with pytest.raises(StorageError, match="outside the folders"):
            read_xml(disk / "data" / "a.xml")

    def test_a_folder_link_that_leads_out_is_not_listed(self, disk: Path) -> None:
        (disk / "data" / "deep").symlink_to(disk / "secret")
        with pytest.raises(StorageError, match="outside the folders"):
            files_below(disk / "data")

    @pytest.mark.parametrize("mapped", [False, True])
    def test_weight_links_that_lead_out_are_refused(self, disk: Path, mapped: bool) -> None:
        link = disk / "data" / "link.pt"
        link.symlink_to(disk / "secret" / "a.pt")
        with pytest.raises(WeightsError, match="outside the folders"):
            read_content(link, mapped=mapped)
        content = read_content(disk / "data" / "a.pt", mapped=mapped)
        assert isinstance(content, dict)
        assert content["a"].tolist() == [1, 1]

    def test_an_error_about_weights_names_their_path(self, disk: Path) -> None:
        broken = disk / "data" / "broken.pt"
        broken.write_bytes(b"nothing")
        with pytest.raises(WeightsError) as refused:
            read_content(broken)
        assert refused.value.details["path"] == str(broken)

    def test_safetensors_links_that_lead_out_are_refused(self, disk: Path) -> None:
        safetensors = pytest.importorskip("safetensors.torch")
        for folder in ("data", "secret"):
            safetensors.save_file({"a": torch.ones(2)}, disk / folder / "a.safetensors")
        index = {"weight_map": {"a": "a.safetensors"}}
        (disk / "secret" / "model.safetensors.index.json").write_text(json.dumps(index))
        (disk / "data" / "model.safetensors.index.json").write_text(json.dumps(index))
        assert isinstance(read_content(disk / "data" / "model.safetensors.index.json"), dict)
        for name in ("a.safetensors", "model.safetensors.index.json"):
            link = disk / "data" / f"link.{name}"
            link.symlink_to(disk / "secret" / name)
            with pytest.raises(WeightsError, match="outside the folders"):
                read_content(link)
