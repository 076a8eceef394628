"""One search: how far it is, what it has found, and its trials side by side."""

from deploy.grafana.boards.panels import Board, Panel, Row, stat

SWEEP = '{sweep="$sweep", job_id=~"$job_id"}'
TRIALS = '{job_name="$sweep", job_id=~"$job_id", trial!=""'

SWEEPS = Board(
    "fgd-sweep",
    "fgd: sweep",
    "One search: how far it is, what it has found, and its trials side by side.",
    since="now-6h",
    variables=[
        ("sweep", "Sweep", "label_values(ray_fgd_sweep_trials_planned, sweep)"),
        ("job_id", "Id", 'label_values(ray_fgd_sweep_trials_planned{sweep="$sweep"}, job_id)'),
    ],
    rows=[
        Row(
            "Now",
            [
                stat("Best", "Of the first objective.", f"max(ray_fgd_sweep_best{SWEEP})"),
                stat("Trials over", "Whatever way they ended.", f"max(ray_fgd_sweep_trials_done{SWEEP})"),
                stat("Trials planned", "As far as it can be told.", f"max(ray_fgd_sweep_trials_planned{SWEEP})"),
                stat("Trials running", "Now.", f"max(ray_fgd_sweep_trials_running{SWEEP})"),
                stat("Epochs", "Trained by the search.", f"max(ray_fgd_sweep_epochs_done{SWEEP})"),
                stat("To go", "Until its end.", f"max(ray_fgd_sweep_eta_seconds{SWEEP})", unit="s"),
            ],
            height=4,
        ),
        Row(
            "The search",
            [
                Panel(
                    "Best so far",
                    "Of the first objective.",
                    {"{{job_id}} {{objective}}": f"max by (job_id, objective) (ray_fgd_sweep_best{SWEEP})"},
                ),
                Panel(
                    "Trials by state",
                    "Those that run, are over, and are still to come.",
                    {
                        "running": f"max(ray_fgd_sweep_trials_running{SWEEP})",
                        "over": f"max(ray_fgd_sweep_trials_done{SWEEP})",
                        "to come": f"max(ray_fgd_sweep_trials_planned{SWEEP}) - max(ray_fgd_sweep_trials_done{SWEEP}) "
                        f"- max(ray_fgd_sweep_trials_running{SWEEP})",
                    },
                    stacked=True,
                ),
                Panel(
                    "Ends by cause",
                    "`completed` trained to the end, `stopped` was given up by the scheduler.",
                    {"{{cause}}": f"sum by (cause) (max by (job_id, cause) (ray_fgd_sweep_trials_ended_total{SWEEP}))"},
                    kind="bargauge",
                ),
            ],
        ),
        Row(
            "Trials",
            [
                Panel(
                    "Objective of each trial",
                    "The first one, at each evaluation.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_trial_objective{SWEEP})"},
                    width=12,
                ),
                Panel(
                    "Newest objective of each trial",
                    "From best to worst, where more is better.",
                    {"trial {{trial}}": f"sort_desc(max by (job_id, trial) (ray_fgd_trial_objective{SWEEP}))"},
                    width=12,
                    kind="bargauge",
                ),
                Panel(
                    "Epochs of each trial",
                    "A trial that stands still waits for its verdict or rests.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_trial_epoch{SWEEP})"},
                ),
                Panel(
                    "Loss of each trial",
                    "What it minimises; trials with other weights are not comparable by it.",
                    {"trial {{trial}}": f'max by (job_id, trial) (ray_fgd_run_loss{TRIALS}, term="loss"}})'},
                ),
                Panel(
                    "Images per second of each trial",
                    "In training, evaluations left out.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_run_images_per_second{TRIALS}}})"},
                ),
                Panel(
                    "Waiting for images",
                    "Part of the time that a trial stood still for the processes that read them.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_run_data_wait_ratio{TRIALS}}})"},
                    unit="percentunit",
                    width=12,
                    max=1,
                ),
                Panel(
                    "GPU memory of each trial",
                    "Of its tensors, at the peak.",
                    {
                        "trial {{trial}}": "max by (job_id, trial) "
                        f'(ray_fgd_run_gpu_memory_bytes{TRIALS}, what="peak"}})'
                    },
                    unit="bytes",
                    width=12,
                    maybe="trials train on no GPU.",
                ),
            ],
        ),
    ],
)
