"""`python -m workers.metrics PID`: tells Ray what run PID writes into its standard input, until that run ends."""

import json
import os
import signal
import sys
import threading
import time

import ray

from workers.metrics import Sample
from workers.metrics.through_ray import RayMetrics

_NICENESS = 10
_CONNECT_S = 30.0
_LOOK_S = 1.0


def main() -> None:
    # Ray stops a run with SIGTERM to all of its processes. This one ends with the run, which may have more to say.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(_NICENESS)
    connected = threading.Event()
    threading.Thread(target=_end_in_time, args=(int(sys.argv[1]), connected), daemon=True).start()
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False, configure_logging=False)
    connected.set()
    # Ray put a handler of its own there.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    metrics = RayMetrics()
    for line in sys.stdin:
        metrics.tell(Sample(*each) for each in json.loads(line))
    # The last values are sent now, and not in ten seconds.
    ray.shutdown()


def _end_in_time(run_pid: int, connected: threading.Event) -> None:
    """End this process where Ray does not answer, which it would wait for very long, or where the run is gone."""
    began_s = time.monotonic()
    while not connected.wait(_LOOK_S):
        if os.getppid() != run_pid or time.monotonic() - began_s > _CONNECT_S:
            os._exit(1)


if __name__ == "__main__":
    main()
