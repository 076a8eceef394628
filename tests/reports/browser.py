"""Opens pages in a headless Chromium: returns the drawn charts, requests, console messages, and screenshots."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH_PX = 1200
_TALL_PX = 16_000

# Waits for the charts and the table of trials, then records the drawn data and the position of each.
_READ_BACK = """
const boxOf = ({ left, top, width, height }) => [left + scrollX, top + scrollY, width, height];
const chartOf = (element) => {
  const { traces, points, lines } = element.drawn;
  return { data: traces, points, lines, box: boxOf(element.getBoundingClientRect()) };
};
const readBack = () => {
  const drawn = [...document.querySelectorAll("fgd-figure")];
  const table = document.getElementById("trials");
  // On a busy machine a chart may be drawn once before the page has given it any width.
  const isEmpty = (each) => each.drawn.traces.length === 0 && each.getBoundingClientRect().width > 0;
  const areDrawn = Number(document.body.dataset.drawn ?? 0) >= drawn.length && !drawn.some(isEmpty);
  const isReady = areDrawn && (!table || table.dataset.rows);
  if (!isReady) { setTimeout(readBack, 50); return; }
  const charts = Object.fromEntries(drawn.map((element) => [element.id, chartOf(element)]));
  const height = document.documentElement.scrollHeight;
  const found = { charts, height, extra: (EXTRA)() };
  const place = document.createElement("script");
  place.type = "application/json";
  place.id = "read-back";
  place.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(found))));
  document.body.append(place);
};
readBack();
"""


@dataclass(frozen=True)
class Opened:
    charts: dict[str, dict[str, Any]]
    """By element: the drawn traces, how many points and lines are on the screen, and the box in pixels."""
    extra: Any
    """The result of the test's own function."""
    height_px: int
    requests: list[str]
    """URLs that the page requested, except its own file."""
    console: list[str]


def dumped(path: Path, folder: Path, *, height_px: int = _TALL_PX) -> str:
    """Return the document after its scripts have run, in a window in which all charts are in view."""
    return _chromium(folder, path, "--dump-dom", height_px=height_px).stdout


def open_page(page: str, folder: Path, *, extra: str = "() => null") -> Opened:
    """Open a page in a window in which all charts are in view, and wait until they are drawn.

    Args:
        extra: a JavaScript function that is called once the charts are drawn.
    """
    path = folder / "page.html"
    path.write_text(with_script(page, _READ_BACK.replace("EXTRA", extra), before="</body>"))
    log = folder / "network.json"
    done = _chromium(folder, path, f"--log-net-log={log}", "--enable-logging=stderr", "--dump-dom")
    (coded,) = re.findall(r'id="read-back">([^<]*)<', done.stdout)
    found = json.loads(base64.b64decode(coded))
    return Opened(
        charts=found["charts"],
        extra=found["extra"],
        height_px=found["height"],
        requests=_requests(log, path.as_uri()),
        console=re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr),
    )


def with_script(page: str, script: str, *, before: str) -> str:
    """Return the page with a script of the test, which the page's policy then allows."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    return page.replace(before, f"<script>{script}</script>{before}", 1)


def screenshot(page: str, folder: Path, *, height_px: int) -> Path:
    """Return a PNG of the whole page."""
    path, image = folder / "page.html", folder / "page.png"
    path.write_text(page)
    _chromium(folder, path, f"--screenshot={image}", height_px=height_px)
    return image


def _chromium(folder: Path, path: Path, *options: str, height_px: int = _TALL_PX) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    # Its own time runs faster than the clock: on a busy machine a minute of it passed before a chart was drawn.
    return subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            # All requests of the browser itself fail, because no name resolves.
            *("--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={WIDTH_PX},{height_px}"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=600000", *options, path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )


def _requests(log: Path, own: str) -> list[str]:
    """Return the requests of the page; requests of the browser itself have no origin."""
    events = [
        event["params"] for event in json.loads(log.read_text())["events"] if isinstance(event.get("params"), dict)
    ]
    begun = [
        params for params in events if "url" in params and params.get("initiator", "not an origin") != "not an origin"
    ]
    return [
        params["url"] for params in begun if params["url"] != own and not params["url"].startswith(("data:", "blob:"))
    ]
