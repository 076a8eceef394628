"""Measures what a teacher on depth maps gives a keypoint student on images, as in Distill-DKP (arXiv:2410.14700).

    python -m benchmarks.keypoints [--seeds 3] [--work build/keypoints]

Trains the specs of examples/keypoints on one CPU core: the teacher once, then for each seed the distilled student and
the same student alone (`method.weight: 0`). The keypoint error of an object is the mean distance between predicted and
true keypoints, divided by the square root of the object's area; it is measured with the true boxes given, so that both
students answer for the same objects. A run that was stopped continues.
"""

import argparse
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
import yaml
from scipy.stats import ttest_rel

from fgd_core.console import ConsoleContext
from fgd_core.data import open_dataset
from fgd_core.data.loading import evaluation_batches
from fgd_core.detectors import build_detector
from fgd_core.detectors.keypoint_rcnn import KeypointRcnn
from fgd_core.detectors.parts.keypoint_heads import KeypointHeads
from fgd_core.detectors.parts.keypoint_maps import locate
from fgd_core.detectors.weights.checkpoint import read_checkpoint
from fgd_core.runs import execute
from fgd_core.spec.data import DataSpec
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.kinds.train import TrainSpec

EXAMPLES = Path(__file__).resolve().parent.parent / "examples/keypoints"
RESULTS = Path(__file__).parent / "results"


class Score(NamedTuple):
    """Holds what a run reached on the validation split."""

    keypoint_ap: float
    error: float
    """Mean distance of keypoints, in sides of the object: 1 is the square root of its area."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of pairs of students")
    parser.add_argument("--work", type=Path, default=Path("build/keypoints"), help="folder for checkpoints")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = train("teacher", options.work / "teacher")
    best = str(options.work / "teacher/checkpoints/best.pt")
    pairs = []
    for seed in range(options.seeds):
        changes = {"seed": seed, "teacher": {"checkpoint": best, "picture": "depth"}}
        alone = {**changes, "method": {"type": "embedding", "weight": 0}}
        pairs.append(
            (
                train("distilled", options.work / f"alone-{seed}", alone),
                train("distilled", options.work / f"distilled-{seed}", changes),
            )
        )
    text = written(teacher, pairs)
    (options.out / "keypoints.md").write_text(text, "utf-8")
    print(text)


def train(example: str, folder: Path, changes: dict[str, Any] | None = None) -> Score:
    """Train an example with these changes in `folder`, or continue there, and score its best checkpoint.

    Raises:
        RuntimeError: the run did not succeed.
    """
    job = JOB_SPEC.validate_python(yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text()) | (changes or {}))
    assert isinstance(job, TrainSpec | DistillSpec), job
    with ConsoleContext(folder) as context:
        finished = execute(job, context)
    if finished.result is None or finished.result.scores.keypoints is None:
        raise RuntimeError(f"{folder.name} {finished.outcome}: {finished.error and finished.error.message}")
    return Score(finished.result.scores.keypoints.ap or 0.0, keypoint_error(folder / "checkpoints/best.pt", job.data))


@torch.no_grad()
def keypoint_error(path: Path, data: DataSpec) -> float:
    """Measure the mean error of the visible keypoints in the true boxes, in sides of the object."""
    checkpoint, _ = read_checkpoint(path)
    dataset = open_dataset(data, "val", with_keypoints=True)
    detector = build_detector(checkpoint.detector, len(checkpoint.categories)).eval()
    detector.load_state_dict(checkpoint.state)
    assert isinstance(detector, KeypointRcnn)
    heads = detector.roi_heads
    assert isinstance(heads, KeypointHeads)
    samples, errors = iter(dataset.samples), []
    for batch in (each.to("cpu") for each in evaluation_batches(dataset, checkpoint.input, batch_size=16)):
        pooled = heads.keypoint_roi_pool(detector.features(batch.images), batch.boxes)
        logits = heads.keypoint_predictor(heads.keypoint_head(pooled))
        for boxes, size, image_size, own in zip(
            batch.boxes,
            batch.original_sizes,
            batch.image_sizes,
            logits.split_with_sizes([len(each) for each in batch.boxes]),
            strict=True,
        ):
            assert size == image_size, "the examples do not resize their images"
            true = torch.from_numpy(next(samples).keypoints)
            sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
            distances = (locate(own, boxes)[..., :2] - true[..., :2]).norm(dim=2) / sides[:, None]
            errors.append(distances[true[..., 2] > 0])
    return torch.cat(errors).mean().item()


def written(teacher: Score, pairs: Sequence[tuple[Score, Score]]) -> str:
    """Write the table of students alone and distilled, and the paired differences."""
    rows = [f"| teacher on depth maps | | {teacher.keypoint_ap:.3f} | {teacher.error:.4f} |"]
    for seed, pair in enumerate(pairs):
        rows += [
            f"| {name} | {seed} | {score.keypoint_ap:.3f} | {score.error:.4f} |"
            for name, score in zip(("student alone", "distilled"), pair, strict=True)
        ]
    return "\n".join(
        [
            "# A keypoint student of a depth teacher",
            "",
            "`python -m benchmarks.keypoints`: [examples/keypoints](../../examples/keypoints), 400 training and 100 "
            f"validation images, 64 px, 18 epochs. {datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, one thread, "
            f"torch {torch.__version__}.",
            "",
            "| run | seed | keypoint AP | keypoint error |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            *(_difference(name, [(one[place], two[place]) for one, two in pairs]) for place, name in enumerate(NAMES)),
            "",
        ]
    )


NAMES = ("keypoint AP", "keypoint error, in sides of the object")


def _difference(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    gains = [after - before for before, after in pairs]
    test = ttest_rel([after for _, after in pairs], [before for before, _ in pairs])
    return (
        f"- {name}: {mean(gains):+.4f} ± {stdev(gains):.4f} over {len(gains)} seeds, paired t-test p {test.pvalue:.3f}"
    )


if __name__ == "__main__":
    main()
