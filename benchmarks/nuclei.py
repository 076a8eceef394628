"""Measures mask AP on cell nuclei: trains the specs of examples/nuclei on one CPU core.

    python -m benchmarks.nuclei [--data ../shared/data] [--work build/nuclei] [--only mask_rcnn]

Each run is a normal job with the settings of the file and other paths of the data. The teacher of the distilled student
is the Cascade Mask R-CNN of the run before. A run that was stopped continues.
"""

import argparse
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from fgd_core.console import ConsoleContext
from fgd_core.runs import execute
from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.results import RunResult

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "examples/nuclei"
NAMES = {
    "mask_rcnn": "Mask R-CNN",
    "cascade_mask_rcnn": "Cascade Mask R-CNN",
    "distilled": "Mask R-CNN, distilled from it",
}
"""The order of training."""


@dataclass(frozen=True)
class Row:
    """Holds the result of one detector."""

    name: str
    result: RunResult


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared/data", help="folder with nuclei_small")
    parser.add_argument("--work", type=Path, default=Path("build/nuclei"), help="folder for checkpoints")
    parser.add_argument("--only", choices=NAMES, nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for example in options.only or NAMES:
        rows[example] = Row(NAMES[example], train(example, options.data, options.work))
    write(options.out, list(rows.values()))


def train(example: str, data: Path, work: Path) -> RunResult:
    """Train one example, or return its stored result.

    Raises:
        RuntimeError: the run did not succeed.
    """
    job = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())
    for split in ("train", "val"):
        paths = job["data"][split]
        job["data"][split] = {name: str((data / path.removeprefix("data/")).resolve()) for name, path in paths.items()}
    if "teacher" in job:
        job["teacher"]["checkpoint"] = str(work / "cascade_mask_rcnn/checkpoints/best.pt")
    done = work / example / "result.json"
    if done.exists() and (before := json.loads(done.read_text()))["job"] == job:
        return RunResult.model_validate(before["result"])
    with ConsoleContext(work / example) as context:
        finished = execute(JOB_SPEC.validate_python(job), context)
    if finished.result is None:
        raise RuntimeError(f"{example} {finished.outcome}: {finished.error and finished.error.message}")
    done.write_text(json.dumps({"job": job, "result": finished.result.model_dump(mode="json")}))
    return finished.result


def write(out: Path, rows: list[Row]) -> None:
    """Write `nuclei.json` and `nuclei.md` into `out`."""
    report = {
        "at": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, one thread of a shared CPU",
        "torch": torch.__version__,
        "rows": [asdict(row) | {"result": row.result.model_dump(mode="json")} for row in rows],
    }
    (out / "nuclei.json").write_text(json.dumps(report, indent=1) + "\n")
    (out / "nuclei.md").write_text("\n".join([*_introduction(report, rows), *_table(rows), ""]))


def _introduction(report: Mapping[str, Any], rows: list[Row]) -> list[str]:
    return [
        "# Mask AP on cell nuclei",
        "",
        "`python -m benchmarks.nuclei`: [examples/nuclei](../../examples/nuclei) on nuclei_small, 128 training images, "
        f"{rows[0].result.num_images} validation images with 1,053 nuclei; 90 % of them are small as COCO defines it. "
        "Narrow networks from scratch at 256 px, eight epochs (256 steps), scored by pycocotools on masks at the "
        f"original size. {report['at']}, {report['machine']}, torch {report['torch']}. Each row is one seed.",
        "",
    ]


def _table(rows: list[Row]) -> list[str]:
    heading = ["detector", "box AP", "box AP50", "mask AP", "mask AP50", "mask AP75", "mask AP small"]
    heading += ["mask AP medium", "parameters", "training, s"]
    lines = [heading, ["---"] * len(heading)]
    for row in rows:
        scores, masks = row.result.scores, row.result.scores.masks
        assert masks is not None, "the data and the detectors have masks"
        numbers = [scores.ap, scores.ap50, masks.ap, masks.ap50, masks.ap75, masks.ap_small, masks.ap_medium]
        shown = ["–" if number is None else f"{number:.3f}" for number in numbers]
        lines.append([row.name, *shown, f"{row.result.num_parameters:,}", f"{row.result.train_s or 0:.0f}"])
    return [f"| {' | '.join(cells)} |" for cells in lines]


if __name__ == "__main__":
    main()
