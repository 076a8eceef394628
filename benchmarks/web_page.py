"""Measures the page in Chromium: bytes, time to the first picture, memory after an hour of events, the server's CPU.

    python -m benchmarks.web_page [--steps 100000] [--pages 50] [--out benchmarks/results]

A run reports ten curves. The first picture is the time from the navigation to the moment at which every chart on the
screen is drawn: cold in a browser without a cache, warm in one that has the files. An hour of a busy run is a progress
event each second with 100 points; it is replayed faster. The server's CPU is that of its process while every page
follows the same run. Run it alone; about 3 minutes on 2 cores.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from rich.console import Console

from service.web import assets
from service.web.paths import PAGES
from tests.reports.browser import CHROMIUM
from tests.web.page_server import ADMIN_TOKEN, PageServer, ReportingRun

CURVES = ("loss", *(f"task/{number}" for number in range(4)), *(f"distill/{number}" for number in range(5)))
_BATCH = 5000
_HOUR_S = 3600
_WATCHED_S = 20
_IS_DRAWN = """() => {
    const isOnScreen = (chart) => chart.getBoundingClientRect().top < innerHeight;
    const charts = [...document.querySelectorAll("fgd-chart")].filter(isOnScreen);
    return charts.length > 2 && charts.every((chart) => chart.shown.lines.length > 0) && performance.now();
}"""

Figures = Mapping[str, float]


def main() -> None:
    """Measure, and write the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="points of each of the ten curves")
    parser.add_argument("--pages", type=int, default=50, help="open pages for the server's CPU")
    parser.add_argument("--hour", type=int, default=_HOUR_S, help="progress events for the memory")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="fgd-page-") as home, sync_playwright() as playwright:
        server = PageServer(Path(home))
        server.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            found = measure(server, browser, options)
        finally:
            browser.close()
            server.kill()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "web_page.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "web_page.md").write_text(table(found))
    Console().print(table(found), markup=False)


def measure(server: PageServer, browser: Browser, options: argparse.Namespace) -> Figures:
    """Return all figures by name."""
    run = server.started("measured")
    total = 2 * options.steps
    for start in range(0, options.steps, _BATCH):
        _train(run, range(start, min(start + _BATCH, options.steps)), total)
    sizes = _sizes()
    times = _first_pictures(server, browser, run, options.repetitions)
    memory = _memory(server, browser, run, range(options.steps, options.steps + 100 * options.hour), total)
    cpu = _cpu_of_pages(server, browser, run, options.pages, options.steps + 100 * options.hour)
    return {**sizes, "points": len(CURVES) * options.steps, **times, **memory, **cpu}


def table(found: Figures) -> str:
    """Write the figures as Markdown."""
    machine = f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}"
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:,.6g} |" for name, value in found.items())
    return f"# The page\n\n`python -m benchmarks.web_page`; {machine}.\n\n| figure | value |\n|---|---:|\n{rows}\n"


def _sizes() -> Figures:
    """Return the size of each page with all that it imports, and what the network carries of it."""
    found: dict[str, float] = {}
    for module in sorted(set(PAGES.values())):
        files = [assets.assets()[name] for name in assets.needed(module)]
        name = module.removeprefix("pages/").removesuffix(".js")
        found[f"{name}_page_kB"] = sum(len(file.content) for file in files) / 1000
        found[f"{name}_page_compressed_kB"] = sum(len(file.packed) for file in files) / 1000
    return found


def _train(run: ReportingRun, steps: range, total: int) -> None:
    values = [1 / (1 + step / 1000) + 0.01 * (step * 7919 % 13) for step in steps]
    run.trains(steps, total=total, **dict.fromkeys(CURVES, values))


def _signed_in(server: PageServer, browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(120_000)
    context.request.post(f"{server.url}/v1/session", data={"token": ADMIN_TOKEN}, headers={"Origin": server.url})
    return context


def _drawn_ms(page: Page, url: str) -> float:
    page.goto(url)
    drawn_ms: float = page.wait_for_function(_IS_DRAWN).json_value()
    return drawn_ms


def _first_pictures(server: PageServer, browser: Browser, run: ReportingRun, repetitions: int) -> Figures:
    url = f"{server.url}/jobs/{run.job_id}"
    found: dict[str, list[float]] = {}
    for _ in range(repetitions):
        context = _signed_in(server, browser)
        page = context.new_page()
        chromium = context.new_cdp_session(page)
        chromium.send("Performance.enable", {"timeDomain": "threadTicks"})
        for kind in ("cold", "warm"):
            used_s = server.cpu_s()
            found.setdefault(f"first_picture_{kind}_ms", []).append(_drawn_ms(page, url))
            found.setdefault(f"first_picture_{kind}_server_CPU_ms", []).append(1000 * (server.cpu_s() - used_s))
            # Chromium counts anew for each document.
            metrics = {each["name"]: each["value"] for each in chromium.send("Performance.getMetrics")["metrics"]}
            found.setdefault(f"first_picture_{kind}_page_CPU_ms", []).append(1000 * metrics["TaskDuration"])
        context.close()
    return {name: statistics.median(values) for name, values in found.items()}


def _memory(server: PageServer, browser: Browser, run: ReportingRun, steps: range, total: int) -> Figures:
    context = _signed_in(server, browser)
    page = context.new_page()
    _drawn_ms(page, f"{server.url}/jobs/{run.job_id}")
    before = _heap_bytes(page)
    for start in range(steps.start, steps.stop, 100):
        _train(run, range(start, start + 100), total)
    page.wait_for_timeout(3000)
    after = _heap_bytes(page)
    context.close()
    return {"heap_before_MB": before / 1e6, "heap_after_an_hour_MB": after / 1e6}


def _heap_bytes(page: Page) -> int:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])


def _cpu_of_pages(server: PageServer, browser: Browser, run: ReportingRun, num_pages: int, step: int) -> Figures:
    alone = _cpu_share(server, run, step)
    # As many users: one profile of a browser opens six connections to a server, and each page holds one.
    contexts = [_signed_in(server, browser) for _ in range(num_pages)]
    for context in contexts:
        _drawn_ms(context.new_page(), f"{server.url}/jobs/{run.job_id}")
    watched = _cpu_share(server, run, step + 100 * _WATCHED_S)
    for context in contexts:
        context.close()
    return {"cpu_without_pages_percent": 100 * alone, f"cpu_with_{num_pages}_pages_percent": 100 * watched}


def _cpu_share(server: PageServer, run: ReportingRun, step: int) -> float:
    """Return the server's CPU time in relation to the time, while the run reports once a second."""
    began, used_s = time.monotonic(), server.cpu_s()
    for second in range(_WATCHED_S):
        _train(run, range(step + 100 * second, step + 100 * second + 100), 10**9)
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))
    return (server.cpu_s() - used_s) / (time.monotonic() - began)


if __name__ == "__main__":
    main()
