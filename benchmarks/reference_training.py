"""Compares plain training with a short script on torchvision's own models: AP over several seeds, and images/s.

    python -m benchmarks.reference_training --data FOLDER [--seeds 3] [--epochs 6] [--out benchmarks/results]

FOLDER holds a data set in COCO format: images/, annotations_train.json and annotations_val.json. Both sides have the
same network (a ResNet of one block in each stage, with 64 channels in the pyramid), the same initial weights, input
size, batch size, optimiser and schedule, and read images in the training process. The reference is written as in
torchvision's `references/detection`: its models, transforms and losses, AdamW, a linear warm-up, COCO's own evaluation.
Both are scored after the last epoch only. Images per second are those of all epochs but the first one, with
reading the images and saving a checkpoint after each epoch.

Runs follow each other, alternating between the two sides, so the machine should have nothing else to do.
"""

import argparse
import io
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.transforms.v2.functional import hflip, pil_to_tensor, to_dtype

from fgd_core.runs.training_run import TrainingRun
from fgd_core.spec.events import EpochFinished, RunEvent
from fgd_core.spec.kinds.train import TrainSpec

DETECTORS = ("retinanet", "faster_rcnn")
SIDES = ("torchvision", "fgd")
WIDTH, ANCHOR_PX, REGIONS = 64, 16, 128
_BATCH, _RATE, _DECAY, _WARMUP_START = 4, 1e-3, 1e-4, 1e-3
_DROPS = (2 / 3, 11 / 12)


class Task(NamedTuple):
    """One training."""

    side: str
    detector: str
    seed: int
    epochs: int
    shorter_px: int
    data: Path
    threads: int

    @property
    def longer_px(self) -> int:
        """The longest side: images of 4:3 have this size."""
        return math.ceil(self.shorter_px * 4 / 3)


class Outcome(NamedTuple):
    """What a training reached."""

    ap: float
    images_per_s: float
    seconds: float


def train(task: Task) -> Outcome:
    """Train one side, from the same initial weights."""
    began_s = time.perf_counter()
    torch.set_num_threads(task.threads)
    with TemporaryDirectory() as folder:
        found = (_train_reference if task.side == "torchvision" else _train_ours)(task, Path(folder))
    return found._replace(seconds=time.perf_counter() - began_s)


def _annotations(task: Task, split: str) -> Path:
    return task.data / f"annotations_{split}.json"


# -- the reference -------------------------------------------------------------------------------------------------


class CocoImages(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Reads the images of a split, and mirrors half of them in training."""

    def __init__(self, task: Task, split: str) -> None:
        with redirect_stdout(io.StringIO()):
            self.coco = COCO(str(_annotations(task, split)))
        self.ids = sorted(self.coco.imgs)
        self.categories = sorted(self.coco.cats)
        self._folder, self._is_training = task.data / "images", split == "train"
        # torchvision's two-stage detectors have the background as class 0.
        self.first_label = 0 if task.detector == "retinanet" else 1

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return an image (3, H, W) in [0, 1], and its boxes (n, 4) xyxy in pixels with labels (n,)."""
        image_id = self.ids[index]
        with Image.open(self._folder / self.coco.imgs[image_id]["file_name"]) as file:
            image = to_dtype(pil_to_tensor(file.convert("RGB")), torch.float32, scale=True)
        objects = [each for each in self.coco.imgToAnns[image_id] if not each.get("iscrowd")]
        boxes = torch.tensor([each["bbox"] for each in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        if self._is_training and torch.rand(()) < 0.5:
            image = hflip(image)
            boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
        labels = [self.categories.index(each["category_id"]) + self.first_label for each in objects]
        return image, {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


def build_reference(task: Task, num_classes: int) -> nn.Module:
    """Build torchvision's detector with the initial weights of a seed."""
    torch.manual_seed(task.seed)
    is_dense = task.detector == "retinanet"
    stages = (2, 3, 4) if is_dense else (1, 2, 3, 4)
    backbone = BackboneWithFPN(
        ResNet(BasicBlock, [1, 1, 1, 1]),
        {f"layer{stage}": str(number) for number, stage in enumerate(stages)},
        [64 * 2 ** (stage - 1) for stage in stages],
        WIDTH,
        extra_blocks=LastLevelP6P7(WIDTH, WIDTH) if is_dense else LastLevelMaxPool(),
    )
    size = {"min_size": task.shorter_px, "max_size": task.longer_px}
    sides = [ANCHOR_PX * 2**level for level in range(5)]
    ratios = ((0.5, 1.0, 2.0),) * len(sides)
    if is_dense:
        octaves = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in sides)
        # As in torchvision's second version: heads without norms hardly learn without pretrained weights.
        norm = partial(nn.GroupNorm, 32)
        head = RetinaNetHead(WIDTH, len(octaves[0]) * len(ratios[0]), num_classes, norm_layer=norm)
        anchors = AnchorGenerator(octaves, ratios)
        dense: nn.Module = RetinaNet(backbone, num_classes, anchor_generator=anchors, head=head, **size)
        return dense
    two_stage: nn.Module = FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(tuple((side,) for side in sides), ratios),
        box_head=TwoMLPHead(49 * WIDTH, 4 * WIDTH),
        box_predictor=FastRCNNPredictor(4 * WIDTH, 1 + num_classes),
        box_batch_size_per_image=REGIONS,
        **size,
    )
    return two_stage


def _train_reference(task: Task, folder: Path) -> Outcome:
    images = CocoImages(task, "train")
    model = build_reference(task, len(images.categories)).train()
    optimizer = torch.optim.AdamW(
        [each for each in model.parameters() if each.requires_grad], lr=_RATE, weight_decay=_DECAY
    )
    loader = DataLoader(
        images, batch_size=_BATCH, shuffle=True, drop_last=True, collate_fn=lambda rows: [*zip(*rows, strict=True)]
    )
    steps = task.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate_factor(step, steps))
    ended_s = []
    for _ in range(task.epochs):
        for batch, targets in loader:
            loss = torch.stack([*model(list(batch), list(targets)).values()]).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, folder / "last.pth")
        ended_s.append(time.perf_counter())
    return Outcome(_score(model.eval(), CocoImages(task, "val")), _rate(ended_s, len(loader)), 0.0)


