"""Makes the pictures of the pages in `docs/images`, light and dark, from a server with runs that look real.

python -m tests.web.pictures docs/images
"""

import math
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from tests.reports.browser import CHROMIUM
from tests.web.page_server import ADMIN_TOKEN, PageServer, ReportingRun

STEPS, EPOCHS = 4800, 12
_EPOCH = STEPS // EPOCHS


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


def fill(server: PageServer) -> ReportingRun:
    """Submit jobs in several states; returns the run of the one that the pictures show."""
    shown = server.started("resnet18 from resnet50")
    train(shown, num_epochs=9, best_ap=0.36, seed=1)
    other = server.started("swin-t from swin-b", priority=5)
    train(other, num_epochs=3, best_ap=0.41, seed=2)
    cancelled = server.submit("wrong learning rate", priority=-100)
    server.request("POST", f"/v1/jobs/{cancelled}/cancel")
    for seed in range(3):
        server.submit(f"no distillation seed {seed}", project="baselines")
    return shown


def take(page: Page, server: PageServer, run: ReportingRun, folder: Path) -> None:
    """Save a picture of each page in each theme."""
    pages = (("jobs", "/", "tbody a", 600), ("job", f"/jobs/{run.job_id}", "fgd-chart output", 1600))
    for name, path, ready, height_px in pages:
        # Only what is on the screen is drawn.
        page.set_viewport_size({"width": 1300, "height": height_px})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.goto(f"{server.url}{path}")
            page.locator(ready).first.wait_for()
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / f"page-{name}-{scheme}.png")


def main(folder: Path) -> None:
    """Make all pictures."""
    with TemporaryDirectory() as home, sync_playwright() as playwright:
        # Two runs fit; the others wait, and the page says why.
        server = PageServer(Path(home), cpus=2)
        server.start()
        try:
            run = fill(server)
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            context = browser.new_context()
            context.set_default_timeout(60_000)
            context.request.post(
                f"{server.url}/v1/session", data={"token": ADMIN_TOKEN}, headers={"Origin": server.url}
            )
            take(context.new_page(), server, run, folder)
            browser.close()
        finally:
            server.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
