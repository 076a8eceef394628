"""GET /v1/compare/images, and the pictures of validation images"""

import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from control_plane import ControlPlane, train_spec
from PIL import Image

from fgd_core.evaluation.detections_file import write_detections
from fgd_core.evaluation.diagnosis.matching import MatchedImage, match_images
from fgd_core.spec.disputed_images import DisputedImages
from fgd_core.spec.worst_images import DETECTIONS, MIN_SCORE, WORST_IMAGES, ShownImage, WorstImages
from service.compare.detections import FoundObjects, read
from service.settings import Settings
from tests.compare.evaluations import DrawnDataset, as_images, detections

pytestmark = pytest.mark.one_database

GROUND = DrawnDataset(3, num_images=20)


def matched(skill: float, seed: int, ground: DrawnDataset = GROUND) -> list[MatchedImage]:
    return match_images(ground.samples, as_images(detections(ground, seed, skill=skill)))


def written(images: list[MatchedImage], ground: DrawnDataset = GROUND) -> bytes:
    with TemporaryDirectory() as folder:
        write_detections(ground, images, Path(folder))
        return (Path(folder) / DETECTIONS).read_bytes()


async def finished(plane: ControlPlane, name: str, files: dict[str, bytes], **spec: Any) -> str:
    """Run a job that leaves files to success, and return its id."""
    job_id, run = await plane.started_job(train_spec(name=name, **spec))
    for file, content in files.items():
        saved = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        named = {"name": file, "uri": run.writes(file, content), "media_type": "application/octet-stream"}
        await run.reports({"kind": "artifact_saved"} | named | saved)
    await run.succeeds()
    await plane.tick()
    return job_id


async def disputed(plane: ControlPlane, *jobs: str, **query: Any) -> DisputedImages:
    answer = await plane.http.get("/v1/compare/images", params={"job": jobs} | query)
    assert answer.status_code == 200, answer.text
    return DisputedImages.model_validate_json(answer.content)


def num_disputed(one: MatchedImage, other: MatchedImage) -> int:
    """By objects, one after another."""
    found = [{int(truth) for truth in each.truth[each.scores >= MIN_SCORE] if truth >= 0} for each in (one, other)]
    return len(found[0] ^ found[1])


class TestDisputedImages:
    async def test_all_images_are_ranked_by_the_objects_that_only_some_jobs_found(self, plane: ControlPlane) -> None:
        good, bad = matched(0.95, 1), matched(0.3, 2)
        jobs = [await finished(plane, name, {DETECTIONS: written(of)}) for name, of in (("good", good), ("bad", bad))]
        page = await disputed(plane, *jobs, limit=50)
        counts = {item.image_id: item.num_disputed for item in page.items}
        expected = [num_disputed(*pair) for pair in zip(good, bad, strict=True)]
        assert [item.num_disputed for item in page.items] == sorted(counts.values(), reverse=True)
        for sample, number in zip(GROUND.samples, expected, strict=True):
            assert counts.get(sample.image_id, 0) == number
        assert (page.num_images, page.num_disputed, page.next_cursor) == (20, len(page.items), None)
        first = page.items[0]
        assert (first.width, first.height, first.file_name) == (400, 400, f"{first.image_id}.png")
        place = next(place for place, sample in enumerate(GROUND.samples) if sample.image_id == first.image_id)
        for panel, images in zip(first.panels, (good, bad), strict=True):
            shown = images[place].scores >= MIN_SCORE
            verdicts = [box.verdict for box in panel.boxes]
            assert verdicts.count("right") == int((shown & images[place].is_right).sum())
            num_found = len({*images[place].truth[shown & images[place].is_right].tolist()})
            assert verdicts.count("missed") == len(images[place].true_labels) - num_found

    async def test_pages_join_to_the_whole_list(self, plane: ControlPlane) -> None:
        jobs = [await finished(plane, "one", {DETECTIONS: written(matched(skill, 1))}) for skill in (0.9, 0.2)]
        whole = await disputed(plane, *jobs, limit=50)
        items, cursor = [], None
        while cursor is not None or not items:
            page = await disputed(plane, *jobs, limit=3, **({"cursor": cursor} if cursor else {}))
            items, cursor = [*items, *page.items], page.next_cursor
        assert items == whole.items

    async def test_jobs_that_cannot_be_compared_are_named_with_the_reason(self, plane: ControlPlane) -> None:
        content = written(matched(0.9, 1))
        jobs = [await finished(plane, name, {DETECTIONS: content}) for name in ("one", "two")]
        other = DrawnDataset(4, num_images=20)
        elsewhere = await finished(plane, "elsewhere", {DETECTIONS: written(matched(0.9, 1, other), other)})
        damaged = await finished(plane, "damaged", {DETECTIONS: content[:300]})
        nothing = await finished(plane, "nothing", {})
        running, _ = await plane.started_job(train_spec(name="running"))
        page = await disputed(plane, *jobs, elsewhere, damaged, nothing, running)
        assert {reason.loc: reason.code for reason in page.left_out} == {
            elsewhere: "other_data",
            damaged: "damaged",
            nothing: "no_detections",
            running: "not_finished",
        }
        # Both have found the same.
        assert (page.items, page.num_images) == ([], 20)
        assert (await disputed(plane, jobs[0], running)).num_images == 0

    async def test_a_picture_that_a_job_has_kept_is_in_the_answer(self, plane: ControlPlane) -> None:
        jobs = [await finished(plane, "one", {DETECTIONS: written(matched(skill, 1))}) for skill in (0.9, 0.2)]
        first = (await disputed(plane, *jobs)).items[0]
        assert (first.jpeg, first.picture_url) == (None, None)
        shown = ShownImage(
            image_id=first.image_id, file_name=first.file_name, width=400, height=400, jpeg="/9j/", truth=[], found={}
        )
        kept = WorstImages(fingerprint=GROUND.fingerprint, images=[shown]).model_dump_json().encode()
        third = await finished(plane, "three", {DETECTIONS: written(matched(0.9, 1)), WORST_IMAGES: kept})
        assert (await disputed(plane, jobs[1], third)).items[0].jpeg == "/9j/"


