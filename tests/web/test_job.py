"""The page of one job: its tabs, and what can be done with it."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_server import OpenPage, PageServer, ReportingRun
from playwright.sync_api import Page, expect
from test_every_page import PHONE

from tests.web.drawn_job import OUT_OF_MEMORY, diagnosis, scores_with_classes, worst_images

pytestmark = pytest.mark.one_database


def falling(steps: range) -> list[float]:
    return [2 / (1 + step / 50) for step in steps]


def zoom_of(page: Page) -> dict[str, float] | None:
    found: dict[str, float] | None = page.evaluate("document.querySelector('fgd-chart')?.shown.zoom")
    return found


class TestCurves:
    @pytest.fixture
    def run(self, server: PageServer) -> ReportingRun:
        run = server.started("two epochs")
        run.trains(range(100), total=200, epochs=2, loss=falling(range(100)))
        run.report({"kind": "epoch_finished", "epoch": 1, "epochs": 2, "step": 99, "steps": 200, **_SPEED})
        return run

    def test_a_link_holds_the_zoom_and_an_update_keeps_it(self, open_page: OpenPage, run: ReportingRun) -> None:
        page = open_page(f"/jobs/{run.job_id}?zoom=20-60")
        page.wait_for_function("() => document.querySelector('fgd-chart')?.shown.lines.length > 0")
        assert zoom_of(page) == {"low": 20, "high": 60}
        run.trains(range(100, 130), total=200, epochs=2, loss=falling(range(100, 130)))
        expect(page.locator("dl.facts")).to_contain_text("129 of 200")
        assert zoom_of(page) == {"low": 20, "high": 60}
        page.locator("fgd-chart canvas").first.dblclick()
        page.wait_for_function("() => document.querySelector('fgd-chart').shown.zoom === null")
        assert "zoom" not in page.url

    @pytest.mark.parametrize(("against", "label"), [("epoch", "epoch"), ("time", "seconds since the start")])
    def test_curves_are_shown_against(self, open_page: OpenPage, run: ReportingRun, against: str, label: str) -> None:
        page = open_page(f"/jobs/{run.job_id}")
        page.get_by_label("against").select_option(against)
        assert f"x={against}" in page.url
        canvas = page.locator("fgd-chart[label=Loss] canvas")
        expect(canvas).to_be_visible()
        canvas.hover()
        expect(canvas).to_have_attribute("aria-label", re.compile(f"at {label} "))


class TestActions:
    def test_priority_export_and_model(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("to be named")
        run.saves("best.pt", b"weights")
        page = open_page(f"/jobs/{run.job_id}")
        _choose(page, "Priority…")
        page.get_by_role("spinbutton", name="Priority").fill("7")
        page.get_by_role("button", name="Change").click()
        expect(page.locator(".title")).to_contain_text("priority 7")
        run.ends()
        expect(page.locator(".title .state")).to_have_text("succeeded")

        _choose(page, "Name a model…")
        page.get_by_label("Model", exact=True).fill("9 lives")
        page.get_by_role("button", name="Name", exact=True).click()
        # The server's own words, in the dialog.
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("name")
        page.get_by_label("Model", exact=True).fill("street-signs")
        page.get_by_label("Alias").fill("production")
        page.get_by_role("button", name="Name", exact=True).click()
        expect(page.locator(".head .notice")).to_contain_text("best.pt is version 1 of street-signs")
        (version,) = server.get("/v1/models/street-signs")["versions"]
        assert (version["job_id"], version["aliases"]) == (run.job_id, ["production"])

        _choose(page, "Export…")
        page.get_by_role("button", name="Submit").click()
        link = page.get_by_role("link", name="export of to be named")
        exported = server.get(f"/v1/jobs/{(link.get_attribute('href') or '').rpartition('/')[2]}")
        assert exported["spec"]["checkpoint"] == f"job:{run.job_id}/best"
        server.request("POST", f"/v1/jobs/{exported['job_id']}/cancel")

    def test_a_job_is_deleted(self, server: PageServer, open_page: OpenPage) -> None:
        job_id = server.submit("to be deleted", priority=-100)
        server.request("POST", f"/v1/jobs/{job_id}/cancel")
        page = open_page(f"/jobs/{job_id}")
        _choose(page, "Delete…")
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.locator(".head .notice")).to_contain_text("The job is deleted.")
        assert server.get("/v1/jobs", q=job_id)["items"] == []

    def test_a_reader_sees_why_not(self, server: PageServer, open_page: OpenPage) -> None:
        job_id = server.submit("only to look at", priority=-100)
        page = open_page(f"/jobs/{job_id}", token=server.token("read"))
        page.locator(".menu summary").click()
        for name in ("Submit one like this", "Priority…", "Export…", "Name a model…", "Delete…"):
            entry = page.get_by_role("button", name=name)
            expect(entry).to_be_disabled()
            expect(entry).to_contain_text("needs a token with the role submit")
        expect(page.get_by_role("link", name="Compare with other jobs")).to_be_visible()


def test_a_run_shows_what_it_is_predicted_to_reach_and_how_far_it_came(server: PageServer, open_page: OpenPage) -> None:
    def run(seed: int) -> ReportingRun:
        run = server.started("predicted", seed=seed, data={"type": "shapes", "num_train": 41, "num_val": 10})
        run.trains(range(10), total=40, loss=falling(range(10)))
        run.evaluates(9, 0.1, epoch=1)
        return run

    for seed in (1, 2):
        earlier = run(seed)
        earlier.evaluates(39, 0.3 + seed / 100, epoch=4)
        earlier.ends()
    newest = run(3)
    page = open_page(f"/jobs/{newest.job_id}")
    predicted = page.locator("aside section", has=page.get_by_role("heading", name="Prediction"))
    expect(predicted).to_contain_text(server.get(f"/v1/jobs/{newest.job_id}/prediction")["sentence"])
    assert predicted.locator("tbody .interval").count() > 0
    newest.evaluates(39, 0.31, epoch=4)
    newest.ends()
    cost = page.locator("aside section", has=page.get_by_role("heading", name="Cost"))
    expect(cost).to_contain_text("It took")
    expect(cost).to_contain_text(server.get(f"/v1/jobs/{newest.job_id}/cost")["sentence"])
    reached = server.get(f"/v1/jobs/{newest.job_id}/prediction")["reached"]
    expect(predicted.get_by_role("row", name=re.compile("AP reached"))).to_contain_text(f"{reached:.3f}")


class TestTabs:
    def test_history_has_states_attempts_and_events(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("with a history")
        run.report({"kind": "resumed", "checkpoint": "last.pt", "epoch": 3, "step": 1200})
        page = open_page(f"/jobs/{run.job_id}?tab=history")
        expect(page.locator(".events")).to_contain_text("continues from last.pt: epoch 3, step 1,200")
        expect(page.locator(".spans")).to_have_attribute("aria-label", re.compile("running"))
        # The tab follows, too.
        run.report({"kind": "warned", "code": "odd", "message": "an odd thing"})
        expect(page.locator(".events .warning")).to_contain_text("an odd thing")
        expect(page.locator("tbody tr")).to_have_count(1)

    def test_the_log_stands_beside_the_curves_and_can_be_downloaded(
        self, server: PageServer, open_page: OpenPage
    ) -> None:
        run = server.started("that prints")
        (server.home / "output.log").write_text("the first line\n")
        page = open_page(f"/jobs/{run.job_id}")
        expect(page.get_by_role("region", name="Log")).to_contain_text("the first line")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.path().read_text() == "the first line\n"

    def test_the_log_of_an_earlier_attempt_can_be_read(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("tried twice", retry={"failures": 0})
        run.ends("failed", error=OUT_OF_MEMORY)
        server.request("POST", f"/v1/jobs/{run.job_id}/retry")
        page = open_page(f"/jobs/{run.job_id}")
        with page.expect_request(lambda request: "/logs?" in request.url and "attempt=1" in request.url):
            page.get_by_label("Attempt").select_option("attempt 1")
        expect(page.get_by_label("Attempt").locator("option")).to_have_text(["newest attempt", "attempt 1"])

    def test_tabs_open_by_arrow_keys_and_by_a_link(self, server: PageServer, open_page: OpenPage) -> None:
        job_id = server.submit("with tabs", priority=-100)
        page = open_page(f"/jobs/{job_id}")
        page.get_by_role("tab", name="Progress").focus()
        page.keyboard.press("End")
        expect(page.get_by_role("tab", name="Files and spec")).to_be_focused()
        expect(page.get_by_role("tabpanel", name="Files and spec")).to_contain_text("None yet.")
        assert page.url.endswith("?tab=files")
        page.go_back()
        expect(page.get_by_role("tab", name="Progress")).to_have_attribute("aria-selected", "true")

    def test_the_model_card_and_the_exported_files_are_shown(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("has a card")
        run.saves("model_card.md", b"# A detector\n<b>of cells</b>", media_type="text/markdown")
        run.saves("model.onnx", b"weights")
        page = open_page(f"/jobs/{run.job_id}?tab=files")
        expect(page.get_by_role("region", name="Model card")).to_have_text("# A detector\n<b>of cells</b>")
        with page.expect_download() as download:
            page.get_by_role("link", name="model.onnx").click()
        assert download.value.path().read_bytes() == b"weights"

    def test_a_spec_is_shown_by_what_differs(self, server: PageServer, open_page: OpenPage) -> None:
        first = server.submit("the first", priority=-100)
        second = server.submit("the second", priority=-100, seed=3)
        page = open_page(f"/jobs/{second}?tab=files&against={first}")
        expect(page.locator(".differences tbody th")).to_have_text(["name", "seed"])
        expect(page.locator(".differences tbody tr").last.locator("td")).to_have_text(["0", "3"])

    def test_images_show_boxes_of_student_and_teacher_and_maps(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("with images")
        run.saves("worst_images.json", worst_images().encode(), media_type="application/json")
        page = open_page(f"/jobs/{run.job_id}?tab=images")
        expect(page.locator(".panels").first.locator("figcaption")).to_have_text(
            ["with images1 right, 1 wrong, 3 missed", "teacher resnet503 right, 1 missed"]
        )
        page.get_by_label("Map").select_option("attention")
        expect(page.locator(".map")).to_have_count(4)
        page.get_by_role("button", name="missed").click()
        expect(page.locator(".box.missed")).to_have_count(0)
        assert "map=attention" in page.url

    def test_results_have_scores_classes_and_errors(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("with results")
        page = open_page(f"/jobs/{run.job_id}?tab=results")
        expect(page.get_by_role("tabpanel")).to_contain_text("No scores yet")
        run.report({"kind": "evaluated", "epoch": 1, "step": 5, "scores": scores_with_classes(0.342)})
        run.report({"kind": "diagnosed", "diagnosis": diagnosis()})
        # The tab follows the run.
        expect(page.locator("dl.facts").last).to_contain_text("AP500.492")
        expect(page.locator(".marks tbody").first.locator("th").first).to_have_text("bird")
        expect(page.locator(".marks tbody").last.locator("th").first).to_contain_text("missed")

    def test_every_tab_is_accessible_and_fits_a_phone(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("a-long-name-without-any-spaces-in-it-for-a-phone")
        run.report({"kind": "evaluated", "epoch": 1, "step": 5, "scores": scores_with_classes(0.342)})
        run.report({"kind": "diagnosed", "diagnosis": diagnosis()})
        run.saves("worst_images.json", worst_images().encode(), media_type="application/json")
        page = open_page(f"/jobs/{run.job_id}")
        content = {"Results": ".marks", "Images": ".boxed", "History": ".events li", "Files and spec": "pre.spec"}
        for name, shown in content.items():
            page.set_viewport_size({"width": 1300, "height": 900})
            page.get_by_role("tab", name=name).click()
            expect(page.locator(shown).first).to_be_visible()
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                found = Axe().run(page).response["violations"]
                assert [(name, each["id"], each["nodes"][0]["html"]) for each in found] == []
            page.set_viewport_size(PHONE)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name


_SPEED = {"images_per_s": 10.0, "eta_s": 1.0, "learning_rate": 0.01, "values": {"loss": 1.0}}


def _choose(page: Page, entry: str) -> None:
    page.locator(".menu summary").click()
    page.get_by_role("button", name=entry).click()
