"""The connection of a driver to the Ray cluster of which it is a job."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import ray


@contextmanager
def connected(job_id: str) -> Iterator[None]:
    """Connect to Ray, with a namespace of the job's own. SIGTERM still makes the run save and stop."""
    on_sigterm = signal.getsignal(signal.SIGTERM)
    ray.init(address="auto", namespace=f"fgd-{job_id}", ignore_reinit_error=True)
    # Again, because `ray.init` installs a handler that exits.
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()
