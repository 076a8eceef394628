"""Decides which paths of Ray's dashboard readers may request, and which paths are invalid.

Ray (2.60) acts on some GET requests: it attaches profilers to processes, pins packages, starts actors and drivers, and
waits for a requested time. So readers may request only the paths listed here. A path that a later release of Ray adds
is for admins until its effect has been checked. Paths that are left out, and why:

    /worker/*, /task/*, /memory_profile   attach py-spy, memray or a GPU's profiler to a running process
    /test/dump                            everything in the dashboard's memory, including environments
    /api/v0/delay/{s}                     keeps a connection open for s seconds
    /api/packages/*                       prevents the deletion of an uploaded package
    /api/serve/*, /api/train/*            connect the dashboard to Ray as a driver, and stay connected
    /api/data/*                           starts an actor if there is none
    /api/component_activities             calls a hook of the cluster's owner
    /api/prometheus/sd                    is for Prometheus, which asks Ray directly

Readers may use none of Ray's POST routes: the two that only read (`/api/task_events/query` and Ray's own sign-in) are
called by Ray's processes, and by no page.
"""

import re
from urllib.parse import unquote

from fgd_core.errors import SpecError

PREFIX = "/ray"
READING = frozenset({"GET", "HEAD"})
OWN = frozenset({"/api/authentication_mode", "/api/authenticate"})
"""Answered by this server: they are about Ray's token, which users of the proxy must not see."""


def plain_path(raw_path: bytes) -> str:
    """Decode the path on Ray's dashboard that a request names: `/api/jobs/` for `/ray/api/jobs/`.

    Args:
        raw_path: as the client sent it, without the query.
    Raises:
        SpecError: Ray could decode the path differently: `//`, `..`, encoded slashes, an encoded `%`.
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
    """Whether the request only reads and is cheap."""
    return method in READING and _FOR_READERS.fullmatch(path) is not None


def is_file(path: str) -> bool:
    """Whether it is a static file of Ray, which holds no data of a job."""
    return path == "/favicon.ico" or path.startswith("/static/")


def is_page(path: str) -> bool:
    """Whether it is a part of the dashboard's page, with its scripts."""
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
