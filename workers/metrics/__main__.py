"""`python -m workers.metrics PID` exports the samples on its standard input through Ray, until run PID ends."""

import json
import os
import signal
import sys
import threading
import time

import ray

from workers.metrics import Sample
from workers.metrics.ray_metrics import RayMetrics

_NICENESS = 10
_CONNECT_S = 30.0
_POLL_S = 1.0


def main() -> None:
    """Export samples until standard input ends."""
    # Ray stops a run with SIGTERM to all of its processes. This one ends with the run, which may send more samples.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_NICENESS)
    connected = threading.Event()
    threading.Thread(target=_end_if_stuck, args=(int(sys.argv[1]), connected), daemon=True).start()
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, configure_logging=False)
    connected.set()
    # Again, because `ray.init` installs its own handler.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    metrics = RayMetrics()
    for line in sys.stdin:
        metrics.record(Sample(*each) for each in json.loads(line))
    # This sends the last values now rather than in ten seconds.
    ray.shutdown()


def _end_if_stuck(run_pid: int, connected: threading.Event) -> None:
    """End this process if the run is gone, or if Ray does not answer: `ray.init` would wait very long."""
    began_s = time.monotonic()
    while not connected.wait(_POLL_S):
        if os.getppid() != run_pid or time.monotonic() - began_s > _CONNECT_S:
            os._exit(1)


if __name__ == "__main__":
    main()
