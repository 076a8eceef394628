"""Compares two groups of runs, from the files that they left."""

from collections.abc import Sequence

import numpy as np
from pydantic import JsonValue

from fgd_core.errors import NotComparableError
from fgd_core.spec.comparison import (
    CONFIDENCE,
    FALSE_DISCOVERY_RATE,
    MIN_BOXES,
    Basis,
    ComparedRun,
    Comparison,
)
from fgd_core.statistics import evidence, seeds
from fgd_core.statistics.evidence import Evidence
from fgd_core.statistics.rows import SCORES, class_rows, known, score_rows
from fgd_core.statistics.seeds import Points
from service.compare import statistics
from service.compare.request import CompareRequest, RunFile
from service.compare.wording import sentences

# Place in `evidence.AREAS` of the boxes that a score rests on.
_AREA = {"ap": 0, "ap50": 0, "ap75": 0, "ap_small": 1, "ap_medium": 2, "ap_large": 3}


def compare(request: CompareRequest) -> Comparison:
    """
    Raises:
        NotComparableError: a file cannot be read, or the runs were not scored on the same images and classes.
    """
    first, second = _read(request.first), _read(request.second)
    _check_comparable([*request.first, *request.second], [*first, *second])
    _check_distinct(request.first, first)
    _check_distinct(request.second, second)
    exact = statistics.points(first), statistics.points(second)
    basis: Basis = "seeds" if min(len(first), len(second)) > 1 else "images"
    if basis == "seeds":
        found = seeds.by_seeds(*exact)
    else:
        found = statistics.by_images(first, second, exact=exact, resamples=request.resamples, seed=request.random_seed)
    ground = first[0]
    boxes = [ground.of_class(place).truth_count.sum(axis=0) for place in range(len(ground.class_names))]
    in_area = np.sum(boxes, axis=0, dtype=int) if boxes else np.zeros(len(evidence.AREAS), int)
    num_boxes = [int(of_class[0]) for of_class in boxes]
    comparison = Comparison(
        first=_runs(request.first, exact[0]),
        second=_runs(request.second, exact[1]),
        basis=basis,
        num_images=len(ground.image_ids),
        resamples=request.resamples if basis == "images" else 0,
        random_seed=request.random_seed,
        confidence=CONFIDENCE,
        false_discovery_rate=FALSE_DISCOVERY_RATE,
        min_boxes=MIN_BOXES,
        scores=score_rows(found, *exact, num_boxes=[int(in_area[_AREA[score]]) for score in SCORES]),
        classes=class_rows(found, *exact, names=ground.class_names, num_boxes=num_boxes),
        sentences=[],
    )
    return comparison.model_copy(update={"sentences": sentences(comparison)})


def _read(group: Sequence[RunFile]) -> list[Evidence]:
    return [evidence.read(run.path, whose=_called(run)) for run in group]


def _check_comparable(runs: Sequence[RunFile], found: Sequence[Evidence]) -> None:
    reference = found[0]
    reasons: list[JsonValue] = []
    for run, one in zip(runs, found, strict=True):
        if one.class_names != reference.class_names:
            what = f"knows other classes than {_called(runs[0])}: {_others(one.class_names, reference.class_names)}"
            reasons.append(_reason(run, "other_classes", f"{what}; only runs on the same classes can be compared"))
        elif (one.fingerprint, one.image_ids) != (reference.fingerprint, reference.image_ids):
            what = f"was scored on other validation images or boxes than {_called(runs[0])}"
            cure = "evaluate its checkpoint on the same ones, and compare that job"
            reasons.append(_reason(run, "other_data", f"{what}; {cure}"))
    if reasons:
        _refuse(reasons)


def _check_distinct(runs: Sequence[RunFile], found: Sequence[Evidence]) -> None:
    """Copies of one run, taken for runs with several seeds, would make any difference look certain."""
    reasons: list[JsonValue] = [
        _reason(run, "same_run", f"found the same as {_called(runs[other])} to the last detection; name one of them")
        for place, run in enumerate(runs)
        for other in range(place)
        if found[place].has_same_detections(found[other])
    ]
    if reasons:
        _refuse(reasons)


def _others(names: Sequence[str], reference: Sequence[str]) -> str:
    apart = [name for name in [*names, *reference] if (name in names) != (name in reference)]
    return ", ".join(apart[:10]) if apart else "the same names in another order"


def _refuse(reasons: list[JsonValue]) -> None:
    raise NotComparableError("these runs cannot be compared", reasons=reasons)


def _reason(run: RunFile, code: str, message: str) -> dict[str, JsonValue]:
    return {"loc": run.reference, "code": code, "message": f"{run.name} {message}"}


def _called(run: RunFile) -> str:
    return f"{run.name} ({run.reference})"


def _runs(group: Sequence[RunFile], points: Points) -> list[ComparedRun]:
    return [
        ComparedRun(job_id=run.job_id, trial=run.trial, name=run.name, kind=run.kind, seed=run.seed, ap=known(ap))
        for run, ap in zip(group, points.scores[:, 0], strict=True)
    ]
