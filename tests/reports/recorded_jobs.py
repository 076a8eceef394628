"""Stored jobs for tests: the events of a teacher, a plain student and a distilled student, made from a seed."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple

from fgd_core.spec.backbones import ResNet
from fgd_core.spec.base import Fact
from fgd_core.spec.control_events import AttemptStarted, StateChanged, Submitted
from fgd_core.spec.data import InputSpec, Shapes
from fgd_core.spec.detectors import RetinaNet
from fgd_core.spec.diagnosis import Diagnosis
from fgd_core.spec.events import (
    ArtifactSaved,
    CheckpointSaved,
    DataChecked,
    DeviceReady,
    Diagnosed,
    EpochFinished,
    Evaluated,
    Finding,
    Progress,
    RunFinished,
    RunStarted,
    StoredEvent,
    TeacherChecked,
    Warned,
    WeightsLoaded,
)
from fgd_core.spec.jobs import JobSpec
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.kinds.train import TrainSpec
from fgd_core.spec.methods import Fgd
from fgd_core.spec.plans import DistillationPlanned, LevelSide, PlannedLevel
from fgd_core.spec.report import CurvePoint, JobReport, Report
from fgd_core.spec.results import ClassScore, ErrorReport, RunResult, Scores, Speed
from fgd_core.spec.training import AdamW, CosineSchedule, TrainingSpec
from fgd_core.spec.views import AttemptView, JobView, ProgressView
from fgd_core.spec.worst_images import OWN, AttentionMap, FoundBox, ShownImage, TrueBox, WorstImages
from service.jobs.report import fold

BEGIN = datetime(2025, 3, 4, 9, 30, tzinfo=UTC)
CLASSES = ("circle", "square", "triangle", "star", "ring")
TEACHER = RetinaNet(backbone=ResNet(name="resnet18", stem_width=32), fpn_width=64)
STUDENT = RetinaNet(backbone=ResNet(name="resnet18", stem_width=12, blocks=(1, 1, 1, 1)), fpn_width=64)


class Recorded(NamedTuple):
    job: JobView
    events: list[StoredEvent]
    curves: dict[str, list[CurvePoint]]

    def report(self) -> JobReport:
        return fold(self.job, self.events, self.curves)


def training(epochs: int = 24, **changes: object) -> TrainingSpec:
    return TrainingSpec(epochs=epochs, batch_size=8, optimizer=AdamW(), schedule=CosineSchedule()).model_copy(
        update=changes
    )


def train_spec(name: str, detector: RetinaNet, *, epochs: int = 24, seed: int = 0) -> TrainSpec:
    return TrainSpec(
        kind="train",
        name=name,
        detector=detector,
        data=Shapes(),
        input=InputSpec(shorter_px=128, longer_px=128),
        training=training(epochs),
        seed=seed,
    )


def distill_spec(
    name: str, teacher_id: str, *, inherit: str = "nothing", seed: int = 0, epochs: int = 24
) -> DistillSpec:
    return DistillSpec(
        kind="distill",
        name=name,
        student=STUDENT,
        teacher=Teacher(checkpoint=f"job:{teacher_id}/best"),
        method=Fgd(scale=0.05),
        inherit=inherit,
        data=Shapes(),
        input=InputSpec(shorter_px=128, longer_px=128),
        training=training(epochs),
        seed=seed,
    )


def scores(ap: float, *, classes: Sequence[str] = CLASSES) -> Scores:
    return Scores(
        ap=ap,
        ap50=min(1.0, ap * 1.35),
        ap75=ap * 1.08,
        ap_small=ap * 0.62,
        ap_medium=ap * 1.05,
        ap_large=None,
        ar1=ap * 0.6,
        ar10=min(1.0, ap * 1.2),
        ar100=min(1.0, ap * 1.25),
        ar_small=ap * 0.7,
        ar_medium=ap,
        ar_large=None,
        per_class={
            name: ClassScore(
                ap=min(1.0, ap * (0.8 + 0.1 * i)), ap50=min(1.0, ap * (1.1 + 0.1 * i)), num_boxes=90 - 13 * i
            )
            for i, name in enumerate(classes)
        },
    )


@cache
def diagnosis(skill: float) -> Diagnosis:
    """Return the diagnosis of made-up detections; more skill gives fewer errors."""
    # The service's image, which makes the reports of sweeps in a test, lacks the packages that these modules need.
    from fgd_core.evaluation.coco import match_detections
    from fgd_core.evaluation.diagnosis import diagnose
    from fgd_core.evaluation.diagnosis.matching import match_images
    from tests.compare.evaluations import DrawnDataset, as_images, detections

    dataset = DrawnDataset(5, num_images=40)
    found = as_images(detections(dataset, 1, skill=skill))
    return diagnose(dataset, match_images(dataset.samples, found), match_detections(dataset, found))


def worst_images(file_name: str = "0007.jpg") -> WorstImages:
    """Return one image with an object that the student misses and the teacher finds."""
    box = (10.0, 20.0, 50.0, 60.0)
    found = FoundBox(box_xyxy_px=box, label="ring", score=0.8, truth=0)
    alarm = FoundBox(box_xyxy_px=(60.0, 60.0, 90.0, 90.0), label="star", score=0.5, truth=-1)
    image = ShownImage(
        image_id=7,
        file_name=file_name,
        width=100,
        height=100,
        jpeg="/9j/",
        truth=[TrueBox(box_xyxy_px=box, label="ring")],
        found={OWN: [alarm], "teacher": [found]},
        maps=[AttentionMap(name="attention", png="iVBORw0KGgo=")],
    )
    return WorstImages(fingerprint="here", images=[image])


PLAN = DistillationPlanned(
    student="RetinaNet",
    teacher="FasterRcnn",
    method="fgd",
    levels=[
        PlannedLevel(
            student=LevelSide(name="P3", stride=8, channels=64),
            teacher=LevelSide(name="P3", stride=8, channels=256),
            is_distilled=True,
            has_adapter=True,
        ),
        PlannedLevel(
            student=LevelSide(name="P7", stride=128, channels=64),
            is_distilled=False,
            why_not="the teacher has none of this stride",
        ),
        PlannedLevel(
            teacher=LevelSide(name="P6", stride=64, channels=256),
            is_distilled=False,
            why_not="it only subsamples the level below",
        ),
    ],
    inherit="neck",
    num_inherited=9,
    num_inheritable=16,
    not_inherited=[f"backbone.fpn.inner_blocks.{index}.0.weight" for index in range(7)],
)


def recorded(
    job_id: str,
    spec: JobSpec,
    *,
    ap: float = 0.6,
    images_per_s: float = 40.0,
    disturbed_by: str | None = None,
    machine: str = "here",
    num_parameters: int = 1_000_000,
    warnings: Sequence[Warned] = (),
    findings: Sequence[Finding] = (),
) -> Recorded:
    """Return a successful job, with one event of each kind that a run reports."""
    noise = random.Random(job_id)
    epochs = spec.training.epochs if spec.kind != "evaluate" else 0
    steps_per_epoch = 50
    reported: list[Fact] = [
        Submitted(name=spec.name, job_kind=spec.kind),
        AttemptStarted(number=1, submission_id=f"fgd-{job_id}-1"),
        StateChanged(from_state="queued", to_state="starting", reason="leased"),
        RunStarted(host="here", pid=4711, python="3.11.2"),
        StateChanged(from_state="starting", to_state="running", reason="run_started"),
        DeviceReady(device="cpu", threads=2, precision="float32", versions={"torch": "2.15"}),
        DataChecked(
            split="train",
            num_images=400,
            num_images_without_boxes=21,
            num_boxes=1410,
            num_crowd=0,
            boxes_per_category=dict.fromkeys(CLASSES, 282),
            findings=list(findings),
        ),
        DataChecked(
            split="val",
            num_images=100,
            num_images_without_boxes=4,
            num_boxes=320,
            num_crowd=0,
            boxes_per_category=dict.fromkeys(CLASSES, 64),
        ),
        *warnings,
    ]
    if spec.kind == "distill":
        source = spec.teacher.checkpoint
        reported += [
            WeightsLoaded(
                role="teacher",
                source=source,
                num_matched=210,
                num_total=210,
                taken="`model_ema` (averaged)",
                left=["234 keys of `model`: the weights before averaging"],
            ),
            TeacherChecked(ap=0.69, recorded_ap=0.69, same_data=True),
            PLAN,
        ]
    curves: dict[str, list[CurvePoint]] = {"loss": []}
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        values = {"loss": 2.2 * math.exp(-2.2 * done) + 0.15, "task/classification": 1.3 * math.exp(-2.4 * done) + 0.05}
        values["task/box"] = 0.8 * math.exp(-1.9 * done) + 0.06
        if spec.kind == "distill":
            for rank, term in enumerate(("foreground", "background", "attention", "relation")):
                values[f"distill/{term}"] = 40 / 4**rank * math.exp(-1.5 * done)
            for level in range(3, 8):
                values[f"distill/P{level}"] = 0.4 / 2 ** (level - 3) * math.exp(-1.5 * done)
            values["distill/total"] = 0.75 * math.exp(-1.5 * done)
        step = epoch * steps_per_epoch
        where = {"epoch": epoch, "epochs": epochs, "step": step, "steps": epochs * steps_per_epoch}
        rates = {"images_per_s": 180.0, "eta_s": 60.0 * (1 - done), "learning_rate": 1e-3}
        reported.append(Progress(**where, **rates, values=values))
        reported.append(EpochFinished(**where, **rates, values=values))
        now = ap * (1 - math.exp(-4 * done)) / (1 - math.exp(-4))
        reached = ap if epoch == epochs else max(0.0, now + noise.gauss(0, 0.012))
        reported.append(Evaluated(epoch=epoch, step=step, scores=scores(reached)))
        curves["loss"] += [
            CurvePoint(step=step - back, value=values["loss"] * noise.uniform(0.75, 1.3)) for back in range(45, 0, -5)
        ]
    digest = "ab" * 32
    speed = Speed(
        latency_ms=1000 / images_per_s,
        spread=0.02,
        repetitions=5,
        load_average=1.0,
        machine=machine,
        disturbed_by=disturbed_by,
    )
    result = RunResult(
        scores=scores(ap),
        num_parameters=num_parameters,
        images_per_s=images_per_s,
        speed=speed,
        num_images=100,
        best_epoch=epochs or None,
        train_s=3.4 * epochs if epochs else None,
        device="cpu",
    )
    reported += [
        CheckpointSaved(name="best", uri="file:///x/best.pt", sha256=digest, size_bytes=9, epoch=epochs, step=1, ap=ap),
        Diagnosed(diagnosis=diagnosis(ap)),
        ArtifactSaved(name="samples.png", uri="file:///x/s.png", media_type="image/png", sha256=digest, size_bytes=9),
        RunFinished(outcome="succeeded", result=result),
        StateChanged(from_state="running", to_state="succeeded", reason="run_succeeded"),
    ]
    events = stored(job_id, reported)
    return Recorded(view(job_id, spec, events, result=result), events, curves)


def stored(job_id: str, reported: Sequence[Fact]) -> list[StoredEvent]:
    return [
        StoredEvent(
            job_id=job_id,
            sequence=sequence,
            at=BEGIN + timedelta(seconds=sequence),
            attempt=1,
            kind=event.kind,
            data=event.model_dump(mode="json"),
        )
        for sequence, event in enumerate(reported, start=1)
    ]


def view(
    job_id: str,
    spec: JobSpec,
    events: Sequence[StoredEvent],
    *,
    state: str = "succeeded",
    result: RunResult | None = None,
    error: ErrorReport | None = None,
) -> JobView:
    attempt = AttemptView(
        attempt_id=f"{job_id}-1",
        number=1,
        submission_id=f"fgd-{job_id}-1",
        dashboard_url=None,
        created_at=BEGIN,
        started_at=BEGIN,
        ended_at=None,
        cause=None,
        error=error,
        released_at=None,
        spec_changes={},
    )
    return JobView(
        job_id=job_id,
        name=spec.name,
        kind=spec.kind,
        project=spec.project,
        priority=spec.priority,
        preemptible=spec.preemptible,
        submitted_by="anonymous",
        state=state,
        reason_code=None,
        reason=None,
        progress=ProgressView(),
        created_at=BEGIN,
        started_at=BEGIN + timedelta(seconds=3),
        ended_at=BEGIN + timedelta(seconds=3 + len(events)),
        spec=spec,
        waits_for=[],
        failures=0,
        losses=0,
        version=1,
        attempts=[attempt],
        artifacts=[],
        error=error,
        result=result,
        dashboard_url=None,
        last_sequence=len(events),
    )


def demo_jobs() -> list[Recorded]:
    """Return a teacher, the plain student and the distilled student, as after the demo."""
    finding = Finding(problem="box_without_area", action="dropped", count=5, examples=["0001.png", "0017.png"])
    warning = Warned(code="few_boxes", message="class 'ring' has fewer than 40 boxes; its AP will be noisy")
    return [
        recorded("t1", train_spec("teacher", TEACHER, epochs=30), ap=0.69, images_per_s=21.5, num_parameters=3_900_000),
        recorded("p1", train_spec("plain student", STUDENT), ap=0.50, images_per_s=61.0, num_parameters=640_000),
        recorded(
            "d1",
            distill_spec("distilled student", "t1"),
            ap=0.62,
            images_per_s=60.2,
            num_parameters=640_000,
            warnings=[warning],
            findings=[finding],
        ),
    ]


def report_on(*jobs: Recorded) -> Report:
    return Report(generated_at=BEGIN + timedelta(hours=1), jobs=[job.report() for job in jobs])
