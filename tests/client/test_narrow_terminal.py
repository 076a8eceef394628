"""What fits into 80 columns, the width that terminals open with."""

from rich.console import Console
from rich.spinner import Spinner

from service.client.commands.report import comparison_table
from service.client.live import bars
from service.client.standing import standing_of
from tests.reports.recorded_jobs import demo_jobs, report_on


def shown(renderable: object) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_bars_show_ap_and_the_time_left() -> None:
    standings = []
    for job in demo_jobs():
        standing = standing_of(job.job)
        for event in job.events[:60]:
            standing.update(event)
        standings.append(standing)
    said = shown(bars(standings, Spinner("dots"), width=80))
    heading, teacher, *_ = said.splitlines()
    assert heading.split() == ["job", "state", "epoch", "loss", "images/s", "AP", "left"]
    assert teacher.split()[0] == "teacher"
    assert teacher.split()[-1] == "0:24"
    assert "distill: foreground" in said
    assert "distill: P3" not in said


def test_the_comparison_shows_scores_uncut() -> None:
    said = shown(comparison_table(report_on(*demo_jobs()), width=80))
    assert "…" not in said
    for figure in ("0.690", "0.500", "0.620", "0.64 M", "60.2 2.8×", "1 min 22 s"):
        assert figure in said
