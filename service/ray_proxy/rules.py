"""Which paths of Ray's dashboard a reader may ask for, and which paths are none.

Ray (2.60) acts on some GET requests: it attaches profilers to processes, pins packages, starts actors and drivers, and
waits as long as it is told to. So readers get what is listed here, and a path that a later release of Ray adds is an
admin's until somebody has looked at what it does. What is left out, and why:

    /worker/*, /task/*, /memory_profile   attach py-spy, memray or a GPU's profiler to a process that runs
    /test/dump                            all that the dashboard remembers, environments among it
    /api/v0/delay/{s}                     holds a connection for so long
    /api/packages/*                       keeps an uploaded package from being cleaned away
    /api/serve/*, /api/train/*            connect the dashboard to Ray as a driver, and stay connected
    /api/data/*                           starts an actor where there is none
    /api/component_activities             calls a hook of the cluster's owner
    /api/prometheus/sd                    is for Prometheus, which asks Ray itself

None of Ray's POST routes is let through for readers: the two that only read (`/api/task_events/query` and Ray's own
sign-in) are asked for by Ray's processes among themselves, and by no page.
"""

import re
from urllib.parse import unquote

from fgd_core.errors import SpecError

PREFIX = "/ray"
READING = frozenset({"GET", "HEAD"})
OWN = frozenset({"/api/authentication_mode", "/api/authenticate"})
"""Answered here: they are about Ray's token, which is no business of whoever comes through this door."""


def plain_path(raw_path: bytes) -> str:
    """The path on Ray's dashboard that a request names, decoded: `/api/jobs/` for `/ray/api/jobs/`.

    Args:
        raw_path: as it was sent, without the query.
    Raises:
        SpecError: it could be read in two ways, by us and by Ray: `//`, `..`, encoded slashes, `%` within `%`.
    """
    sent = raw_path.decode("latin-1")
    try:
        path = unquote(sent, errors="strict").removeprefix(PREFIX)
    except UnicodeDecodeError:
        raise _odd() from None
    inner = path.split("/")[1:-1]
    is_odd = _ODD.search(path) or _ENCODED_SLASH.search(sent) or "" in inner or {".", ".."} & set(path.split("/"))
    if is_odd or not path.startswith("/"):
        raise _odd()
    return path


def is_for_readers(method: str, path: str) -> bool:
    """Whether it only reads, and costs little."""
    return method in READING and _FOR_READERS.fullmatch(path) is not None


def is_file(path: str) -> bool:
    """Whether it is one of the files that Ray comes with: the same for everybody, and of no job."""
    return path == "/favicon.ico" or path.startswith("/static/")


def is_page(path: str) -> bool:
    """Whether a browser shows it as part of the dashboard's page, with its scripts."""
    return path == "/" or is_file(path)


def _odd() -> SpecError:
    return SpecError("the path is not in its plain form; send it without `//`, `.`, `..`, `\\` and encoded slashes")


_ODD = re.compile(r"[\x00-\x1f\x7f\\%]")
_ENCODED_SLASH = re.compile(r"%(2f|5c)", re.IGNORECASE)
_STATE = "actors|jobs|nodes|placement_groups|workers|tasks|objects|runtime_envs"
_FOR_READERS = re.compile(
    "|".join(
        (
            r"/",
            r"/favicon\.ico",
            r"/static/.+",
            r"/timezone",
            r"/cluster_id",
            r"/usage_stats_enabled",
            r"/events",
            r"/nodes(/[^/]+)?",
            r"/logical/actors(/[^/]+)?",
            r"/api/(version|cluster_status|profiling_enabled|gcs_healthz|grafana_health|prometheus_health)",
            r"/api/jobs/([^/]+(/logs)?)?",
            rf"/api/v0/({_STATE})",
            r"/api/v0/(tasks|actors|objects)/summarize",
            r"/api/v0/tasks/timeline",
            r"/api/v0/(cluster_events|cluster_metadata|platform_events|runtime_env_redaction)",
            r"/api/v0/logs(/(file|stream))?",
        )
    )
)
