import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_control_plane import TOKEN, SmallControlPlane

from fgd_core.errors import ConflictError, NetworkError, StaleAttemptError, StorageError, WeightsError
from fgd_core.spec.attempts import Assignment
from fgd_core.spec.dimensions import LogUniform
from fgd_core.spec.events import Progress, RunFinished, Warned
from fgd_core.spec.kinds.sweep import SweepSpec
from workers.control_plane import ControlPlane, read_assignment
from workers.run_context import HttpContext
from workers.tuning import sweep

MakeContext = Callable[..., HttpContext]


def progress(step: int = 1) -> Progress:
    return Progress(
        epoch=1, epochs=1, step=step, steps=9, images_per_s=1.0, eta_s=None, learning_rate=0.1, values={"loss": 1.0}
    )


@pytest.fixture
def connect(control_plane: SmallControlPlane, assignment: Assignment) -> Iterator[MakeContext]:
    made: list[HttpContext] = []

    def make(**options: Callable[[], None]) -> HttpContext:
        made.append(HttpContext(assignment, ControlPlane(control_plane.url, "job1-1", TOKEN), **options))
        return made[-1]

    yield make
    for context in made:
        context.close(0.1)


def eventually(condition: Callable[[], bool], timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


def stops_as_stale(context: HttpContext) -> bool:
    try:
        context.should_stop()
    except StaleAttemptError:
        return True
    return False


class TestSweep:
    def test_a_sweep_that_waits_for_its_history_can_be_stopped(
        self, connect: MakeContext, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        space = {"training.optimizer.learning_rate": LogUniform(low=1e-4, high=1e-2)}
        spec = SweepSpec(name="swept", base=assignment.spec, space=space)
        context = connect()
        control_plane.stop()
        context.ask_to_stop()
        assert sweep.run(spec, context).outcome == "stopped"


class TestHttpContext:
    def test_an_event_is_sent_before_the_next_heartbeat(
        self, control_plane: SmallControlPlane, assignment: Assignment
    ) -> None:
        rare = assignment.model_copy(update={"heartbeat_s": 1000.0})
        context = HttpContext(rare, ControlPlane(control_plane.url, "job1-1", TOKEN))
        context.emit(progress())
        control_plane.wait_for_events(1)
        context.emit(progress(2))
        control_plane.wait_for_events(2)
        assert context.close(60)

    def test_a_burst_of_events_arrives_in_few_batches(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        for step in range(1000):
            context.emit(progress(step))
        assert context.close(10)
        assert control_plane.sequences == list(range(1, 1001))
        assert control_plane.num_batches < 20

    def test_a_silent_run_sends_heartbeats(self, connect: MakeContext, control_plane: SmallControlPlane) -> None:
        connect()
        began = time.monotonic()
        control_plane.wait_for_heartbeats(3)
        assert time.monotonic() - began > 0.8

    def test_no_event_is_lost_or_duplicated_while_the_control_plane_is_away(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        context.emit(progress(1))
        control_plane.wait_for_events(1)
        control_plane.stop()
        for step in range(2, 20):
            context.emit(progress(step))
        control_plane.start()
        context.emit(progress(20))
        assert context.close(15)
        assert [each.event["step"] for each in control_plane.events] == list(range(1, 21))

    def test_a_batch_whose_answer_was_lost_is_stored_once(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.replies_to_lose = 3
        context = connect()
        context.emit(progress(1))
        context.emit(progress(2))
        assert context.close(10)
        assert control_plane.replies_to_lose == 0
        assert control_plane.sequences == [1, 2]

    def test_the_final_event_waits_for_a_control_plane_that_restarts(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        control_plane.stop()
        context.emit(RunFinished(outcome="stopped"))
        assert not context.close(0.5)
        control_plane.start()
        assert context.close(15)
        assert control_plane.kinds == ["run_finished"]

    def test_a_cancel_signal_reaches_a_run_without_events(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        context = connect()
        assert not context.should_stop()
        control_plane.signal = "cancel"
        eventually(context.should_stop)

    def test_a_stale_attempt_ends_with_an_error_and_cannot_write(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        calls: list[bool] = []
        context = connect(on_stale=lambda: calls.append(True))
        context.emit(progress(1))
        control_plane.wait_for_events(1)
        control_plane.is_stale = True
        eventually(lambda: stops_as_stale(context))
        outbox = context.job_dir.parent.parent / "outbox" / "attempt-1-run.jsonl"
        size_bytes = outbox.stat().st_size
        context.emit(progress(2))
        assert outbox.stat().st_size == size_bytes
        assert calls == [True]

    def test_a_refused_event_becomes_a_warning_and_the_others_arrive(
        self, connect: MakeContext, control_plane: SmallControlPlane
    ) -> None:
        control_plane.refused_kinds = {"progress"}
        context = connect()
        context.emit(Warned(code="first", message="kept"))
        context.emit(progress())
        context.emit(Warned(code="last", message="kept"))
        assert context.close(10)
        assert [each.event["code"] for each in control_plane.events] == ["first", "event_refused", "last"]

    def test_emitting_does_not_wait_for_answers(self, connect: MakeContext, control_plane: SmallControlPlane) -> None:
        context = connect()
        control_plane.stop()
        with socket.create_server(("127.0.0.1", control_plane.port)):
            began = time.monotonic()
            for step in range(1000):
                context.emit(progress(step))
                context.should_stop()
            # The port accepts connections and answers no request: one wait for each event would take hours.
            assert time.monotonic() - began < 60


class TestCheckpoints:
    def test_a_reference_resolves_to_the_file_in_the_assignment(
        self, control_plane: SmallControlPlane, assignment: Assignment, tmp_path: Path
    ) -> None:
        file = tmp_path / "a b.pt"
        file.touch()
        given = assignment.model_copy(update={"checkpoints": {"job:t/best": file.as_uri()}})
        context = HttpContext(given, ControlPlane(control_plane.url, "job1-1", TOKEN))
        assert context.resolve_checkpoint("job:t/best") == file
        assert context.resolve_checkpoint(str(file)) == file

    @pytest.mark.parametrize("source", ["job:unknown/best", "/nowhere/best.pt"])
    def test_an_error_names_the_missing_checkpoint(self, connect: MakeContext, source: str) -> None:
        with pytest.raises(WeightsError, match="no such checkpoint") as caught:
            connect().resolve_checkpoint(source)
        assert caught.value.details["source"] == source

    def test_a_folder_that_cannot_be_made_is_a_storage_error(self, assignment: Assignment, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        given = assignment.model_copy(update={"job_uri": (tmp_path / "file" / "job").as_uri()})
        with pytest.raises(StorageError):
            HttpContext(given, ControlPlane("http://127.0.0.1:1", "job1-1", TOKEN))


class TestControlPlane:
    def test_a_wrong_token_is_a_conflict(self, control_plane: SmallControlPlane) -> None:
        with pytest.raises(ConflictError, match="does not know this attempt"):
            ControlPlane(control_plane.url, "job1-1", "wrong").assignment()

    def test_a_closed_port_is_a_network_error(self) -> None:
        with pytest.raises(NetworkError):
            ControlPlane("http://127.0.0.1:1", "a", TOKEN).assignment()

    def test_loopback_addresses_use_no_proxy(
        self, control_plane: SmallControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert read_assignment(ControlPlane(control_plane.url, "job1-1", TOKEN).assignment()).job_id == "job1"
