"""Tries every method on every pair of detectors: which trains, which is refused, and why.

    python -m benchmarks.method_pairs [--methods pkd mgd] [--steps 6] [--out benchmarks/results]

Students and teachers are tiny detectors with random weights. A student takes a few steps on one batch, with the
distillation loss alone: with random weights, the task would pull the outputs away from the teacher's. A pair trains if
all losses are finite and the mean over the last quarter of the steps is below that over the second quarter: in the
first steps, a method with a queue of negatives has few of them. A pair whose loss does not fall is tried again in four
times as many steps, and the table says so: this batch fills a queue slowly, and the locations that a RepPoints student
compares follow its own boxes. The benchmark says nothing about how much a method helps.
"""

import argparse
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from pydantic import TypeAdapter
from rich.console import Console

from fgd_core.data.loading import Batch
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.errors import SpecError
from fgd_core.methods import METHODS
from fgd_core.methods.base import Moment
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.methods import AnyMethod
from fgd_core.spec.training import AdamW
from fgd_core.training.distiller import Distiller
from fgd_core.training.optimizers import ParameterGroup, build_optimizer

RESULTS = Path(__file__).parent / "results"
Outcome: TypeAlias = Literal["trains", "does not fall", "not finite", "refused"]
_SIGNS: dict[Outcome, str] = {"trains": "✓", "does not fall": "↑", "not finite": "!", "refused": "–"}
_SIZE_PX = 128
_CLASSES = 3
_SHOWN_PAIRS = 4
_TINY: dict[str, Any] = {"backbone": {"name": "resnet18", "stem_width": 4, "blocks": [1, 1, 1, 1]}, "fpn_width": 8}
_DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)


class Trial(NamedTuple):
    """Holds what became of a method with a pair."""

    method: str
    student: str
    teacher: str
    outcome: Outcome
    why: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", help="types of methods; default: all")
    parser.add_argument("--steps", type=int, default=16, help="steps of each pair")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [kind for kind in METHODS if not options.methods or kind.name() in options.methods]
    trials = [trial for kind in chosen for trial in tried(kind(), options.steps)]
    text = written(trials)
    (options.out / "method_pairs.md").write_text(text, "utf-8")
    Console().print(text, markup=False)
    if any(trial.outcome in ("not finite", "does not fall") for trial in trials):
        raise SystemExit("a pair that was accepted does not train; see the table")


def tried(method: AnyMethod, steps: int) -> Iterator[Trial]:
    """Try the method on every pair of kinds of detectors."""
    # The batch has no keypoints.
    kinds = [kind.name() for kind in DETECTORS if not kind.has_keypoints]
    for student in kinds:
        for teacher in kinds:
            yield _try(method, student, teacher, steps)


def _try(method: AnyMethod, student: str, teacher: str, steps: int) -> Trial:
    ours, theirs = _settings(student), _settings(teacher)
    method = method.published(ours, theirs)
    unmet = [each.message for each in method.unmet(ours, theirs)]
    if unmet:
        return Trial(method.name(), student, teacher, "refused", "; ".join(unmet))
    for number in (steps, 4 * steps):
        try:
            curve = _train(method, ours, theirs, number)
        except SpecError as error:
            return Trial(method.name(), student, teacher, "refused", str(error))
        if not all(map(math.isfinite, curve)):
            return Trial(method.name(), student, teacher, "not finite", f"{curve}")
        before, after = _quarters(curve)
        if after < before or before == 0:
            return Trial(method.name(), student, teacher, "trains", "" if number == steps else f"in {number} steps")
    return Trial(method.name(), student, teacher, "does not fall", f"{before:.4g} to {after:.4g}")


def _quarters(curve: Sequence[float]) -> tuple[float, float]:
    """Return the means over the second and the last quarter."""
    quarter = len(curve) // 4
    return mean(curve[quarter : 2 * quarter]), mean(curve[-quarter:])


