"""One run: its losses and scores, its speed, and its delays."""

from deploy.grafana.boards.panels import Board, Panel, Row, stat

RUN = '{job_name="$job", job_id=~"$job_id", trial=""}'
JOB = Board(
    "fgd-job",
    "fgd: job",
    "One run: its losses and scores, its speed, and its delays.",
    since="now-3h",
    variables=[
        ("job", "Job", 'label_values(ray_fgd_run_progress_ratio{trial=""}, job_name)'),
        ("job_id", "Id", 'label_values(ray_fgd_run_progress_ratio{job_name="$job", trial=""}, job_id)'),
    ],
    rows=[
        Row(
            "Now",
            [
                stat("Done", "Part of the training.", f"max(ray_fgd_run_progress_ratio{RUN})", unit="percentunit"),
                stat("Epoch", "Including the part of the current epoch.", f"max(ray_fgd_run_epoch{RUN})"),
                stat("To go", "Until the job's end.", f"max(ray_fgd_run_eta_seconds{RUN})", unit="s"),
                stat("Images/s", "Evaluations left out.", f"max(ray_fgd_run_images_per_second{RUN})"),
                stat("AP", "At the newest evaluation, of boxes.", f'max(ray_fgd_run_ap{RUN[:-1]}, of="boxes"}})'),
                stat(
                    "Waits for data", "Part of the time.", f"max(ray_fgd_run_data_wait_ratio{RUN})", unit="percentunit"
                ),
            ],
            height=4,
        ),
        Row(
            "Learning",
            [
                Panel(
                    "Terms of the loss",
                    "Means of about a second; `loss` is minimised.",
                    {"{{job_id}} {{term}}": f"max by (job_id, term) (ray_fgd_run_loss{RUN})"},
                    width=12,
                ),
                Panel(
                    "AP",
                    "At each evaluation, of boxes and, if there are any, of masks.",
                    {"{{job_id}} {{of}}": f"max by (job_id, of) (ray_fgd_run_ap{RUN})"},
                    unit="percentunit",
                    width=12,
                ),
                Panel(
                    "Learning rate",
                    "Of the newest step.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_learning_rate{RUN})"},
                ),
                Panel(
                    "Progress",
                    "Completed part of the training; it falls when a run resumes from a checkpoint.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_progress_ratio{RUN})"},
                    unit="percentunit",
                    max=1,
                ),
                Panel(
                    "Until the end",
                    "As the run estimates it.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_eta_seconds{RUN})"},
                    unit="s",
                ),
            ],
        ),
        Row(
            "Speed",
            [
                Panel(
                    "Images per second",
                    "During training, without evaluations.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_images_per_second{RUN})"},
                ),
                Panel(
                    "Waiting for images",
                    "Part of the time in which training waited for the processes that read images. If it is high, "
                    "use more CPUs or smaller images.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_data_wait_ratio{RUN})"},
                    unit="percentunit",
                    max=1,
                ),
                Panel(
                    "GPU memory",
                    "Of its tensors: allocated now, and at the peak.",
                    {"{{job_id}} {{what}}": f"max by (job_id, what) (ray_fgd_run_gpu_memory_bytes{RUN})"},
                    unit="bytes",
                    maybe="it trains on no GPU.",
                ),
                Panel(
                    "Events not confirmed",
                    "On the run's disk, to be sent to the control plane.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_outbox_events{RUN})"},
                    width=12,
                ),
                Panel(
                    "CPU of its node",
                    "All processes on the node.",
                    {
                        "{{instance}}": "max by (instance) (ray_node_cpu_utilization) "
                        f"and on (instance) max by (instance) (ray_fgd_run_progress_ratio{RUN})"
                    },
                    unit="percent",
                    width=12,
                    max=100,
                ),
            ],
        ),
    ],
)
