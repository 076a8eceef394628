"""Makes the pictures of the pages in `docs/images`, light and dark, from a server with runs that look real.

python -m tests.web.pictures docs/images
"""

import base64
import math
import random
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image, ImageDraw
from playwright.sync_api import Page, sync_playwright

from fgd_core.spec.worst_images import NO_OBJECT, OWN, AttentionMap, FoundBox, ShownImage, TrueBox, WorstImages
from tests.reports.browser import CHROMIUM
from tests.web.drawn_sweep import report_trials, started_sweep
from tests.web.page_server import ADMIN_TOKEN, SCORES, PageServer, ReportingRun

STEPS, EPOCHS = 4800, 12
_EPOCH = STEPS // EPOCHS
WIDTH_PX, PHONE_PX = 1280, 390


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
        }
        curves = {name: _curve(draw, steps, height, floor=height / 5) for name, height in heights.items()}
        run.trains(steps, total=STEPS, epochs=EPOCHS, **curves)
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


def worst_images() -> str:
    """Draw two images with boxes of a student and its teacher, as a run keeps them."""
    images = [_worst_image(number) for number in (1, 2)]
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


class Picture(NamedTuple):
    """A page to take a picture of."""

    name: str
    path: str
    ready: str
    """What shows that the page has its content."""
    height_px: int
    """Only what is on the screen is drawn."""
    has_phone: bool = False
    """Whether a picture shows it on a phone, too."""


def fill(server: PageServer) -> list[Picture]:
    """Submit jobs in several states, and return the pages that show them. A page of its own is a row here."""
    shown = server.started("resnet18 from resnet50")
    train(shown, num_epochs=9, best_ap=0.36, seed=1)
    shown.report({"kind": "evaluated", "epoch": 9, "step": 9 * _EPOCH - 1, "scores": scores_with_classes(0.342)})
    shown.report({"kind": "diagnosed", "diagnosis": diagnosis()})
    shown.saves("worst_images.json", worst_images().encode(), media_type="application/json")
    other = server.started("swin-t from swin-b", priority=5)
    train(other, num_epochs=3, best_ap=0.41, seed=2)
    sweep = started_sweep(server, "learning rate and decay")
    report_trials(sweep, range(120))
    cancelled = server.submit("wrong learning rate", priority=-100)
    server.request("POST", f"/v1/jobs/{cancelled}/cancel")
    for seed in range(3):
        server.submit(f"no distillation seed {seed}", project="baselines")
    job = f"/jobs/{shown.job_id}"
    return [
        Picture("jobs", "/", "tbody a", 600, has_phone=True),
        Picture("job", job, "fgd-chart output", 1100, has_phone=True),
        Picture("job-results", f"{job}?tab=results", ".marks table", 900),
        Picture("job-images", f"{job}?tab=images&map=attention", ".boxed", 900),
        Picture("job-history", f"{job}?tab=history", ".events li", 700),
        Picture("sweep", f"/jobs/{sweep.job_id}", "fgd-figure canvas", 1500, has_phone=True),
        Picture("compare", f"/compare?jobs={shown.job_id},{other.job_id}", "main table a", 1100),
    ]


def take(page: Page, url: str, pictures: Sequence[Picture], folder: Path) -> None:
    """Save a picture of each page in each theme, and of some on a phone."""
    for picture in pictures:
        page.goto(f"{url}{picture.path}")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            _save(page, picture, WIDTH_PX, folder / f"page-{picture.name}-{scheme}.png")
        if picture.has_phone:
            page.emulate_media(color_scheme="light")
            _save(page, picture, PHONE_PX, folder / f"page-{picture.name}-phone.png")


def _save(page: Page, picture: Picture, width_px: int, path: Path) -> None:
    page.set_viewport_size({"width": width_px, "height": picture.height_px})
    page.locator(picture.ready).first.wait_for()
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    # A palette of 64 colours looks the same, and has a third of the size.
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def main(folder: Path) -> None:
    """Make all pictures."""
    with TemporaryDirectory() as home, sync_playwright() as playwright:
        # Three runs fit; the others wait, and the page says why.
        server = PageServer(Path(home), cpus=3)
        server.start()
        try:
            pictures = fill(server)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            context = browser.new_context()
            context.set_default_timeout(60_000)
            context.request.post(
                f"{server.url}/v1/session", data={"token": ADMIN_TOKEN}, headers={"Origin": server.url}
            )
            take(context.new_page(), server.url, pictures, folder)
            browser.close()
        finally:
            server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
