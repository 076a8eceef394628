"""One sweep: its progress, its best results, and its trials compared."""

from deploy.grafana.boards.panels import Board, Panel, Row, stat

SWEEP = '{sweep="$sweep", job_id=~"$job_id"}'
TRIALS = '{job_name="$sweep", job_id=~"$job_id", trial!=""'

SWEEPS = Board(
    "fgd-sweep",
    "fgd: sweep",
    "One sweep: its progress, its best results, and its trials compared.",
    since="now-6h",
    variables=[
        ("sweep", "Sweep", "label_values(ray_fgd_sweep_trials_planned, sweep)"),
        ("job_id", "Id", 'label_values(ray_fgd_sweep_trials_planned{sweep="$sweep"}, job_id)'),
    ],
    rows=[
        Row(
            "Now",
            [
                stat("Best", "Best value of the first objective.", f"max(ray_fgd_sweep_best{SWEEP})"),
                stat(
                    "Trials over", "Trials that ended, successfully or not.", f"max(ray_fgd_sweep_trials_done{SWEEP})"
                ),
                stat(
                    "Trials planned", "If the number is known in advance.", f"max(ray_fgd_sweep_trials_planned{SWEEP})"
                ),
                stat("Trials running", "Trials that train now.", f"max(ray_fgd_sweep_trials_running{SWEEP})"),
                stat("Epochs", "Trained by the search.", f"max(ray_fgd_sweep_epochs_done{SWEEP})"),
                stat(
                    "Time left",
                    "Until the sweep ends, as estimated.",
                    f"max(ray_fgd_sweep_eta_seconds{SWEEP})",
                    unit="s",
                ),
            ],
            height=4,
        ),
        Row(
            "The search",
            [
                Panel(
                    "Best so far",
                    "Best value of the first objective.",
                    {"{{job_id}} {{objective}}": f"max by (job_id, objective) (ray_fgd_sweep_best{SWEEP})"},
                ),
                Panel(
                    "Trials by state",
                    "Running, ended, and not yet started.",
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
                    "`completed`: trained to the end. `stopped`: the scheduler ended the trial early.",
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
                    "The first objective, at each evaluation.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_trial_objective{SWEEP})"},
                    width=12,
                ),
                Panel(
                    "Newest objective of each trial",
                    "From the highest to the lowest value.",
                    {"trial {{trial}}": f"sort_desc(max by (job_id, trial) (ray_fgd_trial_objective{SWEEP}))"},
                    width=12,
                    kind="bargauge",
                ),
                Panel(
                    "Epochs of each trial",
                    "A trial without progress is paused, or waits for a decision of the scheduler.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_trial_epoch{SWEEP})"},
                ),
                Panel(
                    "Loss of each trial",
                    "The minimised loss; trials with different weights are not comparable.",
                    {"trial {{trial}}": f'max by (job_id, trial) (ray_fgd_run_loss{TRIALS}, term="loss"}})'},
                ),
                Panel(
                    "Images per second of each trial",
                    "During training, without evaluations.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_run_images_per_second{TRIALS}}})"},
                ),
                Panel(
                    "Waiting for images",
                    "Part of the time in which a trial waited for the processes that read images.",
                    {"trial {{trial}}": f"max by (job_id, trial) (ray_fgd_run_data_wait_ratio{TRIALS}}})"},
                    unit="percentunit",
                    width=12,
                    max=1,
                ),
                Panel(
                    "GPU memory of each trial",
                    "Memory of the trial's tensors, at the peak.",
                    {
                        "trial {{trial}}": "max by (job_id, trial) "
                        f'(ray_fgd_run_gpu_memory_bytes{TRIALS}, what="peak"}})'
                    },
                    unit="bytes",
                    width=12,
                    maybe="the trials train without a GPU.",
                ),
            ],
        ),
    ],
)
