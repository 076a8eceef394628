"""Does every detector learn, and does every pair distil? Eight real images, on the CPU.

    python -m benchmarks.pairs [--only fcos gfl] [--data ../shared/data] [--work build/pairs]

First every detector in the table, and some of their versions and conventions, are trained, from scratch and by the
library's front door, on eight images until their AP on these same images exceeds a goal: that of boxes, on blood cells,
and where a detector has masks also that of masks, on nuclei. Whoever cannot learn eight images by heart learns nothing.
Then each detector trained is the teacher of a smaller, fresh student of every kind, for a few steps on one batch: the
loss has to be finite and to fall. What was trained before with the same spec is not trained again.
"""

import argparse
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fgd_core.data import open_dataset
from fgd_core.data.loading import TrainLoader
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detector, num_parameters
from fgd_core.detectors.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec import detectors as spec
from fgd_core.spec.data import Coco, CocoSplit, InputSpec
from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import Evaluated, RunEvent, RunFinished
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.methods import Fgd
from fgd_core.spec.training import AdamW
from fgd_core.training.distiller import Distiller
from fgd_core.training.optimizers import build_optimizer
from fgd_core.training.seeding import seed_everything
from fgd_core.training.step import training_step

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY.parent / "shared/data"
NUM_IMAGES = 8
GOAL_AP = 0.8
# Small networks from scratch on small images; whatever a kind of detector does not have is left out.
TEACHER: Mapping[str, Any] = {
    "backbone": {"name": "resnet18", "stem_width": 32, "norm": "group"},
    "fpn_width": 64,
    "head_norm": "group",
    "rois_per_image": 128,
}
STUDENT: Mapping[str, Any] = {
    **TEACHER,
    "backbone": {"name": "resnet18", "stem_width": 16, "blocks": [1, 1, 1, 1], "norm": "group"},
    "fpn_width": 32,
}


@dataclass(frozen=True)
class Candidate:
    """A detector that is to learn: a row of the table, or one of its variants."""

    kind: type[AnyDetector]
    options: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return " ".join([self.kind.model_fields["type"].default, *(value for _, value in self.options)])


PLAIN = tuple(Candidate(kind) for kind in DETECTORS)
VARIANTS = (
    Candidate(spec.RetinaNet, (("version", "v2"),)),
    Candidate(spec.RetinaNet, (("convention", "mmdetection"),)),
    Candidate(spec.Fcos, (("convention", "mmdetection"),)),
    Candidate(spec.Fcos, (("convention", "mmdetection"), ("version", "v1"))),
    Candidate(spec.FasterRcnn, (("convention", "mmdetection"),)),
    Candidate(spec.MaskRcnn, (("convention", "mmdetection"),)),
)


@dataclass(frozen=True)
class Scene:
    """Eight images, and how they reach the network."""

    folder: str
    input: InputSpec
    anchor_base_size_px: float


BLOOD_CELLS = Scene("bccd", InputSpec(shorter_px=192, longer_px=256, flip_probability=0), 16)
NUCLEI = Scene("nuclei_small", InputSpec(shorter_px=256, longer_px=256, flip_probability=0), 8)


@dataclass(frozen=True)
class Learned:
    """How far a detector came with eight images."""

    detector: str
    data: str
    parameters: int
    ap: float
    ap50: float
    mask_ap: float | None
    steps: int
    seconds: float
    checkpoint: str

    @property
    def is_good(self) -> bool:
        return self.ap > GOAL_AP and (self.mask_ap is None or self.mask_ap > GOAL_AP)


@dataclass(frozen=True)
class Pair:
    """What a few steps of a student beside a teacher showed."""

    student: str
    teacher: str
    levels: list[str]
    left_out: list[str]
    first_loss: float
    last_loss: float
    first_distilled: float
    last_distilled: float

    @property
    def is_good(self) -> bool:
        falls = self.last_loss < self.first_loss and self.last_distilled < self.first_distilled
        return falls and math.isfinite(self.last_loss)


def settings_of(candidate: Candidate, scene: Scene, values: Mapping[str, Any]) -> AnyDetector:
    """The detector with those of the values that it knows."""
    wanted = {**values, "anchor_base_size_px": scene.anchor_base_size_px, **dict(candidate.options)}
    fields = candidate.kind.model_fields
    return candidate.kind.model_validate({name: value for name, value in wanted.items() if name in fields})


def scene_of(candidate: Candidate) -> Scene:
    has_masks = build_detector(settings_of(candidate, NUCLEI, STUDENT), 1).has_masks
    return NUCLEI if has_masks else BLOOD_CELLS


