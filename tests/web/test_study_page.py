"""The page of a study: its question, its runs while they run, and its answer."""

from drawn_study import WHY, answer, end_runs, started_study
from page_server import OpenPage, PageServer
from playwright.sync_api import Page, expect
from test_every_page import axe_findings


def test_a_study_shows_its_runs_and_then_the_answer(server: PageServer, open_page: OpenPage) -> None:
    study = started_study(server, "does it help")
    page = open_page(f"/jobs/{study}")
    expect(page.get_by_role("heading", name="What do distilling, inheriting and both bring?")).to_be_visible()
    expect(page.get_by_text("0 of 6 so far")).to_be_visible()
    table = page.get_by_role("region", name="Runs by arm and seed")
    expect(table.get_by_role("row")).to_have_count(3)
    cost = page.locator(".study section", has=page.get_by_role("heading", name="Cost"))
    expect(cost).to_contain_text("cost of 6 trainings")
    expect(cost.get_by_role("row", name="distilled")).to_contain_text("3")
    end_runs(server, study)
    expect(page.get_by_text("6 of 6 so far").or_(page.locator(".headline"))).to_be_visible()
    answer(server, study)
    sentences = server.get(f"/v1/jobs/{study}/report", format="json")["jobs"][0]["study"]["sentences"]
    expect(page.locator(".headline")).to_have_text(sentences[0])
    brings = page.get_by_role("region", name="What each brings")
    expect(brings.get_by_role("row", name="distilled against plain")).to_contain_text("+0.039")
    assert shown_tables(server, study, page)[0] == "Arms"
    expect(cost).to_contain_text(server.get(f"/v1/jobs/{study}/cost")["sentence"])
    assert axe_findings(page) == []

    table.get_by_role("link", name="distilled, seed 1: 0.351").click()
    expect(page.get_by_role("link", name="does it help")).to_have_attribute("href", f"/jobs/{study}")


def test_a_study_of_why_shows_each_setting_its_trend_and_the_teacher(server: PageServer, open_page: OpenPage) -> None:
    study = started_study(server, "why does it help", WHY)
    page = open_page(f"/jobs/{study}")
    expect(page.get_by_role("heading", name="Why does the distillation help, or not?")).to_be_visible()
    expect(
        page.get_by_role("region", name="Runs by arm and seed").get_by_role("row", name="temperature 2")
    ).to_be_visible()
    end_runs(server, study)
    answer(server, study)
    expect(page.locator(".headline")).to_contain_text("Distilling changes AP by +0.04")
    expect(page.get_by_text("Twice the temperature changes the distilled student's AP")).to_be_visible()
    assert shown_tables(server, study, page) == [
        "The gain in each setting",
        "Trends",
        "Teachers",
        "Variance over seeds",
    ]
    expect(page.locator("fgd-figure")).to_have_count(1)
    assert axe_findings(page) == []


def shown_tables(server: PageServer, study: str, page: Page) -> list[str]:
    """Check that the page shows the tables of the HTML report, cell for cell, and return their titles."""
    tables = server.get(f"/v1/jobs/{study}/report", format="charts")["tables"]
    for figures in tables:
        cells = page.get_by_role("region", name=figures["title"]).locator("tbody").locator("th, td")
        expect(cells).to_have_text([cell for row in figures["rows"] for cell in row])
    return [figures["title"] for figures in tables]
