"""The worst images of a run: which they are, what is drawn on them, and what the page of a report makes of them."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from fgd_core.evaluation.diagnosis.matching import match_images
from fgd_core.evaluation.inference import ImageDetections
from fgd_core.evaluation.worst_images import num_errors, with_classes, worst
from fgd_core.evaluation.worst_images.attention import spatial_attention
from fgd_core.runs import execute
from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.worst_images import DETECTIONS, OWN, FoundBox, TrueBox, WorstImages, judged
from service.compare.detections import found_on
from tests.compare.evaluations import DrawnDataset, as_images, detections
from tests.library import RecordingContext, distill_spec, train_spec

BOX = (0.0, 0.0, 10.0, 10.0)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> RecordingContext:
    """A distillation of two epochs, whose detectors have learnt little."""
    folder = tmp_path_factory.mktemp("worst")
    execute(train_spec(), RecordingContext(folder / "teacher"))
    context = RecordingContext(folder / "student")
    spec = distill_spec(folder / "teacher/checkpoints/best.pt", teacher={"gate": "keys"})
    assert execute(spec, context).outcome == "succeeded"
    return context


def content(context: RecordingContext) -> WorstImages:
    return WorstImages.model_validate_json((context.job_dir / "worst_images.json").read_bytes())


class TestRun:
    def test_it_leaves_files_that_its_events_name(self, distilled: RecordingContext) -> None:
        saved = {event.name for event in distilled.of(ArtifactSaved)}
        assert {"worst_images.json", "worst_images.png", "attention.png", DETECTIONS} <= saved

    def test_every_image_shows_the_student_the_teacher_and_their_maps(self, distilled: RecordingContext) -> None:
        images = content(distilled).images
        assert images
        for image in images:
            assert [*image.found] == [OWN, "teacher"]
            names = [each.name for each in image.maps]
            assert names == ["foreground", "attention", "attention of the teacher", "difference from the teacher"]
            sizes = {Image.open(io.BytesIO(base64.b64decode(each.png))).size for each in image.maps}
            assert sizes == {(64, 64)}

    def test_the_foreground_is_bright_on_objects_only(self, distilled: RecordingContext) -> None:
        image = next(each for each in content(distilled).images if each.truth)
        (foreground,) = (each.png for each in image.maps if each.name == "foreground")
        alpha = np.array(Image.open(io.BytesIO(base64.b64decode(foreground))))[..., 3]
        left, top, right, bottom = image.truth[0].box_xyxy_px
        assert alpha[int((top + bottom) / 2), int((left + right) / 2)] > alpha.min()

    def test_the_server_reads_the_same_detections_as_the_run_shows(self, distilled: RecordingContext) -> None:
        worst_images = content(distilled)
        ids = [image.image_id for image in worst_images.images]
        found = found_on((distilled.job_dir / DETECTIONS).read_bytes(), worst_images.fingerprint, ids)
        for image in worst_images.images:
            ours, theirs = image.found[OWN], found[image.image_id]
            assert [each.truth for each in theirs] == [each.truth for each in ours]
            assert [each.score for each in theirs] == pytest.approx([each.score for each in ours], abs=1e-6)

    def test_detections_on_other_data_or_in_a_damaged_file_are_left_out(self, distilled: RecordingContext) -> None:
        whole = (distilled.job_dir / DETECTIONS).read_bytes()
        assert found_on(whole, "another", [1]) == {}
        assert found_on(whole[: len(whole) // 2], content(distilled).fingerprint, [1]) == {}


class TestChoice:
    def test_images_with_most_errors_come_first_and_perfect_ones_are_left_out(self) -> None:
        dataset = DrawnDataset(2, num_images=20)
        images = match_images(dataset.samples, as_images(detections(dataset, 0)))
        chosen = worst(images, 100)
        counts = [num_errors(images[index]) for index in chosen]
        assert counts == sorted(counts, reverse=True)
        assert {index for index, image in enumerate(images) if num_errors(image)} == {*chosen}
        assert worst(images, 3) == chosen[:3]

    def test_an_object_that_only_a_weak_detection_found_counts_as_missed(self) -> None:
        truth = [TrueBox(box_xyxy_px=BOX, label="cat")]
        assert [each.verdict for each in judged(truth, [])] == ["missed"]
        found = [FoundBox(box_xyxy_px=BOX, label="cat", score=0.9, truth=0)]
        assert [each.verdict for each in judged(truth, found)] == ["right"]
        crowd = [FoundBox(box_xyxy_px=BOX, label="cat", score=0.9, truth=-1, is_ignored=True)]
        assert [each.verdict for each in judged([], crowd)] == []


def test_a_teacher_with_other_classes_is_shown_with_those_of_the_data() -> None:
    found = ImageDetections(torch.zeros(3, 4), torch.tensor([0.9, 0.8, 0.7]), torch.tensor([5, 2, 7]))
    shown = with_classes(found, [7, None, 5])
    assert shown.labels.tolist() == [2, 0]
    assert shown.scores.tolist() == pytest.approx([0.9, 0.7])


def test_attention_has_mean_one_over_the_cells() -> None:
    assert spatial_attention(torch.randn(1, 8, 5, 7)).mean() == pytest.approx(1)