@pytest.fixture
async def local(plane: ControlPlane, settings: Settings) -> AsyncIterator[ControlPlane]:
    """A server that shares its disk with the runs."""
    local = ControlPlane(settings.model_copy(update={"local_cluster": True}), plane.cluster, plane.clock)
    yield local
    await local.close()


class TestPictures:
    async def test_the_server_shows_images_that_it_can_read_and_nothing_else(
        self, local: ControlPlane, tmp_path: Path
    ) -> None:
        folder = tmp_path / "images"
        folder.mkdir()
        file = io.BytesIO()
        Image.new("RGB", (4, 4)).save(file, "PNG")
        for sample in GROUND.samples:
            (folder / sample.file_name).write_bytes(file.getvalue())
        (tmp_path / "secret.png").write_text("secret")
        (folder / "link.png").symlink_to(tmp_path / "secret.png")
        (folder / "notes.txt").write_text("notes")
        (tmp_path / "boxes.json").write_text("{}")
        split = {"images": str(folder), "annotations": str(tmp_path / "boxes.json")}
        data = {"type": "coco", "train": split, "val": split}
        jobs = [
            await finished(local, "one", {DETECTIONS: written(matched(skill, 1))}, data=data) for skill in (0.9, 0.2)
        ]
        url = (await disputed(local, *jobs)).items[0].picture_url
        assert url is not None
        answer = await local.http.get(url)
        assert (answer.status_code, answer.content) == (200, file.getvalue())
        assert answer.headers["content-type"] == "image/png"
        for name in ("link.png", "notes.txt", "none.png", "%2e%2e/secret.png", "../secret.png"):
            assert (await local.http.get(f"/v1/jobs/{jobs[0]}/images/{name}")).status_code == 404, name

    async def test_the_image_of_a_job_on_another_machine_is_refused(self, plane: ControlPlane) -> None:
        job_id = await finished(plane, "one", {})
        answer = await plane.http.get(f"/v1/jobs/{job_id}/images/1.png")
        assert answer.status_code == 404
        assert "this server cannot read the images" in answer.json()["detail"]


class TestFile:
    def test_a_file_of_the_version_before_still_shows_its_detections(self) -> None:
        content = changed(version=np.array(1), true_starts=None, true_boxes=None, true_label=None, sizes=None)
        found = read(content)
        assert found is not None and not found.has_truth
        assert found.found(0) == objects().found(0)

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": np.array(3)},
            {"true_starts": np.zeros(21, np.int64)},
            {"true_label": None},
            {"sizes": np.zeros((20, 3), np.int32)},
        ],
    )
    def test_a_file_whose_arrays_contradict_each_other_is_refused(self, changes: dict[str, np.ndarray | None]) -> None:
        assert read(changed(**changes)) is None


def objects() -> FoundObjects:
    found = read(written(matched(0.9, 1)))
    assert found is not None
    return found


def changed(**changes: np.ndarray | None) -> bytes:
    """A file with other arrays; None leaves one out."""
    arrays = {**np.load(io.BytesIO(written(matched(0.9, 1))))} | changes
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()
