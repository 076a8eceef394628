"""What the runs of the pictures and tests report and leave: curves, scores, errors, images, a log."""

import base64
import math
import random
from io import BytesIO

from PIL import Image, ImageDraw

from fgd_core.spec.worst_images import NO_OBJECT, OWN, AttentionMap, FoundBox, ShownImage, TrueBox, WorstImages
from tests.web.page_server import SCORES, ReportingRun

STEPS, EPOCHS = 4800, 12
_EPOCH = STEPS // EPOCHS

OUT_OF_MEMORY = {
    "code": "out_of_memory",
    "message": "the GPU has 141 GB, and the batch needs more; halve training.batch_size",
}
LOG = """2026-11-29T21:13:10 run_started host=gpu-3 pid=4711
2026-11-29T21:13:14 device_ready device=NVIDIA H200 precision=bf16
2026-11-29T21:13:31 data_checked split=train images=4000 boxes=31200
2026-11-29T21:13:33 teacher_checked ap=0.402 recorded=0.401
2026-11-29T21:13:34 distils P3, P4, P5, P6, P7 from RetinaNet into RetinaNet with fgd
2026-11-29T21:15:02 epoch_finished epoch=1/12 loss=2.061 images_per_s=41.2
2026-11-29T21:15:20 evaluated epoch=1 ap=0.102 ap50=0.252
"""


def _curve(draw: random.Random, steps: range, height: float, *, floor: float) -> list[float]:
    return [(height * math.exp(-step / 900) + floor) * draw.uniform(0.85, 1.15) for step in steps]


def train(run: ReportingRun, *, num_epochs: int, best_ap: float, seed: int) -> None:
    """Report the curves, scores and findings of a distillation that has come this far."""
    draw = random.Random(seed)
    run.report(_checked("train", 4000, 31_200), _checked("val", 500, 3_890))
    for epoch in range(1, num_epochs + 1):
        steps = range((epoch - 1) * _EPOCH, epoch * _EPOCH)
        heights = {
            "loss": 2.4,
            "task/classification": 1.1,
            "task/box": 0.7,
            "distill/foreground": 0.5,
            "distill/global": 0.3,
            "distill/total": 0.8,
        }
        curves = {name: _curve(draw, steps, height, floor=height / 5) for name, height in heights.items()}
        run.trains(steps, total=STEPS, epochs=EPOCHS, **curves)
        means = {name: math.fsum(of) / len(of) for name, of in curves.items()}
        speed = {"images_per_s": 41.2, "eta_s": 60.0, "learning_rate": 0.01}
        at = {"epoch": epoch, "epochs": EPOCHS, "step": steps[-1], "steps": STEPS}
        run.report({"kind": "epoch_finished", "values": means} | at | speed)
        run.evaluates(steps[-1], best_ap * (1 - math.exp(-epoch / 3)), epoch=epoch)


def _checked(split: str, num_images: int, num_boxes: int) -> dict[str, object]:
    meaning = "The box has no area, so no loss can use it; fix or drop the annotation."
    findings = [{"problem": "box_without_area", "action": "dropped", "count": 3, "meaning": meaning}]
    counts = {"num_images": num_images, "num_boxes": num_boxes, "num_images_without_boxes": 2, "num_crowd": 0}
    classes = {"boxes_per_category": {"person": num_boxes}, "findings": findings if split == "train" else []}
    return {"kind": "data_checked", "split": split} | counts | classes


def scores_with_classes(ap: float) -> dict[str, object]:
    """Return scores with those of each class."""
    classes = {"person": 0.41, "car": 0.38, "bicycle": 0.22, "dog": 0.35, "bird": 0.14}
    per_class = {
        name: {"ap": score, "ap50": score + 0.2, "num_boxes": 3890 // place}
        for place, (name, score) in enumerate(classes.items(), start=2)
    }
    sizes = {"ap_small": ap - 0.17, "ap_medium": ap + 0.05, "ap_large": ap + 0.13}
    return (
        dict.fromkeys(SCORES)
        | {"ap": ap, "ap50": ap + 0.15, "ap75": ap + 0.02, "ar_large": None}
        | sizes
        | {"per_class": per_class}
    )


def diagnosis() -> dict[str, object]:
    """Return a diagnosis with errors of all kinds."""
    costs = {"classification": 0.021, "localisation": 0.048, "both": 0.006, "duplicate": 0.002}
    costs |= {"background": 0.019, "missed": 0.061}
    errors = [{"kind": kind, "count": round(9000 * gain) + 7, "gain": gain} for kind, gain in costs.items()]
    cells = [{"true": "dog", "found": "bird", "count": 31}, {"true": "car", "found": "bicycle", "count": 12}]
    return {
        "num_boxes": 3890,
        "ap50": 0.51,
        "errors": errors,
        "confusion": {"min_score": 0.3, "cells": cells},
        "curves": [],
        "by_count": [],
        "calibration": {"min_score": 0.05, "error": 0.06, "bins": []},
    }


def worst_images(num_images: int = 2) -> str:
    """Draw images with boxes of a student and its teacher, as a run keeps them."""
    images = [_worst_image(number) for number in range(1, num_images + 1)]
    return WorstImages(fingerprint="drawn", images=images).model_dump_json()


def _worst_image(number: int) -> ShownImage:
    draw = random.Random(number)
    picture, attention = Image.new("RGB", (320, 240), "#4a5a6a"), Image.new("LA", (320, 240), (255, 0))
    boxes = []
    for _ in range(4):
        left, top, size = draw.randrange(240), draw.randrange(170), draw.randrange(30, 70)
        box = (left, top, left + size, top + size)
        ImageDraw.Draw(picture).ellipse(box, fill=f"hsl({draw.randrange(360)}, 60%, 55%)")
        ImageDraw.Draw(attention).ellipse(box, fill=(255, 140))
        boxes.append(box)
    truth = [TrueBox(box_xyxy_px=box, label="car") for box in boxes]
    own = [_found(boxes[0], 0, 0.91), _found(boxes[1], NO_OBJECT, 0.44)]
    teacher = [_found(box, place, 0.8) for place, box in enumerate(boxes[:3])]
    return ShownImage(
        image_id=number,
        file_name=f"000{number}.jpg",
        width=320,
        height=240,
        jpeg=_encoded(picture, "jpeg"),
        truth=truth,
        found={OWN: own, "teacher resnet50": teacher},
        maps=[AttentionMap(name="attention", png=_encoded(attention, "png"))],
    )


def _found(box: tuple[int, int, int, int], truth: int, score: float) -> FoundBox:
    return FoundBox(box_xyxy_px=box, label="car" if truth >= 0 else "bus", score=score, truth=truth)


def _encoded(picture: Image.Image, form: str) -> str:
    file = BytesIO()
    picture.save(file, form)
    return base64.b64encode(file.getvalue()).decode()
