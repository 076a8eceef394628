"""What people get who use a detector: predictions at the size of their images, pictures and COCO results."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as run_lengths_of_coco
from torch.nn.functional import interpolate

from fgd_core import load_model
from fgd_core.data.transforms import resized_size
from fgd_core.detectors.parts.keypoint_maps import locate as locate_in_pytorch
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record, save_checkpoint
from fgd_core.errors import DataError, WeightsError
from fgd_core.prediction.folders import find_images, predict_files
from fgd_core.prediction.keypoints import locate
from fgd_core.prediction.pixels import prepare, read_pixels
from fgd_core.prediction.results import run_lengths
from fgd_core.spec import detectors as spec
from fgd_core.spec.data import InputSpec
from tests.contract.test_detectors import SMALL
from tests.test_export import CLASSES, INPUT, trained_like

DRAW = np.random.default_rng(0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    detector = trained_like(SMALL[spec.MaskRcnn])
    path: Path = tmp_path_factory.mktemp("models") / "best.pt"
    record = Record(job={"name": "cats", "kind": "train", "detector": {"weights": "ResNet18_Weights.IMAGENET1K_V1"}})
    save_checkpoint(
        path,
        DetectorCheckpoint(
            detector=detector.settings, categories=CLASSES, input=INPUT, record=record, state=detector.state_dict()
        ),
    )
    return path


def picture(height: int = 90, width: int = 120) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return DRAW.integers(0, 256, (height, width, 3), dtype=np.uint8)


class TestModel:
    def test_an_image_of_any_kind_gives_the_same_objects_at_its_own_size(
        self, checkpoint: Path, tmp_path: Path
    ) -> None:
        model, pixels = load_model(checkpoint), picture()
        path = tmp_path / "image.png"
        Image.fromarray(pixels).save(path)
        forms = [pixels, path, str(path), Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1)]
        first, *others = (model(form) for form in forms)
        assert first.masks is not None and first.masks.shape == (len(first.scores), 90, 120)
        assert first.boxes_xyxy_px[:, 2].max() > 96, "boxes are in pixels of the image, not of the resized one"
        assert set(first.names) <= {"cat", "dog", "bird"}
        for other in others:
            assert np.array_equal(first.boxes_xyxy_px, other.boxes_xyxy_px)

    def test_a_higher_threshold_leaves_out_the_lower_scores(self, checkpoint: Path) -> None:
        pixels = picture()
        every = load_model(checkpoint)(pixels).scores
        limit = float(np.median(every))
        assert load_model(checkpoint, score_threshold=limit)(pixels).scores.tolist() == every[every >= limit].tolist()

    def test_an_array_of_another_kind_is_refused_with_its_shape(self, checkpoint: Path) -> None:
        with pytest.raises(DataError, match="uint8") as caught:
            load_model(checkpoint)(np.zeros((3, 9, 9), np.uint8))
        assert caught.value.details["shape"] == [3, 9, 9]

    def test_a_file_that_is_no_model_is_refused(self, tmp_path: Path) -> None:
        for name in ("a.onnx", "a.pt2", "a.pt"):
            (tmp_path / name).write_bytes(b"nothing")
            with pytest.raises(WeightsError):
                load_model(tmp_path / name)
        with pytest.raises(WeightsError, match="no such file"):
            load_model(tmp_path / "missing.onnx")


class TestPreparing:
    @pytest.mark.parametrize("size", [(300, 401), (97, 133), (640, 480)])
    def test_images_are_resized_and_padded_as_in_training(self, size: tuple[int, int]) -> None:
        settings, pixels = InputSpec(shorter_px=160, longer_px=200), picture(*size)
        batch = prepare([pixels], settings)
        height, width = resized_size(*size, settings)
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        expected = interpolate(image, (height, width), mode="bilinear", antialias=True, align_corners=False)[0].numpy()
        assert batch.sizes.tolist() == [[height, width]] and batch.images.shape[2] % 32 == 0
        assert np.abs(batch.images[0, :, :height, :width] - expected).max() <= 1
        assert not batch.images[0, :, height:].any() and not batch.images[0, :, :, width:].any()

    def test_an_image_is_turned_as_its_camera_noted(self, tmp_path: Path) -> None:
        image, exif = Image.new("RGB", (30, 20)), Image.Exif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.jpg", exif=exif)
        assert read_pixels(tmp_path / "turned.jpg").shape == (30, 20, 3)

    def test_16_bit_grey_keeps_its_upper_byte_and_pixels_of_unknown_range_are_refused(self, tmp_path: Path) -> None:
        grey = DRAW.integers(0, 2**16, (6, 7), dtype=np.uint16)
        Image.fromarray(grey).save(tmp_path / "grey.png")
        assert np.array_equal(read_pixels(tmp_path / "grey.png")[..., 1], grey >> 8)
        Image.fromarray(grey.astype(np.float32)).save(tmp_path / "range.tif")
        with pytest.raises(DataError, match="mode F"):
            read_pixels(tmp_path / "range.tif")

    def test_keypoints_are_found_where_pytorch_finds_them(self) -> None:
        heat_maps = DRAW.normal(size=(3, 4, 56, 56)).astype(np.float32)
        boxes = np.array([[3, 4, 60.5, 90], [0, 0, 0.2, 5], [10, 10, 200, 41]], np.float32)
        expected = locate_in_pytorch(torch.from_numpy(heat_maps), torch.from_numpy(boxes))
        assert np.allclose(locate(heat_maps, boxes), expected.numpy(), atol=1e-4)


class TestResults:
    def test_run_lengths_are_those_of_pycocotools(self) -> None:
        for share in (0, 0.1, 0.5, 0.9, 1):
            mask = DRAW.random((31, 17)) < share
            assert (
                run_lengths(mask).encode()
                == run_lengths_of_coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
            )

    def test_folders_and_patterns_name_images_once(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "b.PNG", "deep/c.webp", "notes.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found = find_images([str(tmp_path), str(tmp_path / "*.jpg")])
        assert [path.name for path in found] == ["a.jpg", "b.PNG", "c.webp"]
        assert find_images([str(tmp_path)], out=tmp_path / "deep") == find_images([str(tmp_path / "?.*")])
        with pytest.raises(DataError, match="no image"):
            find_images([str(tmp_path / "*.bmp")])

    def test_no_picture_replaces_an_image_or_another_picture(self, checkpoint: Path, tmp_path: Path) -> None:
        for name in ("a.png", "a.bmp", "b.tif"):
            Image.fromarray(picture()).save(tmp_path / name)
        (tmp_path / "c.jpg").write_bytes(b"no image")
        model, paths = load_model(checkpoint), find_images([str(tmp_path)])
        with pytest.raises(DataError, match="would replace"):
            next(predict_files(model, paths, out=tmp_path))
        unread: list[DataError] = []
        found = [*predict_files(model, paths, batch_size=2, out=tmp_path / "out", unread=unread)]
        assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["a.bmp.png", "a.png", "b.tif.png"]
        assert [image.name for image in found] == ["a.bmp", "a.png", "b.tif"]
        assert [error.details["path"] for error in unread] == [str(tmp_path / "c.jpg")]

    def test_the_command_writes_pictures_and_coco_results(self, checkpoint: Path, tmp_path: Path) -> None:
        for name in ("one.jpg", "deep/two.png"):
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture()).save(tmp_path / "images" / name)
        arguments = ("predict", str(checkpoint), str(tmp_path / "images"), "--out", str(tmp_path / "out"))
        done = subprocess.run(
            [sys.executable, "-m", "service.client.cli", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "2 images" in done.stdout, done.stderr
        assert Image.open(tmp_path / "out" / "one.jpg").size == (120, 90)
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        listed = json.loads((tmp_path / "out" / "images.json").read_text())
        names = {image["id"]: image["file_name"] for image in listed["images"]}
        assert {names[row["image_id"]] for row in results} == {"one.jpg", "deep/two.png"}
        assert {row["category_id"] for row in results} <= {1, 2, 3}
        assert set(results[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
