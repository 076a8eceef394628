"""Every metric of the control plane, on one screen.

Each application has a registry of its own. Nothing here is labelled by job, user or project: there would be no end of
series. What is said of the whole system is read from the database, so every replica says the same: take `max` of it
over replicas, and `sum` of all the rest. `looking` fills in what is looked up for a scrape.
"""

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from fgd_core.errors import FgdError
from service.store.recording import Recorded

# When each series began, as a series of its own: half of all lines, and nothing reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]

_WHOLE = "of the whole system, the same from every replica: use max()"
_WAITS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_LAGS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800)
_SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
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
            "fgd_queue_oldest_seconds", f"How long the job that waits longest has been in the queue; {_WHOLE}"
        )
        self.silent_runs = gauge(
            "fgd_runs_silent", f"Runs under way that were not heard within the time that counts as lost; {_WHOLE}"
        )
        self.oldest_heartbeat_s = gauge(
            "fgd_runs_oldest_heartbeat_seconds", f"Since the run that is silent longest was heard; {_WHOLE}"
        )
        self.database_up = gauge("fgd_database_up", "Whether this replica could read the database for this scrape")

        # -- from the queue to the first word --
        self.queue_wait = histogram("fgd_queue_wait_seconds", "From queued until leased", _WAITS_S)
        self.dispatch = histogram(
            "fgd_dispatch_seconds",
            "From leased until Ray has taken the run (submitted), and until its first word is stored (first_word)",
            _WAITS_S,
            ("until",),
        )
        self.attempts_ended = counter("fgd_attempts_ended", "Attempts that ended, by cause", ("cause",))

        # -- what runs report --
        self.batches = counter(
            "fgd_ingest_batches",
            "Batches accepted, by the way they went: usual, short (points in a single statement), heartbeat (empty)",
            ("way",),
        )
        self.events = counter("fgd_ingest_events", "Events stored that runs reported, points of curves left out")
        self.points = counter("fgd_ingest_points", "Points of curves stored, whichever way they went")
        self.refused = counter(
            "fgd_ingest_refused", "Batches refused, by the code of the error; a body that cannot be read not", ("code",)
        )
        self.ingest_lag = histogram(
            "fgd_ingest_lag_seconds", "From an event's own time until it is stored, of the oldest in a batch", _LAGS_S
        )

        # -- readers --
        self.readers = gauge("fgd_sse_readers", "Readers of streams now: of one job, of all jobs", ("stream",))
        self.stream_lag = histogram(
            "fgd_stream_lag_seconds", "From stored by this replica until handed to its readers", _LAGS_S
        )

        # -- the database --
        self.transaction = histogram(
            "fgd_database_transaction_seconds",
            "A transaction, reading or writing; the wait for a connection included, that for the one writer's turn not",
            _SHORT_S,
            ("kind",),
        )
        self.database_wait = histogram(
            "fgd_database_wait_seconds",
            "Waited for a free connection, or for the one writer's turn",
            _SHORT_S,
            ("what",),
        )

        # -- the dispatcher --
        self.dispatches = gauge("fgd_dispatcher_active", "Whether this replica is the one that dispatches")
        self.tick = histogram("fgd_dispatcher_tick_seconds", "One round of the dispatcher", _LAGS_S)
        self.ray_errors = counter("fgd_ray_errors", "Rounds in which Ray was away, or refused something", ("what",))
        self.ray_up = gauge("fgd_ray_up", "Whether Ray has answered this replica lately")
        self.ray_nodes = gauge("fgd_ray_nodes", f"Live nodes of the Ray cluster; {_WHOLE}")

        # -- HTTP --
        self.requests = counter(
            "fgd_http_requests", "Requests answered, by template of the path", ("route", "method", "status")
        )
        self.answered = histogram(
            "fgd_http_request_seconds", "From a request until its answer begins", _SHORT_S, ("route", "method")
        )

        # -- the rest --
        self.webhooks = counter(
            "fgd_webhook_tries", "Webhooks called: delivered, again (to be tried again), given_up", ("outcome",)
        )
        self.folder_free = gauge("fgd_folder_free_bytes", "Free space where a folder of ours lies", ("folder",))
        self.folder_size = gauge("fgd_folder_size_bytes", "Size of the file system that it lies on", ("folder",))
        self.build = gauge("fgd_build_info", "Always 1", ("version", "schema_revision"))

        # Series that are only born with the first trouble have no rate when it comes.
        for what in ("away", "refused"):
            self.ray_errors.labels(what)
        for cause in ("succeeded", "failed", "stopped", "lost"):
            self.attempts_ended.labels(cause)
        for way in ("usual", "short", "heartbeat"):
            self.batches.labels(way)

    def accepted(self, recorded: Recorded, now: datetime) -> None:
        """Note what a run's batch brought."""
        self.batches.labels(recorded.way).inc()
        stored = recorded.stored
        self.events.inc(stored.num_events)
        self.points.inc(stored.num_points)
        if stored.oldest_at is not None:
            # Its clock is another machine's, and may be ahead.
            self.ingest_lag.observe(max(0.0, (now - stored.oldest_at).total_seconds()))
        if stored.first_event_after_s is not None:
            self.dispatch.labels("first_word").observe(stored.first_event_after_s)
        if stored.end is not None:
            self.attempts_ended.labels(stored.end).inc()

    def refuses(self, error: FgdError) -> None:
        self.refused.labels(error.code).inc()

    def leased(self, queued_at: datetime | None, now: datetime) -> None:
        """`queued_at`: None of a job that a version without this column put into the queue."""
        if queued_at is not None:
            # Another replica's clock may have said so, and be ahead.
            self.queue_wait.observe(max(0.0, (now - queued_at).total_seconds()))

    def answers(self, route: str | None, method: str, status: int | None, seconds: float) -> None:
        """Note an answered request.

        Args:
            route: template of its path; None where no route is so.
            status: None where the client left before there was an answer.
        """
        where, how = route or "none", method if method in _METHODS else "other"
        self.requests.labels(where, how, f"{status // 100}xx" if status is not None else "none").inc()
        self.answered.labels(where, how).observe(seconds)

    def took(self, kind: str, seconds: float) -> None:
        self.transaction.labels(kind).observe(seconds)

    def waited(self, what: str, seconds: float) -> None:
        self.database_wait.labels(what).observe(seconds)

    def count_readers(self, stream: str, count: Callable[[], int]) -> None:
        """Have readers counted when somebody asks."""
        self.readers.labels(stream).set_function(count)
