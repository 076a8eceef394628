"""The pages: every link leads somewhere, and every command, target and path that they name exists."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from service.client.cli import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md", "benchmarks/**/*.md")
    for path in REPOSITORY.glob(pattern)
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_FOLDERS = (
    "fgd_core/",
    "workers/",
    "service/",
    "migrations/",
    "tests/",
    "benchmarks/",
    "examples/",
    "deploy/",
    "docs/",
)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def code(page: Path) -> str:
    """All code of a page, a piece a line."""
    text = page.read_text()
    return "\n".join([*_FENCE.findall(text), *_CODE.findall(_FENCE.sub("", text))])


def faults(find: Callable[[Path], Iterable[str]]) -> dict[str, list[str]]:
    found = {str(page.relative_to(REPOSITORY)): sorted(find(page)) for page in PAGES}
    return {page: names for page, names in found.items() if names}


def test_every_link_leads_somewhere() -> None:
    assert faults(broken_links) == {}


def test_every_path_of_the_source_exists() -> None:
    """`fgd_core/runs.py`, `service/jobs`: inline code that begins with one of our folders."""

    def missing(page: Path) -> Iterator[str]:
        for name in _CODE.findall(_FENCE.sub("", page.read_text())):
            path = re.split(r"[ :]", name)[0]
            if name.startswith(_FOLDERS) and not re.search(r"[<*…]", path) and not (REPOSITORY / path).exists():
                yield name

    assert faults(missing) == {}


def test_every_command_and_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))

    def unknown(page: Path) -> Iterator[str]:
        yield from set(re.findall(r"(?:^|&& |exec api )fgd ([a-z][a-z0-9-]*)", code(page), re.MULTILINE)) - set(
            COMMANDS
        )
        yield from set(re.findall(r"^make ([a-z][a-z0-9-]*)", code(page), re.MULTILINE)) - targets

    assert faults(unknown) == {}


def test_the_readme_fits_on_few_screens() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 130


def test_every_decision_is_in_the_index() -> None:
    folder = REPOSITORY / "docs/decisions"
    index = set(_LINK.findall((folder / "README.md").read_text()))
    assert index == {path.name for path in folder.glob("[0-9]*.md")}


def test_the_page_of_benchmarks_links_every_result() -> None:
    page = REPOSITORY / "docs/benchmarks.md"
    links = {(page.parent / link).resolve() for link in _LINK.findall(page.read_text())}
    assert sorted(path.name for path in REPOSITORY.glob("benchmarks/results/*.md") if path not in links) == []
