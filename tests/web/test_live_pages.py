"""The page in a real browser, over a real server."""

import sqlite3

import pytest
from page_server import OpenPage, PageServer
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.one_database

HOSTILE = '<img src=x onerror="window.hit = 1"><b>bold</b> \u202egnp.exe'
NUM_JOBS = 10_000


def steps_of(page: Page, line: str) -> list[int]:
    """Return the steps of a curve's points, as the page draws them."""
    found: list[int] = page.evaluate(
        """(name) => [...document.querySelectorAll("fgd-chart")].flatMap((chart) => chart.shown.lines)
            .filter((line) => line.name === name).flatMap((line) => line.xs)""",
        line,
    )
    return found


def wait_for_steps(page: Page, line: str, number: int) -> list[int]:
    page.wait_for_function(
        """([name, number]) => [...document.querySelectorAll("fgd-chart")].flatMap((chart) => chart.shown.lines)
            .some((line) => line.name === name && line.xs.length >= number)""",
        arg=[line, number],
    )
    return steps_of(page, line)


def falling(steps: range) -> list[float]:
    return [2 / (1 + step / 50) for step in steps]


class TestJob:
    def test_curves_grow_and_a_killed_server_loses_and_doubles_no_point(
        self, server: PageServer, open_page: OpenPage
    ) -> None:
        run = server.started("grows")
        run.trains(range(50), total=400, loss=falling(range(50)))
        page = open_page(f"/jobs/{run.job_id}")
        assert wait_for_steps(page, "loss", 50) == list(range(50))

        run.trains(range(50, 100), total=400, loss=falling(range(50, 100)))
        run.evaluates(99, 0.25)
        assert wait_for_steps(page, "loss", 100) == list(range(100))
        expect(page.locator("dl.facts")).to_contain_text("0.250")

        server.kill()
        expect(page.locator(".connection")).to_have_attribute("data-state", "away")
        server.start()
        run.trains(range(100, 150), total=400, loss=falling(range(100, 150)))
        assert wait_for_steps(page, "loss", 150) == list(range(150))
        expect(page.locator(".connection")).to_have_attribute("data-state", "live")

        # A run that resumes at an earlier step replaces its later points.
        run.report({"kind": "resumed", "checkpoint": "last.pt", "epoch": 1, "step": 119})
        run.trains(range(120, 160), total=400, loss=[9.0] * 40)
        assert wait_for_steps(page, "loss", 160) == list(range(160))
        loss = page.locator("fgd-chart[label=Loss] canvas")
        expect(loss).to_have_attribute("aria-label", "Loss, newest values: loss 9")

    def test_a_hidden_tab_follows_nothing_and_catches_up(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("sleeps")
        run.trains(range(20), total=100, loss=falling(range(20)))
        page = open_page(f"/jobs/{run.job_id}")
        wait_for_steps(page, "loss", 20)
        # The part of the page that is read last.
        expect(page.locator("aside")).to_contain_text("ost of 1 training")
        hide = """(isHidden) => { Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange")); }"""
        page.evaluate(hide, True)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        run.trains(range(20, 40), total=100, loss=falling(range(20, 40)))
        page.wait_for_timeout(1500)
        assert requests == []
        page.evaluate(hide, False)
        assert wait_for_steps(page, "loss", 40) == list(range(40))

    def test_text_of_a_run_stays_text(self, server: PageServer, open_page: OpenPage) -> None:
        run = server.started("hostile")
        finding = {"problem": HOSTILE, "action": "dropped", "count": 1, "meaning": HOSTILE}
        counts = {"num_images": 1, "num_images_without_boxes": 0, "num_boxes": 1, "num_crowd": 0}
        classes = {"boxes_per_category": {HOSTILE: 1}, "findings": [finding]}
        run.report({"kind": "warned", "code": "odd", "message": HOSTILE})
        run.report({"kind": "data_checked", "split": "train"} | counts | classes)
        run.trains(range(5), total=10, **{f"task/{HOSTILE}": falling(range(5))})
        page = open_page(f"/jobs/{run.job_id}")
        expect(page.locator(".findings")).to_contain_text(HOSTILE)
        expect(page.locator(".legend").first).to_contain_text(HOSTILE)
        # A prediction, which needs runs of other tests, draws its values as `b`.
        assert page.locator("main img, main b:not(.interval > b)").count() == 0
        assert page.evaluate("window.hit") is None

    def test_buttons_act_and_another_tab_sees_it(self, server: PageServer, open_page: OpenPage) -> None:
        job_id = server.submit("to be cancelled", priority=-100)
        first, second = open_page(f"/jobs/{job_id}"), open_page("/?q=to+be+cancelled")
        expect(second.locator("tbody .state")).to_be_visible()
        first.get_by_role("button", name="Cancel", exact=True).click()
        for page in (first, second):
            expect(page.locator("main .state").first).to_contain_text("cancel")
        assert server.get(f"/v1/jobs/{job_id}")["state"] in ("cancelling", "cancelled")
        expect(first.get_by_role("button", name="Retry")).to_be_enabled()


class TestSignIn:
    def test_a_link_needs_a_token_first_and_then_shows_its_page(self, server: PageServer, open_page: OpenPage) -> None:
        job_id = server.submit("behind a sign-in", priority=-100)
        page = open_page(f"/jobs/{job_id}", token=None)
        page.get_by_label("API token").fill("fgd_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("does not know this API token")
        page.get_by_label("API token").fill(server.token("read"))
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("h1")).to_have_text("behind a sign-in")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API token")).to_be_visible()

    def test_a_reader_can_cancel_nothing(self, server: PageServer, open_page: OpenPage) -> None:
        job_id = server.submit("not for readers", priority=-100)
        page = open_page(f"/jobs/{job_id}", token=server.token("read"))
        button = page.get_by_role("button", name="Cancel", exact=True)
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", "needs a token with the role submit; yours has the role read")
        status = page.evaluate(f"fetch('/v1/jobs/{job_id}/cancel', {{ method: 'POST' }}).then((a) => a.status)")
        assert status == 403
        page.goto(f"{server.url}/?q=not+for+readers")
        page.locator("tbody input").click()
        expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_disabled()


class TestJobs:
    @pytest.fixture(scope="class")
    @classmethod
    def many(cls, server: PageServer) -> str:
        """10,000 ended jobs, copied from one; returns the beginning of their names."""
        job_id = server.submit("pattern", priority=-100)
        server.request("POST", f"/v1/jobs/{job_id}/cancel")
        with sqlite3.connect(server.home / "fgd.db", timeout=60) as database:
            database.row_factory = sqlite3.Row
            row = dict(database.execute("SELECT * FROM jobs WHERE id = ?", [job_id]).fetchone())
            names = ", ".join(row)
            marks = ", ".join(f":{name}" for name in row)
            copies = [row | {"id": f"copy{number:08d}", "name": f"many {number:05d}"} for number in range(NUM_JOBS)]
            database.executemany(f"INSERT INTO jobs ({names}) VALUES ({marks})", copies)
        return "many"

    def test_ten_thousand_rows_scroll_and_filter(self, open_page: OpenPage, many: str) -> None:
        page = open_page(f"/?q={many}")
        expect(page.locator("tbody a").first).to_have_text("many 09999")
        expect(page.locator(".jobs > .bar .faint")).to_contain_text("more follow")
        for _ in range(60):  # as one who scrolls on until rows come
            page.locator(".scroll").evaluate("(element) => { element.scrollTop = element.scrollHeight; }")
            page.wait_for_timeout(500)
            if "400" in page.locator(".jobs > .bar .faint").inner_text():
                break
        expect(page.locator(".jobs > .bar .faint")).to_contain_text("400 jobs loaded")
        assert page.locator("tbody tr").count() < 100
        page.get_by_label("Search by name or id").fill("many 0012")
        expect(page.locator(".jobs > .bar .faint")).to_have_text("10 jobs")

    def test_back_and_forward_restore_what_was_shown(self, server: PageServer, open_page: OpenPage) -> None:
        server.submit("a way back", priority=-100)
        page = open_page("/?q=way+back")
        page.get_by_role("button", name="active").click()
        page.get_by_role("link", name="a way back").click()
        expect(page.locator("h1")).to_have_text("a way back")
        page.go_back()
        expect(page.get_by_role("button", name="active")).to_have_attribute("aria-pressed", "true")
        page.go_back()
        expect(page.get_by_role("button", name="active")).to_have_attribute("aria-pressed", "false")
        expect(page.get_by_label("Search by name or id")).to_have_value("way back")
        page.go_forward()
        page.go_forward()
        expect(page.locator("h1")).to_have_text("a way back")
