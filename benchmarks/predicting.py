"""Predicts on 100 images in a fresh environment that has only the packages of the client and the runtime.

python -m benchmarks.predicting [--model detector.onnx] [--images FOLDER]

Prints the megabytes installed, the seconds of the installation, and the seconds of `fgd predict`. Without `--model`,
a small RetinaNet is exported first; without `--images`, 100 synthetic images are drawn. Run it alone: times depend on
what else runs.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.installing import Environment, build_wheel
from fgd_core.data import open_dataset
from fgd_core.data.samples import Category
from fgd_core.detectors import build_detector
from fgd_core.detectors.weights.checkpoint import DetectorCheckpoint, Record
from fgd_core.export.description import describe
from fgd_core.export.graph import DetectionGraph
from fgd_core.export.writing import trace, write_onnx
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet

_NUM_IMAGES = 100
_SIDE_PX = 320
_DRAWN = open_dataset(Shapes(num_val=_NUM_IMAGES, image_size_px=_SIDE_PX), "val")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an exported ONNX file")
    parser.add_argument("--images", type=Path, help="a folder of images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or _exported(folder / "detector.onnx")
        images = options.images or _drawn(folder / "images")
        environment = Environment(folder / "environment")
        installed = environment.install(build_wheel(folder), "runtime")
        print(f"installed client and runtime: {installed.megabytes:.0f} MB in {installed.took_s:.1f} s")
        absent = [each for each in ("torch", "ray", "pycocotools") if environment.has(each)]
        print(f"not installed: torch, ray, pycocotools{' EXCEPT ' + ', '.join(absent) if absent else ''}")
        began_s = time.perf_counter()
        command = [environment.command("fgd"), "predict", model, images, "--out", folder / "found"]
        subprocess.run([str(each) for each in command], check=True)
        print(f"`fgd predict` with start and pictures: {time.perf_counter() - began_s:.1f} s")


def _exported(path: Path) -> Path:
    """Export a RetinaNet on a ResNet-18 with random weights: its speed does not depend on them."""
    torch.manual_seed(0)
    settings = RetinaNet.model_validate({"backbone": {"name": "resnet18"}, "fpn_width": 128})
    classes = tuple(Category(number, name) for number, name in enumerate(("a", "b", "c", "d", "e"), start=1))
    detector = build_detector(settings, len(classes)).eval().requires_grad_(requires_grad=False)
    inputs = InputSpec(shorter_px=_SIDE_PX, longer_px=_SIDE_PX)
    checkpoint = DetectorCheckpoint(detector=settings, categories=classes, input=inputs, record=Record(), state={})
    description = describe(checkpoint, detector, source="random", sha256="0", size_px=(_SIDE_PX, _SIDE_PX))
    write_onnx(path, trace(DetectionGraph(detector), description), description)
    return path


def _drawn(folder: Path) -> Path:
    """Draw synthetic images as JPEG files."""
    folder.mkdir()
    for index in range(_NUM_IMAGES):
        pixels = _DRAWN.load_image(index).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{index:03}.jpg", quality=90)
    return folder


if __name__ == "__main__":
    main()
