"""Runs side by side, in a real browser."""

import pytest
from drawn_comparison import begun, ends, finished
from drawn_sweep import report_trials, started_sweep
from page_server import OpenPage, PageServer, ReportingRun
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.one_database

HOSTILE = '<img src=x onerror="window.hit = 1">'


@pytest.fixture(scope="module")
def runs(server: PageServer) -> list[str]:
    """Two seeds of each of two configurations; the good ones first."""
    return [finished(server, name, seed) for name, seed in (("good", 1), ("good", 2), ("poor", 3), ("poor", 4))]


def side_of(page: Page, name: str) -> str:
    return page.get_by_label(f"Side of {name}").input_value()


class TestCompare:
    def test_seeds_of_a_configuration_are_one_side_and_the_verdict_comes_from_them(
        self, runs: list[str], open_page: OpenPage
    ) -> None:
        page = open_page(f"/compare?jobs={','.join(runs)}")
        expect(page.locator(".headline")).to_be_visible()
        assert [side_of(page, name) for name in ("good 1", "good 2", "poor 3", "poor 4")] == ["a", "a", "b", "b"]
        expect(page.get_by_text("Chance is measured over seeds")).to_be_visible()
        differing = page.locator(".fields tbody th").all_inner_texts()
        assert sorted(differing) == ["seed", "training.optimizer.learning_rate"]

    def test_images_of_the_whole_split_come_with_the_largest_disagreement_first(
        self, runs: list[str], open_page: OpenPage
    ) -> None:
        page = open_page(f"/compare?jobs={runs[0]},{runs[2]}")
        page.get_by_role("heading", name="Images where they disagree").scroll_into_view_if_needed()
        images = page.locator(".gallery section")
        expect(images).to_have_count(12)
        expect(images.first.locator("figcaption")).to_have_text(
            ["good 13 right, 1 missed", "poor 31 right, 1 wrong, 3 missed"]
        )
        expect(images.first.locator("img")).to_have_count(2)
        # Of this one, no run has kept the picture.
        expect(images.nth(11).get_by_role("img")).to_have_count(2)
        expect(images.nth(11)).to_contain_text("no run has kept this picture")
        page.get_by_role("button", name="Show more").click()
        expect(images).to_have_count(20)

    def test_a_run_says_that_it_still_runs_and_joins_when_it_ends(
        self, server: PageServer, runs: list[str], open_page: OpenPage
    ) -> None:
        run = begun(server, "poor", 5)
        page = open_page(f"/compare?jobs={runs[0]},{run.job_id}")
        page.get_by_role("heading", name="Images where they disagree").scroll_into_view_if_needed()
        expect(page.get_by_text("poor 5 is running, step 199 of 200. Its curves grow above")).to_be_visible()
        expect(page.get_by_text("The test needs finished runs; poor 5 is running")).to_be_visible()
        ends(run, "poor", 5)
        expect(page.locator(".gallery section").first).to_be_visible()
        expect(page.locator(".headline")).to_be_visible()
        expect(page.get_by_text("Its curves grow above")).to_have_count(0)

    def test_another_side_is_in_the_link_and_back_undoes_it(self, runs: list[str], open_page: OpenPage) -> None:
        page = open_page(f"/compare?jobs={runs[0]},{runs[2]}")
        expect(page.get_by_text("Chance is measured over the 60 images")).to_be_visible()
        expect(page.locator(".standings tbody tr").first).to_contain_text("A is better")
        page.get_by_label("Side of good 1").select_option("")
        expect(page.get_by_text("Put at least one run on side A")).to_be_visible()
        page.reload()
        expect(page.get_by_text("Put at least one run on side A")).to_be_visible()
        page.go_back()
        expect(page.get_by_label("Side of good 1")).to_have_value("a")
        page.get_by_role("button", name="Remove good 1").click()
        expect(page.locator(".runs tbody tr")).to_have_count(1)

    def test_curves_lie_over_each_other_and_grow(self, server: PageServer, open_page: OpenPage) -> None:
        first, second = server.started("curve 1"), server.started("curve 2")
        for run in (first, second):
            run.trains(range(5), total=20, **{"loss": [1.0] * 5, f"task/{HOSTILE}": [1.0] * 5})
        page = open_page(f"/compare?jobs={first.job_id}")
        page.get_by_label("Add a job by name or id").fill("curve 2")
        page.locator(".found button").click()
        expect(page.locator(".runs tbody tr")).to_have_count(2)
        shown = """(number) => [...document.querySelectorAll("fgd-chart")].map((chart) => chart.shown.lines)
            .some((lines) => lines.length === 2 && lines[1].xs.length === number)"""
        page.wait_for_function(shown, arg=5)
        second.trains(range(5, 9), total=20, loss=[1.0] * 4)
        page.wait_for_function(shown, arg=9)
        expect(page.get_by_text(f"task/{HOSTILE}")).to_be_visible()
        assert page.locator("main img").count() == 0

    def test_trials_of_a_sweep_are_compared_from_its_table(self, server: PageServer, open_page: OpenPage) -> None:
        run: ReportingRun = started_sweep(server, "of trials")
        report_trials(run, range(3))
        page = open_page(f"/jobs/{run.job_id}?sort=trial")
        boxes = page.locator(".trials tbody input")
        expect(boxes).to_have_count(3)
        for box in boxes.all():
            box.check()
        page.get_by_role("link", name="Compare", exact=True).last.click()
        expect(page.locator(".runs tbody a")).to_have_text([f"of trials trial {trial}" for trial in range(3)])
        expect(page.locator(".fields tbody th")).to_contain_text(["learning_rate", "clip_norm"])
