"""Every metric of the control plane, on one screen.

Each application has its own registry. No metric has a label for job, user or project: the number of series would have
no bound. Metrics of the whole system are read from the database, so every replica reports the same value: use `max`
over replicas for them, and `sum` for all others. `sampling` updates the metrics that are computed for a scrape.
"""

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from fgd_core.errors import FgdError
from service.store.recording import Recorded

# The creation time of each series would be a series itself: half of all lines, and no board reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]

_WHOLE = "of the whole system, the same from every replica: use max()"
_WAITS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_LAGS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)
_SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Holds all metrics of one control plane."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        # -- the whole system, from the database --
        self.jobs = gauge("fgd_jobs", f"Jobs by state and kind; {_WHOLE}", ("state", "kind"))
        self.oldest_queued_s = gauge(
            "fgd_queue_oldest_seconds", f"Waiting time of the job that has been in the queue longest; {_WHOLE}"
        )
        self.silent_runs = gauge(
            "fgd_runs_silent", f"Active runs that did not report within the heartbeat timeout; {_WHOLE}"
        )
        self.oldest_heartbeat_s = gauge(
            "fgd_runs_oldest_heartbeat_seconds", f"Age of the oldest last report among active runs; {_WHOLE}"
        )
        self.database_up = gauge("fgd_database_up", "Whether this replica could read the database for this scrape")

        # -- from the queue to the first event --
        self.queue_wait = histogram("fgd_queue_wait_seconds", "From queued until leased", _WAITS_S)
        self.dispatch = histogram(
            "fgd_dispatch_seconds",
            "From leased until Ray has accepted the run (submitted), and until its first event is stored (first_word)",
            _WAITS_S,
            ("until",),
        )
        self.attempts_ended = counter("fgd_attempts_ended", "Attempts that ended, by cause", ("cause",))

        # -- what runs report --
        self.batches = counter(
            "fgd_ingest_batches",
            "Batches accepted, by code path: usual, short (points in a single statement), heartbeat (empty)",
            ("way",),
        )
        self.events = counter("fgd_ingest_events", "Events of runs stored, except points of curves")
        self.points = counter("fgd_ingest_points", "Points of curves stored, by either code path")
        self.refused = counter(
            "fgd_ingest_refused",
            "Batches refused, by error code; unreadable bodies are not counted",
            ("code",),
        )
        self.ingest_lag = histogram(
            "fgd_ingest_lag_seconds", "Time from an event until it is stored, for the oldest event of a batch", _LAGS_S
        )

        # -- readers --
        self.readers = gauge("fgd_sse_readers", "Current readers of streams: of one job, of all jobs", ("stream",))
        self.stream_lag = histogram(
            "fgd_stream_lag_seconds", "From stored by this replica until sent to its readers", _LAGS_S
        )

        # -- the database --
        self.transaction = histogram(
            "fgd_database_transaction_seconds",
            "Duration of a transaction, with the wait for a connection, without that for the writer lock",
            _SHORT_S,
            ("kind",),
        )
        self.database_wait = histogram(
            "fgd_database_wait_seconds",
            "Wait for a free connection, or for the writer lock",
            _SHORT_S,
            ("what",),
        )

        # -- the dispatcher --
        self.dispatches = gauge("fgd_dispatcher_active", "Whether this replica dispatches")
        self.tick = histogram("fgd_dispatcher_tick_seconds", "Duration of a tick of the dispatcher", _LAGS_S)
        self.ray_errors = counter(
            "fgd_ray_errors", "Ticks in which Ray was unreachable, or refused a request", ("what",)
        )
        self.ray_up = gauge("fgd_ray_up", "Whether Ray has answered this replica recently")
        self.ray_nodes = gauge("fgd_ray_nodes", f"Live nodes of the Ray cluster; {_WHOLE}")

        # -- HTTP --
        self.requests = counter(
            "fgd_http_requests", "Requests answered, by path template", ("route", "method", "status")
        )
        self.answered = histogram(
            "fgd_http_request_seconds", "From a request until its response begins", _SHORT_S, ("route", "method")
        )

        # -- the rest --
        self.webhooks = counter(
            "fgd_webhook_tries", "Tries to deliver webhooks: delivered, again (will be retried), given_up", ("outcome",)
        )
        self.folder_free = gauge("fgd_folder_free_bytes", "Free space on the file system of a folder", ("folder",))
        self.folder_size = gauge("fgd_folder_size_bytes", "Size of the file system of a folder", ("folder",))
        self.build = gauge("fgd_build_info", "Always 1", ("version", "schema_revision"))

        # A series that starts with the first error has no rate at that moment, so these start at 0.
        for what in ("away", "refused"):
            self.ray_errors.labels(what)
        for cause in ("succeeded", "failed", "stopped", "lost"):
            self.attempts_ended.labels(cause)
        for way in ("usual", "short", "heartbeat"):
            self.batches.labels(way)

    def accepted(self, recorded: Recorded, now: datetime) -> None:
        """Count an accepted batch of a run."""
        self.batches.labels(recorded.way).inc()
        stored = recorded.stored
        self.events.inc(stored.num_events)
        self.points.inc(stored.num_points)
        if stored.oldest_at is not None:
            # The event has the time of another machine, whose clock may be ahead.
            self.ingest_lag.observe(max(0.0, (now - stored.oldest_at).total_seconds()))
        if stored.first_event_after_s is not None:
            self.dispatch.labels("first_word").observe(stored.first_event_after_s)
        if stored.end is not None:
            self.attempts_ended.labels(stored.end).inc()

    def refuses(self, error: FgdError) -> None:
        """Count a refused batch."""
        self.refused.labels(error.code).inc()

    def leased(self, queued_at: datetime | None, now: datetime) -> None:
        """Count a leased job.

        Args:
            queued_at: None if a version without this column queued the job.
        """
        if queued_at is not None:
            # The time may come from another replica, whose clock is ahead.
            self.queue_wait.observe(max(0.0, (now - queued_at).total_seconds()))

    def answers(self, route: str | None, method: str, status: int | None, seconds: float) -> None:
        """Count an answered request.

        Args:
            route: template of its path; None if no route matches.
            status: None if the client left before the response.
        """
        where, how = route or "none", method if method in _METHODS else "other"
        self.requests.labels(where, how, f"{status // 100}xx" if status is not None else "none").inc()
        self.answered.labels(where, how).observe(seconds)

    def took(self, kind: str, seconds: float) -> None:
        """Record the duration of a transaction, `read` or `write`."""
        self.transaction.labels(kind).observe(seconds)

    def waited(self, what: str, seconds: float) -> None:
        """Record a wait for the database: for a `connection`, or for the writer lock."""
        self.database_wait.labels(what).observe(seconds)

    def count_readers(self, stream: str, count: Callable[[], int]) -> None:
        """Read the number of readers from `count` at each scrape."""
        self.readers.labels(stream).set_function(count)
