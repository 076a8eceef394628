"""The files of the page, without a browser."""

import gzip
import re
from pathlib import Path

import pytest

from service.web import assets
from service.web.paths import PAGES

MAX_BYTES = 150_000
IN_JOB = ("pages/job_progress.js", "pages/sweep.js")
"""What the page of a job shows first, by the kind of the job."""
STATIC = Path(assets.__file__).parent / "static"


@pytest.mark.parametrize("page", sorted({*PAGES.values(), *IN_JOB}))
def test_a_page_with_all_that_it_imports_is_small(page: str) -> None:
    needed = {*assets.needed(page), *(assets.needed("pages/job.js") if page in IN_JOB else ())}
    sizes = {name: len(assets.assets()[name].content) for name in needed}
    assert {"app.js", "core/api.js", "style/1_base.css", page} <= set(sizes)
    assert sum(sizes.values()) < MAX_BYTES, sizes


def test_browser_and_server_know_the_same_pages() -> None:
    rows = re.findall(r'path: /\^(.*)\$/, load: \(\) => import\("\./(.+)"\)', (STATIC / "app.js").read_text())
    in_browser = {path.replace("\\/", "/").replace("([^/]+)", "{}"): module for path, module in rows}
    assert in_browser == {re.sub(r"{\w+}", "{}", path): module for path, module in PAGES.items()}


def test_packed_files_are_the_same_files() -> None:
    for asset in assets.assets().values():
        assert gzip.decompress(asset.packed) == asset.content


def test_modules_import_what_others_export() -> None:
    """A browser reports this only when it loads the module, which may be that of another page."""
    for path in STATIC.rglob("*.js"):
        for names, module in re.findall(r'import \{([^}]+)\} from "(\.[^"]+)"', path.read_text()):
            exported = (path.parent / module).resolve().read_text()
            for name in (each.split(" as ")[0].strip() for each in names.split(",") if each.strip()):
                assert re.search(rf"export (async )?(function|class|const|let) {name}\b", exported), (
                    path.name,
                    module,
                    name,
                )
