"""The files of the page, without a browser."""

import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest
from deno import find_deno_bin

from service.web import assets
from service.web.paths import PAGES

MAX_BYTES = 150_000
IN_JOB = ("pages/job_progress.js", "pages/sweep.js")
"""What the page of a job shows first, by the kind of the job."""
WEB = Path(assets.__file__).parent
STATIC = WEB / "static"


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


def test_types_of_all_modules_are_consistent(tmp_path: Path) -> None:
    """TypeScript's checks of the JSDoc types, and of each import; Deno contains TypeScript and comes in a wheel."""
    command = [find_deno_bin(), "check", "--no-remote", "--no-npm", "--no-lock", "--quiet", "--config"]
    environment = os.environ | {"DENO_DIR": str(tmp_path), "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}
    done = subprocess.run([*command, WEB / "jsconfig.json", STATIC], check=False, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