def _train(method: AnyMethod, student: AnyDetector, teacher: AnyDetector, steps: int) -> list[float]:
    """Train on one batch; return the distillation loss of each step, the random draws of all steps being the same."""
    torch.manual_seed(0)
    network = build_detector(student, _CLASSES).train()
    distiller = Distiller(method, network, build_detector(teacher, _CLASSES))
    trained = ParameterGroup([*network.parameters(), *distiller.parameters()])
    optimizer = build_optimizer(AdamW(learning_rate=1e-3), [trained])
    batch, losses = _batch(method), []
    for _ in range(steps):
        torch.manual_seed(1)
        features = network.features(batch.images)
        outputs = network.predict(features, batch.image_sizes, batch.targets)
        loss, _ = distiller(features, batch, Moment(1, 100, 10), outputs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _settings(kind: str) -> AnyDetector:
    fields = type(_DETECTOR.validate_python({"type": kind})).model_fields
    few = {"rois_per_image": 16} if "rois_per_image" in fields else {}
    return _DETECTOR.validate_python({"type": kind, **_TINY, **few})


def _batch(method: AnyMethod) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, _SIZE_PX, _SIZE_PX, generator=generator)
    boxes = torch.tensor([[8.0, 8, 40, 48], [30, 20, 100, 90], [4, 60, 20, 76]])
    masks = torch.zeros(3, _SIZE_PX, _SIZE_PX, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return Batch(
        images=images,
        image_sizes=[(_SIZE_PX, _SIZE_PX)] * 2,
        boxes=[boxes, boxes[:1]],
        labels=[torch.arange(3) % _CLASSES, torch.tensor([2])],
        image_ids=[1, 2],
        original_sizes=[(_SIZE_PX, _SIZE_PX)] * 2,
        masks=[masks, masks[:1]],
        pictures={name: images + 0.1 * torch.randn(images.shape, generator=generator) for name in method.pictures},
    )


def written(trials: Sequence[Trial]) -> str:
    """Write a table of students by teachers for each method, and every reason once."""
    lines = ["# Every method on every pair of detectors", "", "`python -m benchmarks.method_pairs`", ""]
    lines += [", ".join(f"{sign} {outcome}" for outcome, sign in _SIGNS.items()) + ". Rows are students.", ""]
    counts = Counter((trial.method, trial.outcome) for trial in trials)
    methods = list(dict.fromkeys(trial.method for trial in trials))
    lines += ["| method | " + " | ".join(_SIGNS) + " |", "|---" * (len(_SIGNS) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(counts[name, each]) for each in _SIGNS) + " |" for name in methods]
    for name in methods:
        lines += ["", *_table(name, [trial for trial in trials if trial.method == name])]
    return "\n".join(lines) + "\n"


def _table(name: str, trials: Sequence[Trial]) -> list[str]:
    kinds = list(dict.fromkeys(trial.teacher for trial in trials))
    signs = {(trial.student, trial.teacher): _SIGNS[trial.outcome] for trial in trials}
    lines = [f"## {name}", "", f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    lines += [f"| {student} | " + " | ".join(signs[student, each] for each in kinds) + " |" for student in kinds]
    reasons: dict[str, list[str]] = {}
    for trial in trials:
        if trial.why:
            why = trial.why.replace(f"is {trial.student}", "is X").replace(f"teacher {trial.teacher}", "teacher Y")
            why = why.replace(f"student {trial.student}", "student X")
            reasons.setdefault(f"{_SIGNS[trial.outcome]} {why}", []).append(f"{trial.student} from {trial.teacher}")
    return [*lines, "", *(f"- {reason} ({_some(pairs)})" for reason, pairs in reasons.items())]


def _some(pairs: Sequence[str]) -> str:
    return ", ".join(pairs) if len(pairs) <= _SHOWN_PAIRS else f"{len(pairs)} pairs"


if __name__ == "__main__":
    main()
