"""Runs `predict` in the terminal: a bar of progress, a line for each class, the files that were written."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from fgd_core.errors import DataError
from fgd_core.models import load_model
from fgd_core.prediction.folders import PredictedImage, find_images, predict_files, write_results


def predict(
    model_path: Path,
    places: Sequence[str],
    *,
    out: Path | None,
    score_threshold: float | None,
    device: str,
    batch_size: int,
    as_json: bool,
) -> bool:
    """Detect objects in images, show what was found, and write the results.

    Args:
        places: files, folders and patterns.
        out: folder for pictures and results; None writes nothing.
        as_json: whether to print COCO results in place of a summary.
    Returns:
        Whether all images could be read; the others are left out, and named.
    Raises:
        FgdError: the model cannot be used, there is no image, or a picture cannot be written.
    """
    console, unread = Console(stderr=as_json), list[DataError]()
    paths = find_images(places, out=out)
    model = load_model(model_path, device=device, score_threshold=score_threshold)
    began_s = time.perf_counter()
    done = track(
        predict_files(model, paths, batch_size=batch_size, out=out, unread=unread),
        description="predicting",
        total=len(paths),
        console=console,
        transient=True,
    )
    found = [*done]
    took_s = time.perf_counter() - began_s
    written = write_results(out, found, model) if out is not None else []
    for error in unread:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        _print_json(found)
        return not unread
    console.print(f"{len(found)} images in {took_s:.1f} s: {_counts(found)}", highlight=False)
    for path in written:
        console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    if out is None:
        console.print("--out DIR writes pictures with boxes, and results in COCO's format", style="dim")
    return not unread


def _counts(found: Sequence[PredictedImage]) -> str:
    counts = Counter(name for image in found for name in image.classes)
    return ", ".join(f"{number} {name}" for name, number in counts.most_common()) or "no objects"


def _print_json(found: Sequence[PredictedImage]) -> None:
    rows = [{"file_name": image.name, "results": image.results} for image in found]
    json.dump(rows, sys.stdout, indent=2)
    sys.stdout.write("\n")
