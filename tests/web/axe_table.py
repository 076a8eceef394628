"""Writes what axe-core finds on each page, in both themes, as a table; the server has runs that look real.

python -m tests.web.axe_table docs/accessibility.md
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.web.pictures import Picture, filled_server

IMPACTS = ("critical", "serious", "moderate", "minor")
THEMES = ("light", "dark")
HEAD = """# Accessibility: what axe-core finds

`python -m tests.web.axe_table docs/accessibility.md` writes this page: it opens each page with drawn runs, in both
themes, and runs axe-core {version} on it. A cell is the number of elements that break a rule.
`tests/web/test_every_page.py` runs axe-core as well, and refuses every finding. It also presses Tab
through each page: every control must be reached.

"""


class Found(NamedTuple):
    """What axe-core found on one page in one theme."""

    page: str
    theme: str
    violations: Sequence[dict[str, Any]]

    @property
    def counts(self) -> Counter[str]:
        """Number of elements by impact."""
        return Counter(each["impact"] for each in self.violations for _ in each["nodes"])


def look(page: Page, url: str, pictures: Sequence[Picture]) -> Iterator[Found]:
    """Run axe-core on each page, in each theme."""
    for picture in pictures:
        page.set_viewport_size({"width": 1280, "height": picture.height_px})
        page.goto(f"{url}{picture.path}")
        page.locator(picture.ready).first.wait_for()
        for theme in THEMES:
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            yield Found(picture.name, theme, Axe().run(page).response["violations"])


def written(found: Sequence[Found], version: str) -> str:
    """Return the page in Markdown."""
    columns = [f"{impact}, {theme}" for theme in THEMES for impact in IMPACTS]
    rows = [f"| page | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name in dict.fromkeys(each.page for each in found):
        by_theme = {each.theme: each.counts for each in found if each.page == name}
        rows.append(f"| {name} | {' | '.join(str(by_theme[theme][each]) for theme in THEMES for each in IMPACTS)} |")
    rules = {each["id"]: each for one in found for each in one.violations}
    lines = [f"- `{rule}` ({each['impact']}): {each['help']}." for rule, each in sorted(rules.items())]
    end = ["The rules that are broken:", "", *lines] if lines else ["No rule is broken."]
    return HEAD.format(version=version) + "\n".join([*rows, "", *end]) + "\n"


def main(path: Path) -> None:
    """Write the table."""
    with filled_server() as (page, server, pictures):
        found = list(look(page, server.url, pictures))
        version = page.evaluate("window.axe.version")
    path.write_text(written(found, version))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
