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
                stat(
                    "Done",
                    "Completed part of the training.",
                    f"max(ray_fgd_run_progress_ratio{RUN})",
                    unit="percentunit",
                ),
                stat(
                    "Epoch",
                    "Number of trained epochs, with a fraction for the current one.",
                    f"max(ray_fgd_run_epoch{RUN})",
                ),
                stat(
                    "Time left",
                    "Until the job ends, as estimated by the run.",
                    f"max(ray_fgd_run_eta_seconds{RUN})",
                    unit="s",
                ),
                stat("Images/s", "During training, without evaluations.", f"max(ray_fgd_run_images_per_second{RUN})"),
                stat("AP", "AP of boxes at the newest evaluation.", f'max(ray_fgd_run_ap{RUN[:-1]}, of="boxes"}})'),
                stat(
                    "Waits for data",
                    "Part of the time in which training waits for images.",
                    f"max(ray_fgd_run_data_wait_ratio{RUN})",
                    unit="percentunit",
                ),
            ],
            height=4,
        ),
        Row(
            "Learning",
            [
                Panel(
                    "Terms of the loss",
                    "Means over about one second. Training minimises `loss`.",
                    {"{{job_id}} {{term}}": f"max by (job_id, term) (ray_fgd_run_loss{RUN})"},
                    width=12,
                ),
                Panel(
                    "AP",
                    "AP of boxes, and of masks and keypoints if there are any, at each evaluation.",
                    {"{{job_id}} {{of}}": f"max by (job_id, of) (ray_fgd_run_ap{RUN})"},
                    unit="percentunit",
                    width=12,
                ),
                Panel(
                    "Learning rate",
                    "Learning rate of the newest step.",
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
                    "Time left",
                    "Until the job ends, as estimated by the run.",
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
                    "Memory of the tensors of each worker: allocated now, and at the peak.",
                    {
                        "{{job_id}} worker {{worker}} {{what}}": (
                            f"max by (job_id, worker, what) (ray_fgd_run_gpu_memory_bytes{RUN})"
                        )
                    },
                    unit="bytes",
                    maybe="the run trains without a GPU.",
                ),
                Panel(
                    "Undelivered events",
                    "On the run's disk; the control plane has not confirmed them yet.",
                    {"{{job_id}}": f"max by (job_id) (ray_fgd_run_outbox_events{RUN})"},
                    width=12,
                ),
                Panel(
                    "CPU of the node",
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
