"""Makes the pictures of the pages in `docs/images`, light and dark, from a server with runs that look real.

python -m tests.web.pictures docs/images
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.reports.browser import CHROMIUM
from tests.web.drawn_comparison import finished
from tests.web.drawn_job import EPOCHS, LOG, OUT_OF_MEMORY, STEPS, diagnosis, scores_with_classes, train, worst_images
from tests.web.drawn_study import answer, end_runs, started_study
from tests.web.drawn_sweep import report_trials, started_sweep
from tests.web.page_server import ADMIN_TOKEN, PageServer, distill_spec, train_spec
from tests.web.registered import dataset, model

WIDTH_PX, PHONE_PX = 1280, 390


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
    scroll_to: str = ""
    """What is on the screen; by default the top of the page."""


def fill(server: PageServer) -> list[Picture]:
    """Submit jobs in several states, and return the pages that show them. A page of its own is a row here."""
    (server.home / "output.log").write_text(LOG)
    # Runs that end come first: later ones hold the cluster.
    sides = [finished(server, name, seed) for name, seed in (("good", 1), ("poor", 2))]
    study = started_study(server, "does FGD help")
    end_runs(server, study)
    answer(server, study)
    street = dataset(server, "street")
    dataset(server, "street-at-night", is_checked=False)
    teacher = server.started("resnet50 teacher")
    train(teacher, num_epochs=12, best_ap=0.41, seed=3)
    model(server, teacher, "street-teacher")
    for seed, ap in enumerate((0.301, 0.309, 0.305)):
        done = server.started(f"no distillation seed {seed}", project="baselines", seed=seed)
        done.evaluates(STEPS, ap, epoch=EPOCHS)
        done.ends()
    spec = distill_spec("resnet18 from resnet50", teacher.job_id)
    shown = server.run_of(server.request("POST", "/v1/jobs", json=spec)["job_id"])
    shown.report({"kind": "teacher_checked", "ap": 0.402, "recorded_ap": 0.401, "same_data": True})
    train(shown, num_epochs=9, best_ap=0.36, seed=1)
    shown.report(
        {"kind": "evaluated", "epoch": 9, "step": 9 * STEPS // EPOCHS - 1, "scores": scores_with_classes(0.342)}
    )
    shown.report({"kind": "diagnosed", "diagnosis": diagnosis()})
    shown.saves("worst_images.json", worst_images().encode(), media_type="application/json")
    shown.saves("best.pt", b"weights")
    failed = server.started("larger images", retry={"failures": 0})
    failed.ends("failed", error=OUT_OF_MEMORY)
    other = server.started("swin-t from swin-b", priority=5)
    train(other, num_epochs=3, best_ap=0.41, seed=2)
    sweep = started_sweep(server, "learning rate and decay")
    report_trials(sweep, range(120))
    cancelled = server.submit("wrong learning rate", priority=-100)
    server.request("POST", f"/v1/jobs/{cancelled}/cancel")
    for seed in (3, 4):
        server.submit(f"no distillation seed {seed}", project="baselines", seed=seed)
    made_from = server.request("POST", f"/v1/jobs?parent={sides[0]}", json=train_spec("good 1 other rate", seed=1))
    job = f"/jobs/{shown.job_id}"
    return [
        Picture("jobs", "/", "tbody a", 600, has_phone=True),
        Picture("jobs-folded", "/?fold=seeds", "tbody a", 500),
        Picture("job", job, "fgd-chart output", 1100, has_phone=True),
        Picture("job-results", f"{job}?tab=results", ".marks table", 900),
        Picture("job-images", f"{job}?tab=images&map=attention", ".boxed", 900),
        Picture("job-history", f"{job}?tab=history", ".events li", 700),
        Picture("sweep", f"/jobs/{sweep.job_id}", ".standings tbody tr", 1100, has_phone=True),
        Picture("compare", f"/compare?jobs={','.join(sides)}", ".headline", 1100),
        Picture("compare-images", f"/compare?jobs={','.join(sides)}", ".headline", 900, scroll_to=".gallery section"),
        Picture("lineage", f"/jobs/{made_from['job_id']}?tab=files", ".lineage li", 500),
        Picture("study", f"/jobs/{study}", ".headline", 900, has_phone=True),
        Picture("submit", f"/submit?like={failed.job_id}", ".verdict .good", 900, has_phone=True),
        Picture("submit-start", "/submit", ".card", 700),
        Picture("data", "/data", "tbody a", 400),
        Picture("dataset", f"/data/{street}", ".samples img", 1100, has_phone=True),
        Picture("queue", "/queue", "tbody a", 800, has_phone=True),
        Picture("models", "/models", "tbody a", 400),
        Picture("model", "/models/street-teacher?project=default", ".tree li", 600),
        Picture("settings", "/settings", "tbody", 500),
        Picture("settings-tokens", "/settings?tab=tokens", "tbody", 400),
        Picture("settings-audit", "/settings?tab=audit", "tbody", 700, has_phone=True),
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
    if picture.scroll_to:
        page.get_by_role("heading", name="Images where they disagree").scroll_into_view_if_needed()
        page.locator(picture.scroll_to).first.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    page.screenshot(path=path)
    # A palette of 64 colours looks the same, and has a third of the size.
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


@contextmanager
def filled_server() -> Iterator[tuple[Page, PageServer, Sequence[Picture]]]:
    """Start a server with runs that look real; give a window of an admin, the server, and the pages to see."""
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
            yield context.new_page(), server, pictures
            browser.close()
        finally:
            server.kill()


def main(folder: Path) -> None:
    """Make all pictures."""
    with filled_server() as (page, server, pictures):
        take(page, server.url, pictures, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
