"""Tables in terminals of 72 columns and more; most terminals open with 80."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from rich.console import Console
from rich.spinner import Spinner

from fgd_core.spec.administration import AuditEntryView, DeliveryView, TokenView
from fgd_core.spec.data import Shapes
from fgd_core.spec.event_state import JobStatus, status_before_events
from fgd_core.spec.events import DataChecked, PoolChecked, ScaleChosen
from fgd_core.spec.housekeeping import Removal
from fgd_core.spec.kinds.derive_data import DeriveDataSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.views import JobSummary, ProgressView, QueuedJob, QueueView
from service.client.client import FgdClient
from service.client.commands.audit import audit_table
from service.client.commands.gc import removal_table
from service.client.commands.jobs import job_table
from service.client.commands.queue import queue_table
from service.client.commands.report import comparison_table, data_sentences
from service.client.commands.tokens import token_table
from service.client.commands.webhooks import delivery_table
from service.client.live import EventLines, bars
from service.client.overview import table
from service.jobs.report import fold
from tests.client.live_server import LiveServer, eventually
from tests.client.terminal import Terminal
from tests.reports.recorded_jobs import STUDENT, demo_jobs, report_on, stored, train_spec, view
from tests.tiers import slow

WIDTHS = (72, 80, 100, 160)
NOW = datetime.now(UTC)
KEPT = slow("tests/client/test_narrow_terminal.py::test_a_real_terminal")
LONG_REASON = (
    "no node of the cluster has 99 CPUs and 8 GPUs free at once; the largest has 2 CPUs; ask for less with "
    "resources.cpus, or add a node that is larger than this one, and then wait until the node is there"
)


def shown(renderable: object, *, width: int = 80) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_bars_show_ap_and_remaining_time() -> None:
    statuses = []
    for job in demo_jobs():
        status = status_before_events(job.job)
        for event in job.events[:60]:
            status.update(event)
        statuses.append(status)
    text = shown(bars(statuses, Spinner("dots"), width=80))
    heading, teacher, *_ = text.splitlines()
    assert heading.split() == ["job", "state", "epoch", "loss", "images/s", "AP", "left"]
    assert teacher.split()[0] == "teacher"
    assert teacher.split()[-1] == "0:24"
    # The unweighted terms, which do not add up to the loss, are marked so.
    total, _, terms = text.partition("distill ")[2].partition(" (unweighted: ")
    assert 0 < float(total) < 1
    assert terms.startswith("foreground")
    assert "P3" not in terms.splitlines()[0]


def test_the_terms_of_a_mixture_are_shown_without_its_places() -> None:
    places = {
        "distill/focal/P3": 0.2,
        "distill/pattern/P4": 0.1,
        "distill/scores/head": 0.1,
        "distill/boxes/regions": 0.1,
    }
    job = a_running_job({"distill/total": 0.5, "distill/focal/foreground": 18.9, **places})
    text = shown(bars([job], Spinner("dots"), width=160), width=160)
    assert "distill 0.5 (unweighted: focal/foreground 18.9)" in text


def test_the_comparison_cuts_no_score() -> None:
    text = shown(comparison_table(report_on(*demo_jobs()), width=80))
    assert "…" not in text
    for figure in ("0.690", "0.500", "0.620", "0.64 M", "60.2 2.8×", "1 min 22 s"):
        assert figure in text


def a_running_job(values: Mapping[str, float] = MappingProxyType({"loss": 1.25})) -> JobStatus:
    return JobStatus(
        *("a1", "retinanet-r50-from-x101-longer", "distill", "running"),
        progress=ProgressView(
            epoch=13,
            epochs=120,
            step=5,
            steps=9,
            images_per_s=118.4,
            eta_s=36750,
            ap=0.312,
            best_ap=0.345,
            values=dict(values),
        ),
        project="vision",
        priority=50,
    )


def waiting_jobs() -> list[JobStatus]:
    return [
        JobStatus("a2", "student", "train", "blocked", doing=LONG_REASON, project="default"),
        JobStatus("a3", "another", "train", "failed", error=LONG_REASON, project="blood-cells"),
    ]


class TestLongReason:
    """A long reason hides no column, even in a narrow terminal."""

    @pytest.mark.parametrize("width", WIDTHS)
    def test_all_watched_jobs(self, width: int) -> None:
        text = shown(table([a_running_job(), *waiting_jobs()], width=width, height=24), width=width)
        heading, running, *_ = text.splitlines()
        assert {"job", "state", "epoch", "AP", "left"} <= set(heading.split())
        assert {"running", "13/120", "0.345", "10:12:30"} <= set(running.split())
        assert "blocked" in text and "failed" in text
        assert text.count("no node of the cluster has") == 2
        assert max(map(len, text.splitlines())) <= width

    @pytest.mark.parametrize("width", WIDTHS)
    def test_named_watched_jobs(self, width: int) -> None:
        text = shown(bars([a_running_job(), *waiting_jobs()], Spinner("dots"), width=width), width=width)
        heading, running, *_ = text.splitlines()
        assert {"job", "state", "epoch", "loss", "AP", "left"} <= set(heading.split())
        assert {"running", "13/120", "1.25", "0.312", "10:12:30"} <= set(running.split())
        assert "until the node is there" in " ".join(text.split())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_listed_jobs(self, width: int) -> None:
        text = shown(job_table([summary(LONG_REASON), summary(None)], width=width), width=width)
        heading, first, *_ = text.splitlines()
        assert {"id", "name", "state", "epoch", "AP"} <= set(heading.split())
        assert {"0123456789ab", "running", "13/120", "0.345"} <= set(first.split())
        assert set(LONG_REASON.split()) <= set(text.split())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_queue(self, width: int) -> None:
        text = shown(queue_table(QueueView(items=[queued()], num_waiting=1, nodes=None), width=width), width=width)
        heading, job, *_ = text.splitlines()
        assert all(words in heading for words in ("id", "name", "needs", "may start"))
        assert all(words in job for words in ("0123456789ab", "student", "99 CPU 8 GPU", "never"))

    @pytest.mark.parametrize("width", WIDTHS)
    def test_audit(self, width: int) -> None:
        entry = AuditEntryView(
            entry_id=1,
            at=NOW,
            actor="a-token-with-a-long-name",
            token_id=None,
            action="submit_job",
            target="/v1/jobs/0123456789ab/and/more",
            project="blood-cells",
            status=422,
            request_id="r",
            details={"reason": LONG_REASON},
        )
        heading, first, *rest = shown(audit_table([entry], width=width), width=width).splitlines()
        assert {"at", "who", "action", "target", "status"} <= set(heading.split())
        assert {"submit_job", "422"} <= set(first.split())
        assert set(LONG_REASON.split()) <= set(" ".join([first, *rest]).replace("=", " ").split())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_webhook_deliveries(self, width: int) -> None:
        delivery = DeliveryView(
            delivery_id="d",
            job_id="0123456789ab",
            sequence=1,
            state="waiting",
            tries=3,
            created_at=NOW,
            next_try_at=NOW,
            delivered_at=None,
            last_error=LONG_REASON,
        )
        heading, first, *_ = shown(delivery_table([delivery], width=width), width=width).splitlines()
        assert {"at", "job", "state", "tries"} <= set(heading.split())
        assert {"0123456789ab", "waiting", "3"} <= set(first.split())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_removals(self, width: int) -> None:
        removal = Removal(
            kind="log", job_id="0123456789ab", name="a/long/path/" * 9, why=LONG_REASON, num_rows=7, size_bytes=1500
        )
        heading, first, *_ = shown(removal_table([removal], width=width), width=width).splitlines()
        assert {"what", "job", "name", "rows", "size"} <= set(heading.split())
        assert {"log", "0123456789ab", "7", "1.5", "kB"} <= set(first.split())

    @pytest.mark.parametrize("width", WIDTHS)
    def test_tokens(self, width: int) -> None:
        token = TokenView(
            token_id="0123456789ab",
            name="the nightly build of the blood cells",
            role="submit",
            project="blood-cells",
            created_at=NOW,
            created_by="command line (user 1000)",
            expires_at=NOW + timedelta(days=9),
            revoked_at=None,
            last_used_at=NOW,
        )
        heading, first, *_ = shown(token_table([token], width=width), width=width).splitlines()
        assert {"id", "name", "role", "valid"} <= set(heading.split())
        assert {"0123456789ab", "submit", "UTC"} <= set(first.split())

    def test_rows_and_reasons_fit_the_height(self) -> None:
        text = shown(table(waiting_jobs() * 20, width=72, height=24), width=72)
        assert len(text.splitlines()) <= 24
        assert "not shown" in text.splitlines()[-1]


@pytest.mark.parametrize("width", [72, 160, *(pytest.param(each, marks=KEPT) for each in (80, 100))])
@pytest.mark.parametrize("with_ids", [True, pytest.param(False, marks=KEPT)])
def test_a_real_terminal_keeps_the_columns_of_a_job_with_a_long_reason(
    client: FgdClient, server: LiveServer, width: int, with_ids: bool
) -> None:
    server.cluster.is_reachable = False
    spec = train_spec("a-student-with-a-rather-long-name", STUDENT)
    job_id = client.submit(spec).job_id
    reason_of = lambda: client.job(job_id).reason or ""  # noqa: E731
    eventually(lambda: len(reason_of()) > 40)
    terminal = Terminal("watch", *([job_id] if with_ids else []), "--server", server.url, columns=width)
    try:
        words = reason_of().split()[:3]
        eventually(lambda: " ".join(words) in terminal.screen)
        assert terminal.interrupt() == 130
    finally:
        terminal.close()
    heading = next(line for line in terminal.screen.splitlines() if line.startswith("job "))
    expected = {"job", "state", "epoch", "AP", "left"} | ({"loss"} if with_ids else set())
    assert expected <= set(heading.split())
    assert "Traceback" not in terminal.screen


def summary(reason: str | None) -> JobSummary:
    return JobSummary(
        job_id="0123456789ab",
        name="retinanet-r50-from-x101-longer",
        kind="distill",
        project="blood-cells",
        priority=50,
        preemptible=False,
        submitted_by="ana",
        state="running",
        reason_code=None,
        reason=reason,
        progress=ProgressView(epoch=13, epochs=120, best_ap=0.345),
        created_at=NOW,
        started_at=NOW - timedelta(hours=30),
        ended_at=None,
    )


def queued() -> QueuedJob:
    return QueuedJob(
        position=1,
        job_id="0123456789ab",
        name="student",
        project="blood-cells",
        priority=50,
        state="queued",
        cpus=99,
        gpus=8,
        pieces=1,
        workers=1,
        code="too_large",
        message=LONG_REASON,
        not_before=None,
        created_at=NOW,
    )


def test_the_control_of_a_chain_has_no_best_score() -> None:
    lines = EventLines()
    [*_, scored] = [event for event in demo_jobs()[0].events if event.kind == "evaluated"]
    for stage, has_best in (("stage 2/2", True), ("control", False)):
        job = a_running_job()
        job.progress = job.progress.model_copy(update={"stage": stage})
        line = lines.line(job, scored)
        assert line is not None and ("best" in line) == has_best


def test_a_log_says_what_the_pool_holds_and_which_scale_was_found() -> None:
    [event, *_] = demo_jobs()[0].events
    facts = PoolChecked(num_images=160), ScaleChosen(scale=0.02, ratio=90.0, target=2.0, steps=60)
    stored = [event.model_copy(update={"kind": fact.kind, "data": fact.model_dump(mode="json")}) for fact in facts]
    pool, scale = (EventLines().line(a_running_job(), each) for each in stored)
    assert pool is not None and "pool: 160 images without labels" in pool
    assert scale is not None and "scale found in 60 steps: 0.02" in scale


def test_a_log_says_what_is_left_of_a_study_when_a_run_ends_and_ever_more_rarely_between() -> None:
    lines, study = EventLines(), JobStatus(job_id="a", name="helps", kind="study", state="blocked")

    def shown(seconds: int, ended: int) -> bool:
        study.progress = study.progress.model_copy(update={"step": ended, "steps": 9, "eta_s": None})
        return lines.runs_line(study, NOW + timedelta(seconds=seconds)) is not None

    assert [at for at in range(0, 100, 5) if shown(at, 0)] == [0, 10, 20, 40, 80]
    assert [at for at in range(100, 500, 5) if shown(at, 1)] == [100, 200, 400]


def test_a_job_that_derives_data_reports_what_it_made_and_under_which_name() -> None:
    spec = DeriveDataSpec(
        name="copies",
        data=Shapes(),
        teacher=Teacher(checkpoint="/teacher.pt"),
        dataset="shapes-copies",
        folder="/copies",
    )
    counted = DataChecked(
        split="train", num_images=32, num_images_without_boxes=1, num_boxes=58, num_crowd=0, boxes_per_category={}
    )
    # The images are counted before the pictures are made, and again with them.
    events = stored("a", [counted, counted])
    assert data_sentences(fold(view("a", spec, events), events, {})) == [
        "copies: train has 32 images and 58 boxes; no findings",
        "copies: registered as shapes-copies; `fgd data show shapes-copies` shows all counts",
    ]
