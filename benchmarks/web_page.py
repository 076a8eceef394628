"""Measures the page in Chromium: bytes, time to the first picture, memory after an hour of events, the server's CPU.

    python -m benchmarks.web_page [--steps 100000] [--pages 50] [--out benchmarks/results]

One run reports ten curves, with a million points together. The first picture is the time from the navigation to the
moment at which a page shows its content; of a job, every chart on the screen. Cold is a browser without a cache, warm
one that has the files. An hour of a busy run is a progress event each second with 10 points of each curve; events of
10 s are sent at once, so the hour takes less than a minute. The server's CPU is that of its process while each open
page, of as many users, follows the same run. Run it alone: about 3 minutes on 2 cores.
"""

import argparse
import json
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from rich.console import Console

from service.web import assets
from service.web.paths import PAGES
from tests.reports.browser import CHROMIUM
from tests.web.page_server import ADMIN_TOKEN, PageServer, training_events
from tests.web.registered import dataset, model

CURVES = ("loss", *(f"task/{number}" for number in range(4)), *(f"distill/{number}" for number in range(5)))
_FIRST_TAB = "pages/job_progress.js"
"""What the page of a job loads for the tab that it shows first."""
_BATCH = 5000
_HOUR_S = 3600
_STEPS_PER_S = 10
_AT_ONCE_S = 10
_WATCHED_S = 10
_CHARTS = """() => {
    const isOnScreen = (chart) => chart.getBoundingClientRect().top < innerHeight;
    const charts = [...document.querySelectorAll("fgd-chart")].filter(isOnScreen);
    return charts.length > 2 && charts.every((chart) => chart.shown.lines.length > 0) && performance.now();
}"""
_HAS = "() => document.querySelector(%s) !== null && performance.now()"
_CONTENT: Mapping[str, str] = {
    "/": "tbody a",
    "/jobs/{job_id}": "",
    "/compare": "fgd-chart",
    "/submit": "main h2",
    "/data": "tbody a",
    "/data/{dataset}": "main h1",
    "/queue": "main table",
    "/models": "tbody a",
    "/models/{name}": "main h1",
    "/settings": "main table",
}
"""What shows that a page has its content, as a selector; of a job, all charts do."""

Row = Mapping[str, str | float]


