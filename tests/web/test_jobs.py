"""The table of all jobs: what it shows, and what can be done with many jobs at once."""

import re

import pytest
from page_server import OpenPage, PageServer
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.one_database


@pytest.fixture(scope="module")
def pair(server: PageServer) -> list[str]:
    """Ids of two waiting jobs of the project `pairs`."""
    return [server.submit(f"pair {number}", project="pairs", priority=-100) for number in (1, 2)]


def headings(page: Page) -> list[str]:
    return page.locator("thead th").all_inner_texts()[1:]


class TestView:
    def test_a_project_is_chosen_from_a_list_and_kept_in_the_address(
        self, open_page: OpenPage, pair: list[str]
    ) -> None:
        page = open_page("/")
        page.get_by_role("combobox", name="Project").select_option("pairs")
        expect(page.locator("tbody a")).to_have_text(["pair 2", "pair 1"])
        assert page.url.endswith("?project=pairs")

    def test_columns_are_chosen_and_remembered(self, server: PageServer, open_page: OpenPage, pair: list[str]) -> None:
        page = open_page("/?project=pairs")
        expect(page.get_by_role("link", name="pair 1")).to_be_visible()
        page.get_by_text("Columns").click()
        page.get_by_label("Loss").check()
        page.get_by_label("Progress", exact=True).uncheck()
        expect(page.locator("thead th.progress")).to_have_count(0)
        assert headings(page)[:3] == ["Name", "State", "Best AP"]
        assert "Loss" in headings(page)
        # The next page of this browser has them as well, and a link can show others.
        page.goto(f"{server.url}/?project=pairs")
        expect(page.get_by_role("columnheader", name="Loss")).to_be_visible()
        page.goto(f"{server.url}/?project=pairs&columns=by")
        expect(page.get_by_role("columnheader", name="By")).to_be_visible()
        assert headings(page) == ["Name", "By"]

    def test_an_empty_list_says_why(self, open_page: OpenPage) -> None:
        page = open_page("/?q=there+is+no+such+job")
        expect(page.locator(".nothing")).to_contain_text("No job matches this filter.")


class TestManyJobs:
    def test_priority_changes_and_comparison_of_selected_jobs(
        self, server: PageServer, open_page: OpenPage, pair: list[str]
    ) -> None:
        page = open_page("/?project=pairs")
        for name in ("pair 1", "pair 2"):
            page.get_by_label(f"select {name}").check()
        compare = page.get_by_role("group", name="Selected jobs").get_by_role("link", name="Compare")
        first, second = pair
        expect(compare).to_have_attribute("href", re.compile(f"={first},{second}$|={second},{first}$"))
        page.get_by_role("button", name="Priority…").click()
        page.get_by_role("spinbutton", name="Priority").fill("-50")
        page.get_by_role("button", name="Change").click()
        expect(page.locator("tbody td", has_text="-50")).to_have_count(2)
        assert [server.get(f"/v1/jobs/{job_id}")["priority"] for job_id in pair] == [-50, -50]

    def test_a_job_that_still_waits_is_not_deleted(
        self, server: PageServer, open_page: OpenPage, pair: list[str]
    ) -> None:
        page = open_page("/?project=pairs")
        page.get_by_label("select pair 1").check()
        page.get_by_role("button", name="Delete…").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_role("alert")).to_contain_text(pair[0])
        expect(page.get_by_role("link", name="pair 1")).to_be_visible()


class TestOrderAndSeeds:
    @pytest.fixture(scope="class")
    @classmethod
    def seeds(cls, server: PageServer) -> list[str]:
        """Ids of three runs of one spec that reached different scores."""
        found = []
        for seed, ap in ((1, 0.30), (2, 0.34), (3, 0.32)):
            run = server.started(f"seed {seed}", project="folded", seed=seed)
            run.evaluates(5, ap)
            run.ends()
            found.append(run.job_id)
        return found

    def test_the_server_sorts(self, open_page: OpenPage, seeds: list[str]) -> None:
        page = open_page("/?project=folded&sort=-best_ap")
        expect(page.locator("tbody a")).to_have_text(["seed 2", "seed 3", "seed 1"])
        page.get_by_role("button", name="Best AP").click()
        expect(page.locator("tbody a")).to_have_text(["seed 1", "seed 3", "seed 2"])
        assert page.url.endswith("sort=best_ap")

    def test_runs_that_differ_in_their_seed_are_one_row(self, open_page: OpenPage, seeds: list[str]) -> None:
        page = open_page("/?project=folded")
        page.get_by_role("button", name="Fold seeds").click()
        expect(page.locator("tbody tr:not(.spacer)")).to_have_count(1)
        # 0.320 with a deviation of 0.020, and 4.303 * 0.020 / sqrt(3) on each side.
        expect(page.locator("tbody td.mean")).to_have_text(["0.320", "0.270 to 0.370"])
        # Selecting a row selects all its jobs.
        page.locator("tbody input").check()
        compare = page.get_by_role("group", name="Selected jobs").get_by_role("link", name="Compare")
        assert sorted((compare.get_attribute("href") or "").partition("=")[2].split(",")) == sorted(seeds)
        page.locator("tbody a").click()
        expect(page.locator("tbody a")).to_have_text(["seed 3", "seed 2", "seed 1"])
        expect(page.get_by_role("button", name="one spec, all seeds")).to_be_visible()
