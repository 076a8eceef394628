"""Writes the results as Markdown and JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.pairs.distilling import Pair
from benchmarks.pairs.learning import GOAL_AP, Learned


def write(out: Path, learned: Sequence[Learned], pairs: Sequence[Pair]) -> str:
    """Write `pairs.md` and `pairs.json` into `out`, and return the Markdown."""
    lines = [
        "# Every detector learns, every pair distils",
        "",
        f"`python -m benchmarks.pairs` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores, "
        f"{platform.processor() or platform.machine()}, no GPU,",
        f"{torch.get_num_threads()} thread, torch {torch.__version__}. Networks from scratch, eight training images, "
        "scored on the same eight;",
        f"a run ends when its AP (and that of its masks) exceeds {GOAL_AP}"
        + "".join(f", of {row.detector} {row.goal_ap:g}" for row in learned if row.goal_ap != GOAL_AP)
        + ".",
        "",
        "| detector | data | parameters | AP | AP50 | mask AP | steps of 4 images | CPU, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in learned:
        mask_ap = "" if row.mask_ap is None else f"{row.mask_ap:.3f}"
        shown = f"**{row.ap:.3f}** | {row.ap50:.3f} | {mask_ap} | {row.steps} | {row.cpu_s:.0f}"
        lines.append(f"| {row.detector} | {row.data} | {row.parameters:,} | {shown} |")
    lines += [
        "",
        "Each kind is the teacher of a smaller new student of every kind, for ten steps on one batch of two images:",
        "levels, and the distillation loss at the first and at the last step. "
        + (
            "The total loss decreased in every pair."
            if all(pair.is_good for pair in pairs)
            else "In a row with **no**, one of the two losses did not decrease."
        ),
        "",
        "| student | teacher | distilled levels | other levels | distillation loss |",
        "|---|---|---|---|---|",
    ]
    for pair in pairs:
        left_out = ", ".join(f"{side}'s {' '.join(names)}" for side, names in pair.left_out.items() if names) or "none"
        lines.append(
            f"| {pair.student} | {pair.teacher} | {' '.join(pair.levels)} | {left_out} | "
            f"{pair.first_distilled:.3g} → {pair.last_distilled:.3g}{'' if pair.is_good else ' **no**'} |"
        )
    text = "\n".join(lines) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / "pairs.md").write_text(text)
    document = {"detectors": [asdict(row) for row in learned], "pairs": [asdict(pair) for pair in pairs]}
    (out / "pairs.json").write_text(json.dumps(document, indent=1) + "\n")
    return text