def main() -> None:
    """Measure, and write the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="points of each of the ten curves")
    parser.add_argument("--pages", type=int, default=50, help="open pages for the server's CPU")
    parser.add_argument("--hour", type=int, default=_HOUR_S, help="progress events for the memory")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="fgd-page-") as home, sync_playwright() as playwright:
        server = PageServer(Path(home))
        server.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            found = Measurement(server, browser, options).found()
        finally:
            browser.close()
            server.kill()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "web_page.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "web_page.md").write_text(as_markdown(found))
    Console().print(as_markdown(found), markup=False)


def as_markdown(found: Mapping[str, Sequence[Row]]) -> str:
    """Write a table for each list of rows."""
    machine = f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}"
    parts = [f"# The page\n\n`python -m benchmarks.web_page`; {machine}. Times and CPU times in ms, medians."]
    for title, rows in found.items():
        lines = [
            [*rows[0]],
            ["---", *["---:"] * (len(rows[0]) - 1)],
            *[[_cell(each) for each in row.values()] for row in rows],
        ]
        parts.append(f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


class Measurement:
    """Measures one server with one run."""

    def __init__(self, server: PageServer, browser: Browser, options: argparse.Namespace) -> None:
        self._server, self._browser, self._options = server, browser, options
        self._run = server.started("measured")
        self._step = 0

    def found(self) -> Mapping[str, Sequence[Row]]:
        """Return the rows of each table."""
        dataset(self._server, "seen")
        model(self._server, self._server.started("to be named"), "seen")
        while self._step < self._options.steps:
            self._train(min(_BATCH, self._options.steps - self._step))
        points = f"{len(CURVES) * self._step:,} points"
        return {
            f"First picture; the job has {points}": [self._first_picture(page) for page in _CONTENT],
            "Memory of scripts, MB": self._memory(),
            "CPU of the server, % of one core": self._cpu_of_pages(),
        }

    def _train(self, *counts: int) -> None:
        """Report so many steps in each event."""
        events: list[Mapping[str, object]] = []
        for count in counts:
            steps = range(self._step, self._step + count)
            values = [1 / (1 + step / 1000) + 0.01 * (step * 7919 % 13) for step in steps]
            events += training_events(steps, dict.fromkeys(CURVES, values), total=10 * self._options.steps)
            self._step += count
        self._run.report(*events)

    def _first_picture(self, page: str) -> Row:
        """Return the bytes of a page, the times until it is drawn, and what it and the server computed for that."""
        found: dict[str, list[float]] = defaultdict(list)
        for _ in range(self._options.repetitions):
            context = self._signed_in()
            window = context.new_page()
            chromium = context.new_cdp_session(window)
            chromium.send("Performance.enable", {"timeDomain": "threadTicks"})
            for kind in ("cold", "warm"):
                used_s = self._server.cpu_s()
                found[kind].append(self._show(window, page))
                # Chromium counts anew for each document.
                metrics = {each["name"]: each["value"] for each in chromium.send("Performance.getMetrics")["metrics"]}
                found[f"{kind}, CPU of the page"].append(1000 * metrics["TaskDuration"])
                found[f"{kind}, CPU of the server"].append(1000 * (self._server.cpu_s() - used_s))
            context.close()
        medians = {figure: statistics.median(values) for figure, values in found.items()}
        modules = [PAGES[page], *([_FIRST_TAB] if page == "/jobs/{job_id}" else [])]
        files = [assets.assets()[name] for name in {name for module in modules for name in assets.needed(module)}]
        size, packed_size = sum(len(each.content) for each in files), sum(len(each.packed) for each in files)
        return {"page": page, "kB": size / 1000, "kB, compressed": packed_size / 1000, **medians}

    def _memory(self) -> Sequence[Row]:
        context = self._signed_in()
        windows = {page: context.new_page() for page in ("/jobs/{job_id}", "/")}
        for page, window in windows.items():
            self._show(window, page)
        before = [_heap_bytes(window) for window in windows.values()]
        for _ in range(0, self._options.hour, _AT_ONCE_S):
            self._train(*[_STEPS_PER_S] * _AT_ONCE_S)
        windows["/"].wait_for_timeout(3000)
        after = [_heap_bytes(window) for window in windows.values()]
        context.close()
        later = f"after {self._options.hour:,} events"
        return [
            {"page": page, "before": at_first / 1e6, later: at_last / 1e6}
            for page, at_first, at_last in zip(windows, before, after, strict=True)
        ]

    def _cpu_of_pages(self) -> Sequence[Row]:
        found: list[Row] = [{"open pages": "0", "while the run reports": self._cpu_percent()}]
        # As many users, each with a browser profile: the windows of one profile share one stream.
        contexts = [self._signed_in() for _ in range(self._options.pages)]
        for context in contexts:
            self._show(context.new_page(), "/jobs/{job_id}")
        found.append({"open pages": str(self._options.pages), "while the run reports": self._cpu_percent()})
        for context in contexts:
            context.close()
        return found

    def _cpu_percent(self) -> float:
        """Return the server's CPU time in relation to the time, while the run reports once a second."""
        began, used_s = time.monotonic(), self._server.cpu_s()
        for second in range(_WATCHED_S):
            self._train(_STEPS_PER_S)
            time.sleep(max(0.0, began + second + 1 - time.monotonic()))
        return 100 * (self._server.cpu_s() - used_s) / (time.monotonic() - began)

    def _signed_in(self) -> BrowserContext:
        context = self._browser.new_context(viewport={"width": 1300, "height": 900})
        context.set_default_timeout(120_000)
        here = self._server.url
        context.request.post(f"{here}/v1/session", data={"token": ADMIN_TOKEN}, headers={"Origin": here})
        return context

    def _show(self, window: Page, page: str) -> float:
        """Open a page, and return the milliseconds until it is drawn."""
        job_id = self._run.job_id
        path = page.format(job_id=job_id, dataset="seen", name="seen") + (
            f"?jobs={job_id}" if page == "/compare" else ""
        )
        window.goto(f"{self._server.url}{path}")
        content = _CONTENT[page]
        drawn_ms: float = window.wait_for_function(_HAS % json.dumps(content) if content else _CHARTS).json_value()
        return drawn_ms


def _heap_bytes(page: Page) -> int:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


if __name__ == "__main__":
    main()
