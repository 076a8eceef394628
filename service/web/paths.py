"""The addresses of the page, its files and its session."""

import re

SESSION_PATH = "/v1/session"
COOKIE = "fgd_session"
FILES = "/web"
"""Each file is at `/web/<version>/<name>`."""
PAGES = ("/", "/jobs/{job_id}")
"""Addresses that show the page; its router decides what it shows there. A page of its own is a row here and a row in
`static/app.js`."""

_PAGE = re.compile("|".join(re.sub(r"{\w+}", "[^/]+", page) for page in PAGES))


def is_open(path: str) -> bool:
    """Whether a path needs no token: the page and its files hold no data of a user."""
    return path.startswith(f"{FILES}/") or _PAGE.fullmatch(path) is not None
