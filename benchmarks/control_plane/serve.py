"""Starts fgd's server for the benchmark: the real application without a reachable Ray, so that jobs wait.

python -m benchmarks.control_plane.serve      (settings come from the environment, as for `fgd up`)
"""

import structlog
import uvicorn

from service.dispatcher.cluster import RayCluster
from service.server.app import create_app
from service.server.serving import Server
from service.settings import Settings

_NOBODY_LISTENS = "http://127.0.0.1:9"


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40), cache_logger_on_first_use=True)
    settings = Settings()
    app = create_app(settings, RayCluster(_NOBODY_LISTENS))
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_level="warning", access_log=False, timeout_graceful_shutdown=2
    )
    Server(config).run()


if __name__ == "__main__":
    main()
