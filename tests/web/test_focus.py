"""A live page keeps the keyboard's focus where it is while its rows change, move and go."""

from collections.abc import Iterator

import pytest
from page_server import OpenPage, PageServer
from playwright.sync_api import expect

WHOLE_CLUSTER = {"cpus": 64}


@pytest.fixture(scope="module", autouse=True)
def busy(server: PageServer) -> Iterator[None]:
    """A run because of which jobs that need the whole cluster wait."""
    run = server.started("keeps others waiting")
    yield
    run.ends()


def test_the_focus_stays_in_a_row_that_changes_and_moves_and_goes_on_when_it_leaves(
    server: PageServer, open_page: OpenPage
) -> None:
    first, second, last = [
        server.submit(f"in line {number}", project="line", priority=-95 - number, resources=WHOLE_CLUSTER)
        for number in (1, 2, 3)
    ]
    page = open_page("/queue")
    row = page.get_by_role("region", name="Waiting jobs").locator("tr", has_text="in line 2")
    link = row.get_by_role("link")
    link.focus()
    # It changes: its priority.
    server.request("PATCH", f"/v1/jobs/{second}", json={"priority": -96})
    expect(row).to_contain_text("-96")
    expect(link).to_be_focused()
    # It moves.
    server.request("PATCH", f"/v1/jobs/{last}", json={"priority": -90})
    server.request("PATCH", f"/v1/jobs/{second}", json={"priority": -93})
    names = page.get_by_role("region", name="Waiting jobs").locator("tbody a", has_text="in line")
    expect(names).to_have_text(["in line 3", "in line 2", "in line 1"])
    expect(link).to_be_focused()
    # It leaves: the focus is on the row behind it, and Tab goes on from there.
    server.request("POST", f"/v1/jobs/{second}/cancel")
    expect(row).to_have_count(0)
    behind = page.get_by_role("region", name="Waiting jobs").locator("tr", has_text="in line 1")
    expect(behind).to_be_focused()
    page.keyboard.press("Tab")
    expect(behind.get_by_role("link")).to_be_focused()
    for job_id in (first, last):
        server.request("POST", f"/v1/jobs/{job_id}/cancel")


def test_the_focus_stays_in_the_list_of_jobs(server: PageServer, open_page: OpenPage) -> None:
    jobs = [
        server.submit(f"listed {number}", project="listed", priority=-100, resources=WHOLE_CLUSTER) for number in (1, 2)
    ]
    page = open_page("/?project=listed&sort=-priority")
    expect(page.locator("tbody a")).to_have_text(["listed 2", "listed 1"])
    link = page.get_by_role("link", name="listed 1")
    link.focus()
    server.request("PATCH", f"/v1/jobs/{jobs[0]}", json={"priority": -99})
    expect(page.locator("tbody a")).to_have_text(["listed 1", "listed 2"])
    expect(link).to_be_focused()
    for job_id in jobs:
        server.request("POST", f"/v1/jobs/{job_id}/cancel")
