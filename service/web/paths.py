"""The addresses of the page, its files and its session."""

import re
from collections.abc import Mapping

SESSION_PATH = "/v1/session"
COOKIE = "fgd_session"
FILES = "/web"
"""Each file is at `/web/<version>/<name>`."""
PAGES: Mapping[str, str] = {
    "/": "pages/jobs.js",
    "/jobs/{job_id}": "pages/job.js",
    "/compare": "pages/compare.js",
    "/submit": "pages/submit.js",
    "/data": "pages/data.js",
    "/data/{dataset}": "pages/dataset.js",
    "/queue": "pages/queue.js",
    "/models": "pages/models.js",
    "/models/{name}": "pages/model.js",
    "/settings": "pages/settings.js",
}
"""Addresses that show the page, and the module that draws it there; `static/app.js` has the same rows."""

_PAGE = re.compile("|".join(re.sub(r"{\w+}", "[^/]+", page) for page in PAGES))


def is_open(path: str) -> bool:
    """Whether a path needs no token: the page and its files hold no data of a user."""
    return path.startswith(f"{FILES}/") or _PAGE.fullmatch(path) is not None
