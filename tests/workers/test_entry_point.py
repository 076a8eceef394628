"""`python -m workers` as Ray starts it, against a control plane that really answers."""

import os
import signal
import subprocess
import sys
import time

import pytest
from small_control_plane import TOKEN, SmallControlPlane

from fgd_core.spec.attempts import Assignment
from fgd_core.spec.jobs import EvaluateSpec
from workers import runs


def start(control_plane: SmallControlPlane, token: str = TOKEN) -> subprocess.Popen[str]:
    environment = os.environ | {
        "FGD_URL": control_plane.url,
        "FGD_ATTEMPT_ID": "job1-1",
        "FGD_ATTEMPT_TOKEN": token,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "workers"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_every_kind_of_job_has_a_runner() -> None:
    assert set(runs.RUNNERS) == {"train", "distill", "evaluate", "check_data", "sweep"}


class TestEntryPoint:
    @pytest.mark.parametrize("token", ["wrong", TOKEN])
    def test_a_run_that_is_not_wanted_exits_with_a_clear_line(
        self, control_plane: SmallControlPlane, token: str
    ) -> None:
        control_plane.is_stale = token == TOKEN
        process = start(control_plane, token)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert output.startswith("the run cannot begin: ")
        assert "Traceback" not in output
        assert control_plane.events == []

    def test_by_hand_it_says_what_to_use_instead(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FGD_")}
        done = subprocess.run(
            [sys.executable, "-m", "workers"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "python -m fgd_core run" in done.stdout

    def test_a_failed_run_says_why_on_the_log_and_to_the_control_plane(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        spec = EvaluateSpec(name="missing", checkpoint="/nowhere/best.pt", data=assignment.spec.data)
        control_plane.assignment = assignment.model_copy(update={"spec": spec})
        process = start(control_plane)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert control_plane.kinds[0] == "run_started"
        assert control_plane.kinds[-1] == "run_finished"
        last = control_plane.events[-1].event
        assert last["outcome"] == "failed"
        assert last["error"]["code"] == "weights"
        assert "run failed: there is no such checkpoint" in output
        assert "Traceback" in output
        assert TOKEN not in output

    def test_sigterm_lets_a_run_save_and_end(self, control_plane: SmallControlPlane, assignment: Assignment) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        control_plane.assignment = assignment.model_copy(
            update={"spec": assignment.spec.model_copy(update={"training": training})}
        )
        process = start(control_plane)
        deadline = time.monotonic() + 60
        while "epoch_finished" not in control_plane.kinds:
            assert time.monotonic() < deadline, control_plane.kinds
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        assert control_plane.events[-1].event["outcome"] == "stopped"
        assert control_plane.sequences == list(range(1, len(control_plane.events) + 1))
        assert "checkpoint_saved" in control_plane.kinds

    def test_sigterm_ends_a_run_soon_even_when_nobody_listens(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        control_plane.assignment = assignment.model_copy(
            update={"spec": assignment.spec.model_copy(update={"training": training})}
        )
        process = start(control_plane)
        control_plane.wait_for_events(1, timeout_s=60)
        control_plane.stop()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        assert "not all events could be delivered" in output