def _rate_factor(step: int, steps: int) -> float:
    """Return the factor on the learning rate: a linear warm-up over a tenth of the steps, then two drops to a tenth."""
    warmup = steps // 10
    factor = _WARMUP_START + (1 - _WARMUP_START) * step / warmup if step < warmup else 1.0
    return factor * 0.1 ** sum(step >= drop * steps for drop in _DROPS)


def _rate(ended_s: Sequence[float], steps_per_epoch: int) -> float:
    """Return the images per second of all epochs but the first one."""
    return (len(ended_s) - 1) * steps_per_epoch * _BATCH / (ended_s[-1] - ended_s[0])


@torch.no_grad()
def _score(model: nn.Module, images: CocoImages) -> float:
    rows: list[dict[str, Any]] = []
    for index, image_id in enumerate(images.ids):
        (found,) = model([images[index][0]])
        for (left, top, right, bottom), score, label in zip(
            found["boxes"].tolist(), found["scores"].tolist(), found["labels"].tolist(), strict=True
        ):
            category = images.categories[label - images.first_label]
            box = [left, top, right - left, bottom - top]
            rows.append({"image_id": image_id, "category_id": category, "bbox": box, "score": score})
    if not rows:
        return 0.0
    with redirect_stdout(io.StringIO()):
        scored = COCOeval(images.coco, images.coco.loadRes(rows), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[0])


# -- fgd -----------------------------------------------------------------------------------------------------------


@dataclass
class _Context:
    """A `RunContext` that keeps when the epochs ended."""

    job_dir: Path
    ended_s: list[float] = field(default_factory=list)
    steps_per_epoch: int = 0

    def emit(self, event: RunEvent) -> None:
        if isinstance(event, EpochFinished):
            self.ended_s.append(time.perf_counter())
            self.steps_per_epoch = event.steps // event.epochs

    def should_stop(self) -> bool:
        return False

    def resolve_checkpoint(self, source: str) -> Path:
        return Path(source)


def spec_of(task: Task) -> TrainSpec:
    """Return the same training as a job."""
    own = {"head_norm": "group"} if task.detector == "retinanet" else {"rois_per_image": REGIONS}
    split = {
        name: {"images": task.data / "images", "annotations": _annotations(task, name)} for name in ("train", "val")
    }
    return TrainSpec.model_validate(
        {
            "name": f"{task.detector} {task.seed}",
            "detector": {
                "type": task.detector,
                "backbone": {"name": "resnet18", "blocks": [1, 1, 1, 1]},
                "fpn_width": WIDTH,
                "anchor_base_size_px": ANCHOR_PX,
                **own,
            },
            "data": json.loads(json.dumps({"type": "coco", "on_bad": "drop", **split}, default=str)),
            "input": {"shorter_px": task.shorter_px, "longer_px": task.longer_px},
            "training": {
                "epochs": task.epochs,
                "batch_size": _BATCH,
                "optimizer": {"type": "adamw", "learning_rate": _RATE, "weight_decay": _DECAY},
                "warmup_steps": 10**6,  # at most a tenth of the training
                "clip_norm": None,
                "evaluate_every": task.epochs,
                "checkpoint_every_s": 3600,
            },
            "resources": {"cpus": task.threads},
            "seed": task.seed,
        }
    )


