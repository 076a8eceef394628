"""The page of a sweep of 500 trials, in a real browser."""

import re
from typing import Any

import pytest
import yaml
from drawn_sweep import RATE, best_of, ends_at, report_trials, started_sweep, trial_events, values_of
from page_server import OpenPage, PageServer, ReportingRun
from playwright.sync_api import Page, expect

from service.web import assets
from service.web.paths import FILES

pytestmark = pytest.mark.one_database

NUM_TRIALS = 500
LOW, HIGH = 0.004, 0.03
BEST = max(range(NUM_TRIALS), key=best_of)
ONE_EPOCH = {"type": "asha", "grace_epochs": 1}
VALUES: list[Any] = [
    {"a": [], "b": {}, "c": [1, [2, {"d": None}]], "e": [{"x": 1, "y": [True]}]},
    {"small": 1e-7, "large": 1e21, "negative": -2.5e-9, "whole": 3, "half": 0.5},
    ["yes", "null", "1e3", " a", "a ", "a: b", "# no", "-", "", "0x1", "~", "tab\t", 'quote"', "line\nfeed"],
    {"on": 1, "with space": 2, "\x85\u2028": "é 漢 \x9f"},
]


@pytest.fixture(scope="module")
def sweep(server: PageServer) -> ReportingRun:
    run = started_sweep(server, "sweep of 500")
    report_trials(run, range(NUM_TRIALS))
    return run


def between(low: float, high: float) -> list[int]:
    return [trial for trial in range(NUM_TRIALS) if low <= values_of(trial)[RATE] <= high]


def inside(page: Page) -> list[int]:
    """Return the trials whose lines pass all limits, as the chart draws them."""
    found: list[int] = page.evaluate("document.querySelector('fgd-parallel').shown.inside")
    return sorted(found)


def wait_for_lines(page: Page, number: int) -> None:
    count = "(number) => document.querySelector('fgd-parallel')?.shown.inside.length === number"
    page.wait_for_function(count, arg=number)


def drag_on_first_axis(page: Page, low: float, high: float) -> None:
    """Draw a limit along the axis of the learning rate, whose ends are 1e-4 and 1e-1."""
    frame = page.evaluate("document.querySelector('fgd-parallel').shown.frame")
    box = page.locator("fgd-parallel canvas").bounding_box()
    assert box is not None
    x = box["x"] + frame["xs"][0]
    for index, part in enumerate((low, high)):
        y = box["y"] + frame["bottom"] - part * (frame["bottom"] - frame["top"])
        page.mouse.move(x, y, steps=3)
        page.mouse.down() if index == 0 else page.mouse.up()


def test_a_sweep_that_is_over_shows_which_settings_mattered(server: PageServer, open_page: OpenPage) -> None:
    run = started_sweep(server, "which settings", searcher={"type": "random"}, scheduler=ONE_EPOCH)
    report_trials(run, range(30))
    run.ends()
    report = server.get(f"/v1/jobs/{run.job_id}/report")
    page = open_page(f"/jobs/{run.job_id}")
    rows = page.locator(".effects tbody tr")
    expect(rows).to_have_count(4)
    best, *others = report["effects"]["dimensions"]
    assert (best["path"], best["verdict"]) == (RATE, "mattered")
    expect(rows.first).to_have_text(f"{RATE}{best['finding']}–")
    expect(rows.last).to_contain_text(others[-1]["to_know"])
    expect(page.get_by_text(report["effects"]["holds_for"])).to_be_visible()


class TestTrials:
    def test_five_hundred_trials_are_in_the_table_and_few_in_the_document(
        self, sweep: ReportingRun, open_page: OpenPage
    ) -> None:
        page = open_page(f"/jobs/{sweep.job_id}")
        expect(page.locator(".trials tbody button").first).to_have_text(str(BEST))
        assert page.locator(".trials tbody tr").count() < 60
        page.locator(".trials .scroll").evaluate("(element) => { element.scrollTop = element.scrollHeight; }")
        page.get_by_label("Find trials").fill("completed")
        completed = sum(ends_at(trial) == 9 for trial in range(NUM_TRIALS))
        expect(page.get_by_text(f"{completed} of {NUM_TRIALS} trials")).to_be_visible()

    def test_a_limit_on_an_axis_filters_the_table_and_a_link_shows_the_same(
        self, sweep: ReportingRun, open_page: OpenPage
    ) -> None:
        page = open_page(f"/jobs/{sweep.job_id}")
        # The verdict comes later and moves what is below.
        expect(page.locator(".standings")).to_be_visible()
        page.locator("fgd-parallel canvas").scroll_into_view_if_needed()
        wait_for_lines(page, NUM_TRIALS)
        drag_on_first_axis(page, 0.5, 0.8)
        expect(page.locator(".chip")).to_contain_text("learning_rate")
        found = inside(page)
        assert 50 < len(found) < 250
        expect(page.get_by_text(f"{len(found)} of {NUM_TRIALS} trials")).to_be_visible()
        page.reload()
        expect(page.get_by_text(f"{len(found)} of {NUM_TRIALS} trials")).to_be_visible()
        page.locator(".chip").click()
        expect(page.get_by_text(f"{NUM_TRIALS} trials", exact=True)).to_be_visible()

    def test_limits_of_the_address_are_those_of_the_values(self, sweep: ReportingRun, open_page: OpenPage) -> None:
        page = open_page(f"/jobs/{sweep.job_id}?brush={RATE}~{LOW}~{HIGH}")
        expect(page.locator(".chip")).to_be_visible()
        assert inside(page) == between(LOW, HIGH)

    def test_the_keyboard_limits_an_axis(self, sweep: ReportingRun, open_page: OpenPage) -> None:
        page = open_page(f"/jobs/{sweep.job_id}")
        wait_for_lines(page, NUM_TRIALS)
        page.locator("fgd-parallel canvas").focus()
        page.keyboard.press("ArrowUp")
        expect(page.locator(".chip")).to_have_count(1)
        page.keyboard.press("Delete")
        expect(page.locator(".chip")).to_have_count(0)

    def test_a_new_trial_appears_and_grows(self, server: PageServer, open_page: OpenPage) -> None:
        run = started_sweep(server, "grows live")
        report_trials(run, range(6))
        page = open_page(f"/jobs/{run.job_id}?sort=trial")
        expect(page.locator(".trials tbody button")).to_have_count(6)
        run.report(*trial_events(6, last=1))
        expect(page.locator(".trials tbody button")).to_have_count(7)
        expect(page.locator(".trials tbody tr").nth(7)).to_contain_text("running")
        run.report({"kind": "trial_ended", "trial": 6, "cause": "completed", "epoch": 9})
        expect(page.locator(".trials tbody tr").nth(7)).to_contain_text("completed")

    def test_one_trial_shows_its_values_and_its_curves(self, sweep: ReportingRun, open_page: OpenPage) -> None:
        points = {"kind": "metrics_logged", "steps": [0, 1], "values": {"loss": [2.0, 1.0]}}
        sweep.report({"kind": "trial_event", "trial": 7, "event": points})
        page = open_page(f"/jobs/{sweep.job_id}?trial=7")
        expect(page.locator("section.trial h2")).to_have_text("Trial 7")
        expect(page.locator("table.values")).to_contain_text(RATE)
        expect(page.locator("section.trial .legend")).to_contain_text("loss")


