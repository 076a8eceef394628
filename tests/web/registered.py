"""Registers what is not a job: a checked data set and a named model, as runs report them."""

import io
import random
from typing import Any

import numpy as np
from PIL import Image

from tests.web.page_server import PageServer, ReportingRun

CLASSES = {"person": 11_240, "car": 6_310, "bicycle": 2_804, "dog": 913, "traffic light": 301, "hydrant": 27}
_DATA = {"type": "shapes", "num_train": 4000, "num_val": 400}


def dataset(server: PageServer, name: str, *, is_checked: bool = True) -> str:
    """Register a data set; a check of it counts `CLASSES` in `train` and a tenth of them in `val`."""
    made = server.request("POST", "/v1/datasets", json={"name": name, "data": _DATA})
    if is_checked:
        run = server.run_of(server.request("POST", f"/v1/datasets/{made['dataset_id']}/check")["job_id"])
        for split in ("train", "val"):
            run.saves(f"samples_{split}.png", _samples(), media_type="image/png")
        run.report({"kind": "data_set_checked", "splits": [_split("train", 1), _split("val", 10)]} | _profiles())
        run.ends()
    return str(made["dataset_id"])


def model(server: PageServer, run: ReportingRun, name: str) -> None:
    """Name the checkpoint of a run that is not over yet, and end it; its newest version is in production."""
    run.saves("best.pt", b"weights of a detector")
    run.ends()
    made = server.request("POST", f"/v1/models/{name}/versions", json={"job_id": run.job_id, "artifact": "best.pt"})
    server.request("PUT", f"/v1/models/{name}/aliases/production", json={"version": made["version"]})


def _split(name: str, part: int) -> dict[str, Any]:
    boxes = {each: count // part for each, count in CLASSES.items()}
    meaning = "The box has no area, so no loss can use it; fix or drop the annotation."
    finding = {"problem": "box_without_area", "action": "dropped", "count": 3, "meaning": meaning, "examples": ["17"]}
    counts = {"num_images": 4000 // part, "num_images_without_boxes": 12, "num_boxes": sum(boxes.values())}
    findings = [finding] if part == 1 else []
    more = {
        "num_crowd": 0,
        "fingerprint": ("a" if name == "train" else "b") * 64,
        "boxes_per_category": boxes,
        "findings": findings,
    }
    return {"split": name} | counts | more


def _profiles() -> dict[str, Any]:
    def profile(name: str, part: int) -> dict[str, Any]:
        objects = [(0, 0, 12), (1, 1, 640), (2, 5, 1890), (6, 10, 1010), (11, 20, 380), (21, None, 68)]
        sides = [(0, 480, 310), (481, 640, 3120), (641, None, 570)]
        return {
            "split": name,
            "num_small": 6100 // part,
            "num_medium": 9700 // part,
            "num_large": 5795 // part,
            "num_sizes": 14,
            "images_per_category": {each: count // (3 * part) for each, count in CLASSES.items()},
            "objects_per_image": [{"first": a, "last": b, "count": count // part} for a, b, count in objects],
            "longer_sides_px": [{"first": a, "last": b, "count": count // part} for a, b, count in sides],
            "common_sizes": [{"width_px": 640, "height_px": 480, "num_images": 2100 // part}],
        }

    return {"profiles": [profile("train", 1), profile("val", 10)]}


def _samples() -> bytes:
    """Draw a picture that looks like a sheet of samples."""
    draw = random.Random(3)
    sheet = np.full((300, 600, 3), 235, np.uint8)
    for _ in range(24):
        x, y, side = draw.randrange(540), draw.randrange(240), draw.randrange(15, 60)
        sheet[y : y + side, x : x + side] = [draw.randrange(60, 220) for _ in range(3)]
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()
