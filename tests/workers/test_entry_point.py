"""`python -m workers` as Ray starts it, with a control plane that answers over HTTP."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_control_plane import CLAIM, TOKEN, SmallControlPlane

from fgd_core.runs import execute
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.jobs import JOB_SPEC, JobSpec
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.evaluate import EvaluateSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import Fgd
from tests.library import RecordingContext
from tests.tiers import slow
from workers import runs

OTHERS = slow("tests/workers/test_entry_point.py::TestEntryPoint::test_a_cancel_stops_every_phase")
PHASES = ["evaluation", *(pytest.param(each, marks=OTHERS) for each in ("opening", "gate", "evaluate", "check_data"))]


def start(
    control_plane: SmallControlPlane, claim: str | None = CLAIM, *, token: str | None = None, **more: str
) -> subprocess.Popen[str]:
    given = {
        "FGD_URL": control_plane.url,
        "FGD_ATTEMPT_ID": "job1-1",
        **({"FGD_ATTEMPT_CLAIM": claim} if claim is not None else {}),
        **({"FGD_ATTEMPT_TOKEN": token} if token is not None else {}),
        **more,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "workers"],
        env=os.environ | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_kind_of_job_has_a_runner() -> None:
    assert set(runs.RUNNERS) == set(JOB_SPEC.json_schema()["discriminator"]["mapping"])


class TestEntryPoint:
    @pytest.mark.parametrize("claim", ["wrong", CLAIM])
    def test_a_refused_run_exits_with_a_clear_message(self, control_plane: SmallControlPlane, claim: str) -> None:
        control_plane.is_stale = claim == CLAIM
        process = start(control_plane, claim)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 1
        assert output.startswith("the run cannot begin: ")
        assert "Traceback" not in output
        assert control_plane.events == []

    def test_started_by_hand_it_names_the_right_command(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FGD_")}
        done = subprocess.run(
            [sys.executable, "-m", "workers"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "python -m fgd_core run" in done.stdout

    def test_a_failed_run_reports_its_error_to_log_and_control_plane(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        control_plane.assignment = _missing(assignment)
        process = start(control_plane)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 1
        assert control_plane.kinds[0] == "run_started"
        assert control_plane.kinds[-1] == "run_finished"
        last = control_plane.events[-1].event
        assert last["outcome"] == "failed"
        assert last["error"]["code"] == "weights"
        assert "run failed: there is no such checkpoint" in output
        assert "Traceback" in output
        assert TOKEN not in output
        assert CLAIM not in output

    @pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
    def test_a_claim_whose_answer_is_lost_is_retried_with_the_same_secret(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        control_plane.assignment = _unreadable(assignment)
        control_plane.replies_to_lose = 2
        start(control_plane).communicate(timeout=240)
        assert control_plane.kinds[-1] == "run_finished"
        assert len(control_plane.claims) == 3 and len(set(control_plane.claims)) == 1
        assert control_plane.num_assignments == 0

    def test_a_claim_code_that_another_process_used_is_an_error(self, control_plane: SmallControlPlane) -> None:
        control_plane.claims.append("another process's secret, of 32 letters")
        process = start(control_plane)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 1
        assert "another process has used the claim code" in output
        assert "Traceback" not in output
        assert control_plane.events == []

    @pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
    def test_a_control_plane_of_the_previous_version_passes_the_token(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        control_plane.assignment = _unreadable(assignment)
        start(control_plane, None, token=TOKEN).communicate(timeout=240)
        assert control_plane.kinds[-1] == "run_finished"
        assert (control_plane.claims, control_plane.num_assignments) == ([], 1)

    @pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
    def test_a_run_that_cannot_read_its_assignment_reports_a_failure(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        control_plane.assignment = _unreadable(assignment)
        process = start(control_plane)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 1
        assert "install the same version" in output
        assert control_plane.events[-1].event["error"]["code"] == "spec"

    def test_sigterm_makes_a_run_save_and_stop(self, control_plane: SmallControlPlane, assignment: Assignment) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        control_plane.assignment = assignment.model_copy(
            update={"spec": assignment.spec.model_copy(update={"training": training})}
        )
        process = start(control_plane)
        deadline = time.monotonic() + 240
        while "epoch_finished" not in control_plane.kinds:
            assert time.monotonic() < deadline, control_plane.kinds
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert control_plane.events[-1].event["outcome"] == "stopped"
        assert control_plane.sequences == list(range(1, len(control_plane.events) + 1))
        assert "checkpoint_saved" in control_plane.kinds

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_cancel_stops_every_phase_of_a_run(
        self, phase: str, control_plane: SmallControlPlane, assignment: Assignment, tmp_path: Path
    ) -> None:
        spec, before, after = _busy(phase, assignment, tmp_path)
        control_plane.assignment = assignment.model_copy(update={"spec": spec})
        process = start(control_plane)
        control_plane.wait_for_kind(before, timeout_s=240)
        control_plane.signal = "cancel"
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        assert control_plane.events[-1].event["outcome"] == "stopped"
        assert after not in control_plane.kinds

    def test_sigterm_ends_a_run_soon_without_a_control_plane(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        training = assignment.spec.training.model_copy(update={"epochs": 10_000})
        control_plane.assignment = assignment.model_copy(
            update={"spec": assignment.spec.model_copy(update={"training": training})}
        )
        process = start(control_plane)
        control_plane.wait_for_events(1, timeout_s=240)
        control_plane.stop()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=240)
        assert "not all events could be delivered" in output


def _busy(phase: str, assignment: Assignment, folder: Path) -> tuple[JobSpec, str, str]:
    """Return (a job whose phase takes minutes, the event before that phase, the event after it)."""
    tiny = assignment.spec
    assert isinstance(tiny, TrainSpec)
    many, few = Shapes(num_train=200_000, num_val=4, image_size_px=64), Shapes(num_train=4, num_val=4, image_size_px=64)
    much_to_score = few.model_copy(update={"num_val": 2_000})
    trained = tiny.model_copy(update={"data": much_to_score, "input": InputSpec(shorter_px=256, longer_px=256)})
    match phase:
        case "opening":
            return tiny.model_copy(update={"data": many}), "device_ready", "data_checked"
        case "check_data":
            return CheckDataSpec(name="checked", data=many), "device_ready", "data_checked"
        case "evaluation":
            return trained, "epoch_finished", "evaluated"
    context = RecordingContext(folder / "teacher")
    assert execute(tiny.model_copy(update={"data": few}), context).outcome == "succeeded"
    checkpoint = str(folder / "teacher/checkpoints/best.pt")
    if phase == "evaluate":
        scored = EvaluateSpec(name="evaluated", checkpoint=checkpoint, data=much_to_score, input=trained.input)
        return scored, "weights_loaded", "evaluated"
    distilled = DistillSpec(
        name="distilled",
        student=tiny.detector,
        teacher=Teacher(checkpoint=checkpoint),
        method=Fgd(),
        data=much_to_score,
        input=trained.input,
        training=tiny.training,
    )
    return distilled, "weights_loaded", "teacher_checked"


def _missing(assignment: Assignment) -> Assignment:
    """Return the assignment of a job that fails soon."""
    spec = EvaluateSpec(name="missing", checkpoint="/nowhere/best.pt", data=assignment.spec.data)
    return assignment.model_copy(update={"spec": spec})


def _unreadable(assignment: Assignment) -> Assignment:
    """Return an assignment with which a run fails before it loads PyTorch."""
    return assignment.model_copy(update={"number": "none"})