def eight_images(scene: Scene, data: Path, work: Path) -> Coco:
    """A data set whose training and validation split are the same eight training images: those with the largest
    smallest object, for an object of three pixels is no question of learning."""
    content = json.loads((data / scene.folder / "annotations_train.json").read_text())
    smallest: dict[int, float] = {}
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        smallest[image] = min(smallest.get(image, math.inf), *annotation["bbox"][2:])
    named = _with_every_class(content) if scene is BLOOD_CELLS else set(smallest)
    chosen = sorted(named, key=lambda image: (-smallest[image], image))[:NUM_IMAGES]
    content["images"] = [image for image in content["images"] if image["id"] in chosen]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in chosen]
    path = work / f"{scene.folder}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    split = CocoSplit(images=str((data / scene.folder / "images").resolve()), annotations=str(path.resolve()))
    return Coco(train=split, val=split)


def overfit(candidate: Candidate, data: Path, work: Path, *, epochs: int = 250, goal_ap: float = GOAL_AP) -> Learned:
    """Train a detector on eight images until its AP on them exceeds `goal_ap`, or its epochs are over.

    Raises:
        RuntimeError: the run failed, with its cause.
    """
    scene, name = scene_of(candidate), candidate.name
    settings = settings_of(candidate, scene, TEACHER)
    job = {
        "kind": "train",
        "name": f"overfit {name}",
        "detector": settings.model_dump(mode="json"),
        "data": eight_images(scene, data, work).model_dump(mode="json"),
        "input": scene.input.model_dump(mode="json"),
        "training": {
            "epochs": epochs,
            "batch_size": 4,
            "optimizer": {"type": "adamw", "learning_rate": 2e-3},
            "schedule": {"type": "cosine"},
            "warmup_steps": 20,
            "clip_norm": 10.0,
            "evaluate_every": max(1, epochs // 20),
            "checkpoint_every_s": 3600,
        },
    }
    folder = work / name.replace(" ", "_")
    done = folder / "learned.json"
    if done.exists() and (before := json.loads(done.read_text()))["job"] == job:
        return Learned(**before["learned"])
    shutil.rmtree(folder, ignore_errors=True)  # else the run would go on from what another spec left
    watch = _Watch(folder, goal_ap)
    started_s = time.perf_counter()
    finished = execute(JOB_SPEC.validate_python(job), watch)
    seconds = time.perf_counter() - started_s
    if watch.best is None:
        raise RuntimeError(f"{name} {finished.outcome}: {finished.error and finished.error.traceback}")
    scores = watch.best.scores
    learned = Learned(
        detector=name,
        data=scene.folder,
        parameters=num_parameters(build_detector(settings, len(scores.per_class))),
        ap=scores.ap or 0.0,
        ap50=scores.ap50 or 0.0,
        mask_ap=_mask_ap(watch.best),
        steps=watch.best.step or 0,
        seconds=round(seconds, 1),
        checkpoint=str(folder / "checkpoints/best.pt"),
    )
    done.write_text(json.dumps({"job": job, "learned": asdict(learned)}))
    return learned


def distil(
    candidate: Candidate,
    teacher_checkpoint: Path,
    data: Path,
    work: Path,
    *,
    steps: int = 10,
    values: Mapping[str, Any] = STUDENT,
) -> Pair:
    """A fresh student beside the teacher of a checkpoint: some steps on one batch of its own images."""
    scene = scene_of(candidate)
    checkpoint, _ = read_checkpoint(teacher_checkpoint)
    teacher, _ = checkpoint.build("teacher", str(teacher_checkpoint))
    dataset = open_dataset(eight_images(scene, data, work), "train", with_masks=scene is NUCLEI)
    batch = next(TrainLoader(dataset, scene.input, batch_size=2, seed=0, workers=0).epoch(0))
    seed_everything(0)
    student = build_detector(settings_of(candidate, scene, values), len(dataset.categories)).train()
    distiller = Distiller(Fgd(scale=0.05), student, teacher)
    optimizer = build_optimizer(AdamW(), [*student.parameters(), *distiller.parameters()])
    curve = [
        training_step(student, distiller, optimizer, batch, clip_norm=35.0, autocast_dtype=None) for _ in range(steps)
    ]
    first, last = curve[0], curve[-1]
    return Pair(
        student=candidate.name,
        teacher=Candidate(type(checkpoint.detector)).name,
        levels=list(distiller.level_names),
        left_out=_left_out(student, teacher, distiller.level_names),
        first_loss=float(first["loss"]),
        last_loss=float(last["loss"]),
        first_distilled=float(first["distill/total"]),
        last_distilled=float(last["distill/total"]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="kinds of detectors; all without it")
    parser.add_argument("--epochs", type=int, default=250, help="at most; two steps each")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of bccd and nuclei_small")
    parser.add_argument("--work", type=Path, default=Path("build/pairs"), help="where checkpoints go")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where the figures go")
    torch.set_num_threads(1)  # as a job with one core; and others may be at work on the same machine
    options = parser.parse_args()
    console = Console()
    chosen = [each for each in (*PLAIN, *VARIANTS) if not options.only or each.name in options.only]
    learned = []
    for candidate in chosen:
        learned.append(overfit(candidate, options.data, options.work, epochs=options.epochs))
        console.print(learned[-1])
    plain = {candidate.name: candidate for candidate in chosen if candidate in PLAIN}
    teachers = [Path(row.checkpoint) for row in learned if row.detector in plain]
    pairs = [distil(student, teacher, options.data, options.work) for student in plain.values() for teacher in teachers]
    _write(options.out, learned, pairs)
    if not (all(row.is_good for row in learned) and all(pair.is_good for pair in pairs)):
        raise SystemExit("not every detector learned, or not every pair distils; see the table")


class _Watch:
    """A `RunContext` that ends a run when it has reached its goal."""

    def __init__(self, job_dir: Path, goal_ap: float) -> None:
        self.job_dir = job_dir
        self.best: Evaluated | None = None
        self._goal_ap = goal_ap

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, Evaluated) and (self.best is None or _least_ap(event) > _least_ap(self.best)):
            self.best = event
        if isinstance(event, RunFinished) and event.error is not None:
            Console(stderr=True).print(event.error.message)

    def should_stop(self) -> bool:
        return self.best is not None and _least_ap(self.best) > self._goal_ap

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def _least_ap(event: Evaluated) -> float:
    mask_ap = _mask_ap(event)
    return min(event.scores.ap or 0.0, 1.0 if mask_ap is None else mask_ap)


def _mask_ap(event: Evaluated) -> float | None:
    return None if event.scores.masks is None else event.scores.masks.ap or 0.0


def _with_every_class(content: Mapping[str, Any]) -> set[int]:
    """The images that have an object of every class, so that AP is a mean over all of them."""
    classes: dict[int, set[int]] = {}
    for annotation in content["annotations"]:
        classes.setdefault(annotation["image_id"], set()).add(annotation["category_id"])
    return {image for image, named in classes.items() if len(named) == len(content["categories"])}


def _left_out(student: Detector, teacher: Detector, distilled: Sequence[str]) -> list[str]:
    return [
        f"{level.name} of the {role}"
        for role, side in [("student", student), ("teacher", teacher)]
        for level in side.levels
        if level.name not in distilled
    ]


def _write(out: Path, learned: Sequence[Learned], pairs: Sequence[Pair]) -> None:
    lines = [
        "# Every detector learns, every pair distils",
        "",
        f"`python -m benchmarks.pairs` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores, "
        f"{platform.processor() or platform.machine()}, no GPU,",
        f"{torch.get_num_threads()} thread, torch {torch.__version__}. Networks from scratch, eight training images, "
        "scored on the same eight;",
        f"a run ends when its AP (and that of its masks) exceeds {GOAL_AP}.",
        "",
        "| detector | data | parameters | AP | AP50 | mask AP | steps of 4 images | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in learned:
        mask_ap = "" if row.mask_ap is None else f"{row.mask_ap:.3f}"
        shown = f"**{row.ap:.3f}** | {row.ap50:.3f} | {mask_ap} | {row.steps} | {row.seconds:.0f}"
        lines.append(f"| {row.detector} | {row.data} | {row.parameters:,} | {shown} |")
    lines += [
        "",
        "Each of these as the teacher of a smaller fresh student of every kind, ten steps on one batch of two images:",
        "the distillation's part of the loss before and after. All other parts fell as well"
        if all(pair.is_good for pair in pairs)
        else "the distillation's part of the loss before and after. NOT all of them fell",
        "",
        "| student | teacher | levels distilled | left out | distillation's loss |",
        "|---|---|---|---|---|",
    ]
    for pair in pairs:
        left_out = ", ".join(pair.left_out) or "none"
        lines.append(
            f"| {pair.student} | {pair.teacher} | {' '.join(pair.levels)} | {left_out} | "
            f"{pair.first_distilled:.3g} → {pair.last_distilled:.3g}{'' if pair.is_good else ' **no**'} |"
        )
    text = "\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "pairs.md").write_text(text)
    document = {"detectors": [asdict(row) for row in learned], "pairs": [asdict(pair) for pair in pairs]}
    (out / "pairs.json").write_text(json.dumps(document, indent=1) + "\n")
    Console().print(text, markup=False)


if __name__ == "__main__":
    main()
