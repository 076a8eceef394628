"""How much of the gap between a tenth and all of the labels does a pool of images without labels close?

    python -m benchmarks.pool [--seeds 3] [--steps 600] [--shared ../shared]

Blood cells at 128 px. For each seed, a tenth of the training images keep their labels; the others are the pool. All
students have the same number of steps and inherit no weights. A teacher has learnt from all labels, as a model that
somebody else has trained; a further one for each seed knows no more labels than its student. Each finished run is a
line of `results/pool.jsonl` and is not repeated. One thread; about an hour on an idle core (estimated).
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console

from benchmarks.evidence.plan import STUDENT, TEACHER, Setting, settings
from benchmarks.inheritance import run
from fgd_core.statistics.welch import sample, welch

RESULTS = Path(__file__).parent / "results"
LABELLED = 0.1
BATCH, EVALUATIONS = 4, 5
TEACHER_STEPS = 2
"""Steps of a teacher, for each step of a student."""
SCALE = 0.05
"""Of the published weights of FGD; with temperature 4 it is what helped small networks on real data before."""


class Arm(NamedTuple):
    """A way to train a student."""

    labels: float
    """Share of the training images that have labels."""
    teacher: str | None = None
    """`all labels` or `same labels`; None trains without a teacher."""
    pool: bool = False
    scale: float = SCALE


ARMS: Mapping[str, Arm] = {
    "plain, all labels": Arm(1.0),
    "plain": Arm(LABELLED),
    "distilled": Arm(LABELLED, "all labels"),
    "distilled, pool": Arm(LABELLED, "all labels", pool=True),
    "boxes of the pool only": Arm(LABELLED, "all labels", pool=True, scale=0.0),
    "distilled, pool, teacher of the same labels": Arm(LABELLED, "same labels", pool=True),
}


class Bench:
    """Trains what is not recorded yet."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._setting: Setting = settings(options.shared.resolve())["bccd"]
        self._work: Path = options.work.resolve()
        self._steps: int = options.steps
        self.recorded = {(each["arm"], each["seed"], each["steps"]): each for each in _lines()}

    def train(self, arm: str, seed: int) -> dict[str, Any]:
        """Return the recording of a run."""
        key = (arm, seed, self._steps)
        if key not in self.recorded:
            found = self._run(self._student(arm, seed), f"{arm} {seed}")
            self.recorded[key] = {"arm": arm, "seed": seed, "steps": self._steps, **found}
            with (RESULTS / "pool.jsonl").open("a") as file:
                file.write(json.dumps(self.recorded[key]) + "\n")
        return self.recorded[key]

    def _student(self, arm: str, seed: int) -> dict[str, Any]:
        given = ARMS[arm]
        spec = self._job(given.labels, seed, self._steps)
        if given.teacher is None:
            return spec | {"kind": "train", "detector": STUDENT}
        if given.pool:
            spec["data"]["pool"] = {"images": str(self._pool())}
        return spec | {
            "kind": "distill",
            "student": STUDENT,
            "teacher": {"checkpoint": str(self._teacher(given.teacher, seed))},
            "method": {"type": "fgd", "scale": given.scale, "temperature": 4},
            "inherit": "nothing",
        }

    def _teacher(self, labels: str, seed: int) -> Path:
        """Train a teacher unless it is there; return its checkpoint."""
        share, own_seed = (1.0, 0) if labels == "all labels" else (LABELLED, seed)
        name = f"teacher {share:g} {own_seed}"
        spec = self._job(share, own_seed, TEACHER_STEPS * self._steps)
        found = self._run(spec | {"kind": "train", "detector": TEACHER}, name)
        Console(stderr=True).print(f"{name}: AP {found['ap']:.3f}")
        return self._work / name / "checkpoints/best.pt"

    def _job(self, labels: float, seed: int, steps: int) -> dict[str, Any]:
        annotations = self._labelled(labels, seed)
        steps_per_epoch = len(json.loads(annotations.read_text())["images"]) // BATCH
        epochs = round(steps / steps_per_epoch)
        train = self._setting.data["train"] | {"annotations": str(annotations)}
        return {
            "name": "pool",
            "seed": seed,
            "data": self._setting.data | {"train": train},
            "input": self._setting.input,
            "resources": {"cpus": 1},
            "training": {
                "epochs": epochs,
                "batch_size": BATCH,
                "optimizer": {"type": "adamw", "learning_rate": 0.002},
                "schedule": {"type": "cosine"},
                "warmup_steps": 100,
                "evaluate_every": -(-epochs // EVALUATIONS),
            },
        }

    def _labelled(self, share: float, seed: int) -> Path:
        """Write the annotations of a share of the training images, drawn from the seed."""
        whole = json.loads(Path(self._setting.data["train"]["annotations"]).read_text())
        drawn = np.random.default_rng(seed).permutation(len(whole["images"]))[: round(share * len(whole["images"]))]
        kept = {whole["images"][index]["id"] for index in drawn}
        whole["images"] = [each for each in whole["images"] if each["id"] in kept]
        whole["annotations"] = [each for each in whole["annotations"] if each["image_id"] in kept]
        path = self._work / f"labels {share:g} {seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(whole))
        return path

    def _pool(self) -> Path:
        """Link all training images into one folder; the product leaves out those with labels."""
        folder = self._work / "pool"
        folder.mkdir(parents=True, exist_ok=True)
        train = self._setting.data["train"]
        for image in json.loads(Path(train["annotations"]).read_text())["images"]:
            link = folder / image["file_name"]
            if not link.exists():
                link.symlink_to(Path(train["images"]) / image["file_name"])
        return folder

    def _run(self, spec: dict[str, Any], name: str) -> dict[str, Any]:
        finished = run(spec, self._work / name)
        if finished.result is None:
            raise SystemExit(f"{name} {finished.outcome}: {finished.error and finished.error.message}")
        result, scores = finished.result, finished.result.scores
        return {
            "ap": round(scores.ap or 0.0, 5),
            "ap50": round(scores.ap50 or 0.0, 5),
            "best_epoch": result.best_epoch,
            "train_s": round(result.train_s or 0.0, 1),
            "spec_sha256": hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="of each student")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--work", type=Path, default=Path("build/pool"), help="folder for checkpoints")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options)
    for seed in range(options.seeds):
        for arm in ARMS:
            found = bench.train(arm, seed)
            Console(stderr=True).print(f"{arm}, seed {seed}: AP {found['ap']:.3f} ({found['train_s']:.0f} s)")
    text = "\n".join(_table([*bench.recorded.values()], options.steps)) + "\n"
    (RESULTS / "pool.md").write_text(text)
    Console().print(text, markup=False)


def _lines() -> Iterator[dict[str, Any]]:
    path = RESULTS / "pool.jsonl"
    yield from map(json.loads, path.read_text().splitlines() if path.exists() else ())


def _table(recorded: Sequence[Mapping[str, Any]], steps: int) -> list[str]:
    """Write the page: AP of each arm, and the share of the gap between few and all labels that it closes."""
    aps = {arm: [each["ap"] for each in recorded if each["arm"] == arm and each["steps"] == steps] for arm in ARMS}
    few, all_labels = fmean(aps["plain"]), fmean(aps["plain, all labels"])
    lines = [
        "# A pool of images without labels",
        "",
        f"`python -m benchmarks.pool --seeds {len(aps['plain'])} --steps {steps}`: blood cells at 128 px, a tenth of",
        f"the 292 training images labelled, FGD at {SCALE} of the published weights, temperature 4, nothing inherited.",
        "AP of the best of five evaluations. The gap is that between plain students with a tenth and with all labels.",
        "",
        "| training | seeds | AP | over plain (95 % interval) | p | part of the gap |",
        "|---|---|---|---|---|---|",
    ]
    plain = sample(aps["plain"])
    for arm, own in sorted(aps.items(), key=lambda item: fmean(item[1])):
        ours, cells = sample(own), "| | "
        gain = welch(ours, plain) if ours is not None and plain is not None and arm != "plain" else None
        if gain is not None:
            interval = f"{gain.interval.low:+.3f} to {gain.interval.high:+.3f}"
            cells = f"{gain.value:+.3f} ({interval}) | {gain.p_value:.3g} | {gain.value / (all_labels - few):.0%}"
        lines.append(f"| {arm} | {len(own)} | {fmean(own):.3f} | {cells} |")
    return lines


if __name__ == "__main__":
    main()
