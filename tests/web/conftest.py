"""One server for all tests of the page, and one browser for each file; each test gets windows and jobs of its own.

The tests of a file share the browser's cache: a page whose modules it has costs 1.6 s of CPU time, otherwise 2.5 s.
"""

from collections.abc import Iterator

import pytest
from page_server import ADMIN_TOKEN, OpenPage, PageServer
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from service.web.paths import COOKIE
from tests.reports.browser import CHROMIUM

# A busy machine answers later than in five seconds.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def kept_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    server = PageServer(tmp_path_factory.mktemp("home"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def server(kept_server: PageServer) -> Iterator[PageServer]:
    """The server; it stops while other files are tested, where it would take a tenth of a core or more."""
    kept_server.go_on()
    yield kept_server
    kept_server.pause()


# Not for the session: while Playwright runs, asynchronous tests of other folders cannot start a loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine to open the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(60_000)
    return context


@pytest.fixture
def open_page(server: PageServer, context: BrowserContext) -> Iterator[OpenPage]:
    """Opens a path in a new window, signed in with a token; checks at the end that no window asked another server for
    anything, and that none failed. The next test finds no sign-in, and nothing that this one stored."""
    requests: list[str] = []
    errors: list[str] = []

    def open_page(path: str, token: str | None = ADMIN_TOKEN) -> Page:
        if token is not None:
            # Again if the server closes the connection of the last test just now, as after five idle seconds.
            context.request.post(
                f"{server.url}/v1/session", data={"token": token}, headers={"Origin": server.url}, max_retries=3
            )
            assert [cookie["name"] for cookie in context.cookies()] == [COOKIE]
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{server.url}{path}")
        return page

    yield open_page
    for page in context.pages:
        if page.url.startswith(f"{server.url}/"):
            page.evaluate("localStorage.clear()")
        page.close()
    context.clear_cookies()
    assert [url for url in requests if not url.startswith((f"{server.url}/", "data:"))] == []
    assert errors == []
