"""Waiting and running jobs, the nodes, and the state of the control plane."""

from deploy.grafana.boards.panels import RARE, Board, Panel, Row, quantiles, stat

EVENTS = "/v1/attempts/{attempt_id}/events"

FLEET = Board(
    "fgd-fleet",
    "fgd: fleet",
    "Waiting and running jobs, the nodes, and the state of the control plane.",
    since="now-6h",
    rows=[
        Row(
            "Now",
            [
                stat("Running", "Jobs with an active run.", 'sum(max by (kind) (fgd_jobs{state="running"}))'),
                stat("Queued", "Jobs that wait for resources.", 'sum(max by (kind) (fgd_jobs{state="queued"}))'),
                stat(
                    "Longest wait",
                    "Waiting time of the oldest job in the queue.",
                    "max(fgd_queue_oldest_seconds)",
                    unit="s",
                    colors={0: "green", 3600: "yellow", 24 * 3600: "red"},
                ),
                stat(
                    "Control planes",
                    "Replicas that answer. One of them dispatches.",
                    'count(up{job="fgd"} == 1)',
                    colors={0: "red", 1: "yellow", 2: "green"},
                ),
                stat("Ray nodes", "Live nodes, as reported by the control plane.", "max(fgd_ray_nodes)"),
                stat(
                    "Alerts",
                    "Alerts that fire now. Prometheus' page of alerts links to the runbooks.",
                    'count(ALERTS{alertstate="firing"}) or vector(0)',
                    colors={0: "green", 1: "red"},
                ),
            ],
            height=4,
        ),
        Row(
            "Jobs",
            [
                Panel(
                    "Jobs by state",
                    "Jobs of the whole system that have not ended.",
                    {
                        "{{state}}": "sum by (state) (max by (state, kind) "
                        '(fgd_jobs{state!~"succeeded|failed|cancelled"}))'
                    },
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Active runs",
                    "Progress of each run. A click on a run opens its board.",
                    {"{{job_name}} {{job_id}}": 'max by (job_name, job_id) (ray_fgd_run_progress_ratio{trial=""})'},
                    unit="percentunit",
                    width=12,
                    kind="bargauge",
                    max=1,
                    link=(
                        "Its board",
                        "/d/fgd-job?var-job=${__field.labels.job_name}&var-job_id=${__field.labels.job_id}",
                    ),
                ),
                Panel(
                    "Time in the queue",
                    "From queued to leased, for jobs leased in the last 15 minutes.",
                    quantiles("fgd_queue_wait_seconds", window=RARE),
                    unit="s",
                ),
                Panel(
                    "From leased to the first event",
                    "Until Ray has accepted the run (`submitted`), and until the run reports its start (`first_word`).",
                    quantiles("fgd_dispatch_seconds", by="until", window=RARE),
                    unit="s",
                ),
                Panel(
                    "Attempts that ended, by cause",
                    "Within the last 15 minutes. `lost`: the attempt ended without a final event.",
                    {"{{cause}}": f"sum by (cause) (increase(fgd_attempts_ended_total[{RARE}]))"},
                    stacked=True,
                ),
            ],
        ),
        Row(
            "Cluster",
            [
                Panel(
                    "CPUs",
                    "Assigned to runs by Ray, and in total.",
                    {
                        "used": 'sum(ray_resources{Name="CPU", State="USED"})',
                        "of": 'sum(ray_resources{Name="CPU"})',
                    },
                    width=6,
                ),
                Panel(
                    "GPUs",
                    "Assigned to runs by Ray, and in total.",
                    {
                        "used": 'sum(ray_resources{Name="GPU", State="USED"})',
                        "of": 'sum(ray_resources{Name="GPU"})',
                    },
                    width=6,
                    maybe="no node has a GPU.",
                ),
                Panel(
                    "GPU utilization",
                    "Utilization of each GPU, as reported by its driver.",
                    {"{{instance}} {{GpuIndex}}": "max by (instance, GpuIndex) (ray_node_gpus_utilization)"},
                    unit="percent",
                    width=6,
                    max=100,
                    maybe="no node has a GPU.",
                ),
                Panel(
                    "GPU memory",
                    "Memory in use, on each GPU.",
                    {"{{instance}} {{GpuIndex}}": "max by (instance, GpuIndex) (ray_node_gram_used) * 1048576"},
                    unit="bytes",
                    width=6,
                    maybe="no node has a GPU.",
                ),
                Panel(
                    "CPU of nodes",
                    "All processes on the node.",
                    {"{{instance}}": "max by (instance) (ray_node_cpu_utilization)"},
                    unit="percent",
                    max=100,
                ),
                Panel(
                    "Memory of nodes",
                    "In use. Ray ends runs when it is exhausted.",
                    {"{{instance}}": "max by (instance) (ray_node_mem_used) / max by (instance) (ray_node_mem_total)"},
                    unit="percentunit",
                    max=1,
                ),
                Panel(
                    "Free disk of nodes",
                    "Runs keep their files there until they are uploaded.",
                    {"{{instance}}": "min by (instance) (ray_node_disk_free)"},
                    unit="bytes",
                ),
            ],
        ),
        Row(
            "Reports of runs",
            [
                Panel(
                    "Events and points",
                    "Accepted, by all replicas. Points of curves are counted separately.",
                    {
                        "events": "sum(rate(fgd_ingest_events_total[$__rate_interval]))",
                        "points": "sum(rate(fgd_ingest_points_total[$__rate_interval]))",
                    },
                    unit="cps",
                ),
                Panel(
                    "Batches by path",
                    "`short`: only points, stored by a single statement of PostgreSQL. `heartbeat`: empty.",
                    {"{{way}}": "sum by (way) (rate(fgd_ingest_batches_total[$__rate_interval]))"},
                    unit="cps",
                    stacked=True,
                ),
                Panel(
                    "Batches refused, by code",
                    "`stale_attempt`: another attempt has replaced the run. Database codes are temporary.",
                    {"{{code}}": f"sum by (code) (increase(fgd_ingest_refused_total[{RARE}]))"},
                    maybe="the API has not refused a batch.",
                ),
                Panel(
                    "Delay of events until stored",
                    "For the oldest event in each batch. High after an outage, when runs deliver stored events.",
                    quantiles("fgd_ingest_lag_seconds"),
                    unit="s",
                ),
                Panel(
                    "Delay of events until sent",
                    "From stored to sent to the readers at the same replica.",
                    quantiles("fgd_stream_lag_seconds", window=RARE),
                    unit="s",
                    maybe="no reader follows a stream.",
                ),
                Panel(
                    "Readers of streams",
                    "Clients that follow one job, or all jobs.",
                    {"{{stream}}": "sum by (stream) (fgd_sse_readers)"},
                ),
                Panel(
                    "Oldest heartbeat",
                    "Longest time since a report of an active run. A silent run that Ray does not list is marked lost.",
                    {"silent for": "max(fgd_runs_oldest_heartbeat_seconds)"},
                    unit="s",
                ),
                Panel(
                    "Undelivered events",
                    "On the disks of runs; the control plane has not confirmed them yet.",
                    {"{{job_name}} {{job_id}}": "max by (job_name, job_id) (ray_fgd_run_outbox_events)"},
                ),
                Panel(
                    "Webhooks",
                    "Calls within the last 15 minutes, by outcome.",
                    {"{{outcome}}": f"sum by (outcome) (increase(fgd_webhook_tries_total[{RARE}]))"},
                    maybe="there is no webhook.",
                ),
            ],
        ),
        Row(
            "Control plane",
            [
                Panel(
                    "Requests by status",
                    "Requests to all replicas.",
                    {"{{status}}": "sum by (status) (rate(fgd_http_requests_total[$__rate_interval]))"},
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    "Slowest routes",
                    "p95 from the request until its response begins, for the ten slowest routes.",
                    {
                        "{{method}} {{route}}": "topk(10, histogram_quantile(0.95, "
                        f"sum by (le, method, route) (rate(fgd_http_request_seconds_bucket[{RARE}]))))"
                    },
                    unit="s",
                ),
                Panel(
                    "Requests that report events",
                    "From the request until its response begins.",
                    quantiles("fgd_http_request_seconds", where=f'{{route="{EVENTS}"}}'),
                    unit="s",
                ),
                Panel(
                    "Transactions",
                    "Duration of database transactions.",
                    quantiles("fgd_database_transaction_seconds", by="kind"),
                    unit="s",
                ),
                Panel(
                    "Waits for the database",
                    "For a free connection of PostgreSQL, or for the writer lock of SQLite.",
                    quantiles("fgd_database_wait_seconds", by="what"),
                    unit="s",
                ),
                Panel(
                    "Ticks of the dispatcher",
                    "Duration of each tick.",
                    quantiles("fgd_dispatcher_tick_seconds"),
                    unit="s",
                ),
                Panel(
                    "Active dispatcher",
                    "One replica dispatches at a time; another takes over when it dies.",
                    {"{{instance}}": "max by (instance) (fgd_dispatcher_active)"},
                    stacked=True,
                ),
                Panel(
                    "Errors of Ray",
                    "Ticks of the dispatcher in which Ray was unreachable or refused a request.",
                    {"{{what}}": f"sum by (what) (increase(fgd_ray_errors_total[{RARE}]))"},
                ),
                Panel(
                    "Free disk",
                    "On the file systems of FGD_HOME and of the storage.",
                    {"{{folder}}": "min by (folder) (fgd_folder_free_bytes)"},
                    unit="bytes",
                ),
                Panel(
                    "Memory of replicas",
                    "Resident memory.",
                    {"{{instance}}": 'max by (instance) (process_resident_memory_bytes{job="fgd"})'},
                    unit="bytes",
                ),
                Panel(
                    "CPU of replicas",
                    "Cores in use.",
                    {
                        "{{instance}}": "sum by (instance) "
                        '(rate(process_cpu_seconds_total{job="fgd"}[$__rate_interval]))'
                    },
                ),
                Panel(
                    "Versions",
                    "Number of replicas of each version; two versions during an upgrade.",
                    {"{{version}}, schema {{schema_revision}}": "count by (version, schema_revision) (fgd_build_info)"},
                    stacked=True,
                ),
            ],
        ),
    ],
)
