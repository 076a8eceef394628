"""Several windows of one browser, which allows six connections to a server for all of them together."""

import pytest
from page_server import OpenPage, PageServer, ReportingRun
from playwright.sync_api import expect
from test_live_pages import falling, wait_for_steps

pytestmark = pytest.mark.one_database

NUM_WINDOWS = 8


def report(run: ReportingRun, steps: range) -> None:
    run.trains(steps, total=100, loss=falling(steps))


def test_eight_windows_share_one_stream(server: PageServer, open_page: OpenPage) -> None:
    runs = [server.started(f"window {number}") for number in range(NUM_WINDOWS)]
    for run in runs:
        report(run, range(20))
    (server.home / "output.log").write_text("the first line\n")
    jobs = open_page("/?q=window")
    windows = [open_page(f"/jobs/{run.job_id}", token=None) for run in runs]
    for window in windows:
        wait_for_steps(window, "loss", 20)
        expect(window.locator(".connection")).to_have_text("live")
        expect(window.locator(".log pre")).to_contain_text("the first line")
    assert server.num_streams() == 1

    # The window that came first is closed: nothing changes for the others, which also get what comes meanwhile.
    windows[0].close()
    server.kill()
    expect(jobs.locator(".connection")).to_have_attribute("data-state", "away")
    server.start()
    for run, window in [*zip(runs, windows, strict=True)][1:]:
        report(run, range(20, 40))
        assert wait_for_steps(window, "loss", 40) == list(range(40))
    expect(jobs.get_by_role("row", name="window 7")).to_contain_text("epoch 2 of 4")
    assert server.num_streams() == 1


def test_a_browser_without_shared_workers_follows_in_each_window(server: PageServer, open_page: OpenPage) -> None:
    run = server.started("alone")
    report(run, range(20))
    window = open_page("/livez")
    window.add_init_script("delete window.SharedWorker")
    window.goto(f"{server.url}/jobs/{run.job_id}")
    wait_for_steps(window, "loss", 20)
    expect(window.locator(".connection")).to_have_text("live")
    report(run, range(20, 40))
    assert wait_for_steps(window, "loss", 40) == list(range(40))