def _train_ours(task: Task, folder: Path) -> Outcome:
    spec, context = spec_of(task), _Context(folder)
    run = TrainingRun(spec, context)
    detector = run.build(spec.detector, role="detector")
    detector.load_state_dict(build_reference(task, len(run.classes)).state_dict())
    finished = run.fit(spec.detector, detector, None, None)
    assert finished.result is not None
    return Outcome(finished.result.scores.ap or 0.0, _rate(context.ended_s, context.steps_per_epoch), 0.0)


# -- the comparison ------------------------------------------------------------------------------------------------


def tasks(options: argparse.Namespace) -> Iterator[Task]:
    """Yield all trainings, alternating between the sides."""
    for detector in options.detectors:
        for seed in range(options.seeds):
            for side in SIDES:
                yield Task(side, detector, seed, options.epochs, options.shorter_px, options.data, options.threads)


def verdict(reference: Sequence[float], ours: Sequence[float]) -> str:
    """Say whether our APs are within noise of the reference's or above: two standard errors of the difference."""
    difference = statistics.mean(ours) - statistics.mean(reference)
    if min(len(reference), len(ours)) < 2:
        return f"{difference:+.3f}, one seed"
    error = math.sqrt(statistics.variance(reference) / len(reference) + statistics.variance(ours) / len(ours))
    finding = "above" if difference > 2 * error else "below" if difference < -2 * error else "within noise"
    return f"{difference:+.3f} ± {2 * error:.3f}, {finding}"


def report(found: dict[Task, Outcome], options: argparse.Namespace) -> str:
    """Return the results as a Markdown page."""
    command = f"python -m benchmarks.reference_training --data FOLDER --seeds {options.seeds} --epochs {options.epochs}"
    lines = [
        "# Plain training against torchvision's own models",
        "",
        f"`{command} --shorter-px {options.shorter_px}` on {options.data.name}, {datetime.now(UTC):%Y-%m-%d},",
        f"{options.threads} threads of {platform.processor() or platform.machine()}, PyTorch {torch.__version__}. The",
        "same networks, initial weights, input size and schedule; AP after the last epoch, from 0 to 1.",
        "",
        "| detector | side | AP by seed | mean AP | images/s by seed | mean images/s | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for detector in options.detectors:
        by_side = {side: [each for task, each in found.items() if task[:2] == (side, detector)] for side in SIDES}
        for side, outcomes in by_side.items():
            aps, rates = [each.ap for each in outcomes], [each.images_per_s for each in outcomes]
            lines.append(
                f"| {detector} | {side} | {', '.join(f'{ap:.3f}' for ap in aps)} | {statistics.mean(aps):.3f} | "
                f"{', '.join(f'{rate:.1f}' for rate in rates)} | {statistics.mean(rates):.1f} | "
                f"{sum(each.seconds for each in outcomes):.0f} |"
            )
        aps_of = [[each.ap for each in by_side[side]] for side in SIDES]
        ratio = statistics.mean(each.images_per_s for each in by_side["fgd"]) / statistics.mean(
            each.images_per_s for each in by_side["torchvision"]
        )
        lines.append(f"| {detector} | difference | | {verdict(*aps_of)} | | {ratio:.2f} times | |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a data set in COCO format")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6, help="at least 2")
    parser.add_argument("--shorter-px", type=int, default=128, help="shorter side of the resized images")
    parser.add_argument("--detectors", nargs="+", choices=DETECTORS, default=[*DETECTORS])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="folder for reference_training.md")
    options = parser.parse_args()
    found: dict[Task, Outcome] = {}
    # One process for each training, one after another: none inherits another one's memory or random state.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for task in tasks(options):
            found[task] = pool.submit(train, task).result()
            print(f"{task.detector} {task.side} seed {task.seed}: {found[task]}", flush=True)
    page = report(found, options)
    print(page)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "reference_training.md").write_text(page)


if __name__ == "__main__":
    main()
