"""What holds for each page: keyboard and assistive technology can use it in both themes, and a phone can read it."""

from collections.abc import Mapping

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_server import OpenPage, PageServer, ReportingRun
from playwright.sync_api import Page, expect
from registered import dataset, model

from service.web.paths import PAGES

pytestmark = pytest.mark.one_database

PHONE = {"width": 390, "height": 800}
# What shows that a page has its content; by default it is its heading.
CONTENT = {"/models/{name}": "tbody", "/": "tbody a", "/jobs/{job_id}": "fgd-chart button", "/compare": "main table a"}


@pytest.fixture(scope="module")
def run(server: PageServer) -> ReportingRun:
    """A run with a long name, curves of two groups, and a warning."""
    run = server.started("a-name-without-spaces-that-is-longer-than-a-phone-is-wide")
    values = [2 / (1 + step) for step in range(20)]
    run.trains(range(20), total=40, **{"loss": values, "task/box": values})
    run.report({"kind": "warned", "code": "odd", "message": "a warning"})
    return run


@pytest.fixture(scope="module")
def addresses(server: PageServer, run: ReportingRun) -> Mapping[str, str]:
    """An address of each page that shows one thing; other pages need none."""
    dataset(server, "seen")
    model(server, server.started("to be named"), "seen")
    job = {"/jobs/{job_id}": f"/jobs/{run.job_id}", "/compare": f"/compare?jobs={run.job_id}"}
    return job | {"/data/{dataset}": "/data/seen", "/models/{name}": "/models/seen"}


def opened(page: str, addresses: Mapping[str, str], open_page: OpenPage) -> Page:
    window = open_page(addresses.get(page, page))
    expect(window.locator(CONTENT.get(page, "h1")).first).to_be_visible()
    return window


@pytest.mark.parametrize("page", PAGES)
def test_keyboard_and_assistive_technology_can_use_it_and_a_phone_can_read_it(
    page: str, addresses: Mapping[str, str], open_page: OpenPage
) -> None:
    """One test, because the browser loads the page once."""
    window = opened(page, addresses, open_page)
    assert_tab_reaches_every_control(window)
    assert window.locator("h1").count() == 1
    assert axe_findings(window) == []
    assert_fits_a_phone(window)


def axe_findings(window: Page) -> list[tuple[str, str, list[str]]]:
    """What axe-core finds in the light and the dark theme: (rule, theme, elements)."""
    findings = []
    for scheme in ("light", "dark"):
        window.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        found = Axe().run(window).response["violations"]
        findings += [(each["id"], scheme, [node["html"] for node in each["nodes"]]) for each in found]
    return findings


def assert_fits_a_phone(window: Page) -> None:
    """Check that a phone shows the page without scrolling sideways."""
    window.set_viewport_size(PHONE)
    wide = window.evaluate(
        """() => [...document.querySelectorAll("body *")]
            .filter((element) => element.getBoundingClientRect().right > 391 && !element.closest("table"))
            .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert window.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], wide


def test_the_keyboard_reaches_the_content_and_then_the_links(addresses: Mapping[str, str], open_page: OpenPage) -> None:
    window = opened("/", addresses, open_page)
    window.locator("body").press("Tab")
    expect(window.locator(":focus")).to_have_text("Skip to the content")
    window.keyboard.press("Enter")
    window.keyboard.press("Tab")
    assert window.evaluate("document.querySelector('main').contains(document.activeElement)")


ROUNDS = 8
"""Of a walk by Tab: on a busy machine, controls may come after the first one."""


def assert_tab_reaches_every_control(window: Page) -> None:
    # By their content: a live page may replace a control with an equal one.
    window.evaluate(
        """() => {
            window.reached = new Set();
            document.addEventListener("focusin", ({ target }) => window.reached.add(target.outerHTML));
        }"""
    )
    for _ in range(ROUNDS):
        missed = missed_by_tab(window)
        if not missed:
            break
        window.wait_for_timeout(1_000)
    assert missed == []


def missed_by_tab(window: Page) -> list[str]:
    """Press Tab from the content's beginning to its end; return the controls that never had the focus."""
    window.evaluate("document.querySelector('main').focus()")
    for _ in range(200):
        window.keyboard.press("Tab")
        if not window.evaluate("document.querySelector('main').contains(document.activeElement)"):
            break
    missed: list[str] = window.evaluate(
        """() => [...document.querySelectorAll("main :is(a[href], button, input, select, textarea, summary)")]
            .filter((each) => each.tabIndex >= 0 && !each.disabled && each.type !== "radio")
            .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !window.reached.has(each.outerHTML))
            .map((each) => each.outerHTML.slice(0, 150))"""
    )
    return missed


def test_the_header_marks_the_page_and_whether_it_is_live(addresses: Mapping[str, str], open_page: OpenPage) -> None:
    window = opened("/jobs/{job_id}", addresses, open_page)
    expect(window.locator("nav [aria-current]")).to_have_text("Jobs")
    expect(window.locator(".connection")).to_have_text("live")
    window.get_by_role("link", name="Compare").click()
    expect(window.locator("nav [aria-current]")).to_have_text("Compare")


def test_the_documentation_of_the_api_has_the_colours_of_the_page(
    addresses: Mapping[str, str], open_page: OpenPage
) -> None:
    window = opened("/", addresses, open_page)
    paper = "getComputedStyle(document.body).backgroundColor"
    for colours in ("light", "dark"):
        window.evaluate("(colours) => localStorage.setItem('fgd-theme', colours)", colours)
        window.goto(window.url.split("?")[0])
        wanted = window.evaluate(paper)
        window.goto(f"{window.url}docs")
        expect(window.locator("html.dark-mode")).to_have_count(1 if colours == "dark" else 0)
        assert window.evaluate(paper.replace("body", "documentElement")) == wanted
        window.go_back()


def test_a_page_that_cannot_be_loaded_says_so_and_loads_again(
    addresses: Mapping[str, str], open_page: OpenPage
) -> None:
    window = opened("/", addresses, open_page)
    window.route("**/pages/compare.js", lambda route: route.abort())
    window.get_by_role("link", name="Compare", exact=True).click()
    expect(window.get_by_role("alert")).to_contain_text("The server did not send this page.")
    window.unroute_all()
    window.get_by_role("button", name="Load again").click()
    expect(window.locator("h1")).to_have_text("Compare")