class TestVerdict:
    def test_it_says_what_to_use_and_gives_the_spec(self, sweep: ReportingRun, open_page: OpenPage) -> None:
        page = open_page(f"/jobs/{sweep.job_id}")
        expect(page.locator(".headline")).to_contain_text(f"Use the values of trial {BEST}")
        expect(page.locator(".standings tbody tr").first).to_contain_text(str(BEST))
        page.get_by_text("The job to use").click()
        spec = yaml.safe_load(page.locator(".best-spec pre").inner_text())
        assert spec["training"]["optimizer"]["learning_rate"] == pytest.approx(values_of(BEST)[RATE])
        page.get_by_role("link", name="Submit it …").click()
        expect(page.locator("textarea")).to_have_value(re.compile(f"name: sweep of 500 trial {BEST}"))

    def test_what_it_copies_is_yaml(self, open_page: OpenPage) -> None:
        page = open_page("/compare")
        module = f"{FILES}/{assets.version()}/core/yaml.js"
        for value in VALUES:
            written = page.evaluate(
                "([url, value]) => import(url).then(({ toYaml }) => toYaml(value))", [module, value]
            )
            assert yaml.safe_load(written) == value, written


class TestCharts:
    def test_those_of_the_report_are_there_when_one_scrolls_to_them(
        self, sweep: ReportingRun, open_page: OpenPage
    ) -> None:
        page = open_page(f"/jobs/{sweep.job_id}")
        expect(page.locator(".standings")).to_be_visible()
        page.locator(".sweep-charts").scroll_into_view_if_needed()
        titles = ["Learning curves", "Best so far over cost", "Importance", "One dimension at a time"]
        expect(page.locator(".sweep-charts h3").filter(has_text="Importance")).to_be_visible()
        assert set(titles) <= set(page.locator(".sweep-charts h3").all_inner_texts())


class TestActions:
    def test_a_user_adds_and_stops_a_trial_and_extends_the_sweep(self, server: PageServer, open_page: OpenPage) -> None:
        run = started_sweep(server, "controlled")
        report_trials(run, range(3))
        run.report(*trial_events(3, last=1))
        page = open_page(f"/jobs/{run.job_id}?trial=3")
        page.locator("section.trial").get_by_role("button", name="Stop").click()
        expect(page.get_by_text("Asked trial 3 to stop.")).to_be_visible()

        page.get_by_role("button", name="Add a trial …").click()
        page.get_by_label("clip_norm").fill("-1")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("clip_norm")
        page.get_by_label("clip_norm").fill("5.5")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_role("dialog")).to_have_count(0)

        page.get_by_role("button", name="Extend …").click()
        page.get_by_label("More trials").fill("20")
        page.get_by_role("button", name="Extend", exact=True).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        events = server.get("/v1/events", job_id=run.job_id, after="0", limit=1000)
        asked = {event["kind"]: event["data"] for event in events["items"]}
        assert asked["trial_stop_asked"]["trial"] == 3
        assert asked["trial_asked"]["values"]["training.clip_norm"] == 5.5
        assert asked["budget_raised"]["trials"] == 20

    def test_a_reader_can_change_nothing(self, server: PageServer, sweep: ReportingRun, open_page: OpenPage) -> None:
        page = open_page(f"/jobs/{sweep.job_id}?trial=3", token=server.token("read"))
        for name in ("Add a trial …", "Extend …", "Add a trial like it …"):
            button = page.get_by_role("button", name=name)
            expect(button).to_be_disabled()
            expect(button).to_have_attribute("title", "needs a token with the role submit; yours has the role read")
        page.locator(".trials tbody input").first.check()
        expect(page.get_by_role("button", name="Stop", exact=True).first).to_be_disabled()
