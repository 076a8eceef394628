"""Does a sweep find better weights than the published ones, and does a searched form of the loss beat published FGD?

    fgd up
    python -m benchmarks.evidence.sweeps [--server http://127.0.0.1:8321] [--shared ../shared] [--jobs ID ID]

The product runs two sweeps on `nuclei` with the pair of `python -m benchmarks.evidence`: one over the scale of FGD, one
over the form of the composed loss. Each has plain training and the published weights as baselines, and repeats these
and its two best configurations with five fresh seeds, from which the verdicts come. About an hour each on an idle core.
`--jobs` reads two sweeps that have run. Writes `benchmarks/results/evidence_sweeps.md` and what it rests on in
`benchmarks/results/evidence/sweeps.json`. The teacher is that of the evidence, which must have been trained.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.evidence.plan import settings, student_spec
from benchmarks.evidence.recording import RESULTS
from fgd_core.spec.sweep_report import Standing, SweepReport
from fgd_core.statistics.welch import sample, welch
from service.client.client import FgdClient

DATA = "nuclei"
PAGE = RESULTS.parent / "evidence_sweeps.md"
STORED = RESULTS / "sweeps.json"
_KEPT = {"name", "verdict", "standings", "spent", "early_orders"}


class Search(NamedTuple):
    """What one sweep searches."""

    title: str
    method: Mapping[str, Any]
    space: str
    trials: int


SEARCHES = (
    Search("scale", {"type": "fgd", "temperature": "auto"}, "fgd-scale", 8),
    Search("form", {"type": "composed"}, "composed-form", 12),
)


def sweep(search: Search, shared: Path, teacher: Path) -> dict[str, Any]:
    """Return the job of a sweep; its seeds are not those of the evidence."""
    base = student_spec(settings(shared)[DATA], "fgd auto T", 0, teacher) | {"method": dict(search.method)}
    of_sweep = {name: base.pop(name) for name in ("name", "seed", "resources")}
    return {
        "kind": "sweep",
        "name": f"{DATA} {search.title}",
        "base": base,
        "space": search.space,
        "budget": {"trials": search.trials},
        "seeds": 6,  # the run that chose a configuration does not count
        "finalists": 2,
        "resources": of_sweep["resources"],
        "seed": 50,
    }


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="default: FGD_SERVER, or this machine's")
    parser.add_argument("--shared", type=Path, default=root.parent / "shared", help="folder with the real data sets")
    parser.add_argument("--work", type=Path, default=root / "build/evidence", help="folder with the teacher")
    parser.add_argument("--jobs", nargs=len(SEARCHES), metavar="ID", help="sweeps that have run: scale, form")
    options = parser.parse_args()
    client = FgdClient(options.server)
    teacher = options.work.resolve() / DATA / "teacher/checkpoints/best.pt"
    specs = (sweep(each, options.shared.resolve(), teacher) for each in SEARCHES)
    jobs = options.jobs or [client.submit(spec).job_id for spec in specs]
    for job in jobs:
        client.wait(job)
    reports = [client.sweeps.report(job) for job in jobs]
    kept = [report.model_dump(mode="json", include=_KEPT) for report in reports]
    STORED.write_text(json.dumps(kept, indent=1) + "\n")
    PAGE.write_text("\n".join(_page(reports)) + "\n")
    Console().print(PAGE.read_text(), markup=False)


def _page(reports: Sequence[SweepReport]) -> Iterator[str]:
    yield "# Sweeps on a real data set: over the scale of FGD, and over the form of the loss"
    yield ""
    yield "`python -m benchmarks.evidence.sweeps`: pair, data and epochs of the [evidence](evidence.md) on `nuclei`. AP"
    yield "from 0 to 1, in the mean over seeds that did not choose the configuration; baselines have one seed more."
    yield ""
    published = _fresh(reports[0], "published")
    for search, report in zip(SEARCHES, reports, strict=True):
        spent = report.spent
        minutes = f"{spent.train_s / 60:.0f} min of training"
        yield f"## `{search.space}`: {spent.trials} runs, {spent.epochs} epochs, {minutes}"
        yield ""
        yield "| configuration | seeds | AP | over published FGD (95 % interval) | p |"
        yield "|---|---|---|---|---|"
        for standing in report.standings:
            if len(standing.seed_values) > 2:
                yield _row(search, standing, published)
        yield ""
        yield from (f"- {sentence}" for sentence in report.verdict)
        yield ""


def _row(search: Search, standing: Standing, published: Sequence[float]) -> str:
    name = "published FGD" if standing.origin == "published" and search.title == "scale" else standing.origin
    values = "" if standing.origin == "plain" else f" `{json.dumps(standing.values)}`"
    cells = f"| {name}{values} | {len(standing.seed_values)} | {fmean(standing.seed_values):.3f} "
    ours, theirs = sample(standing.seed_values), sample(published)
    found = welch(ours, theirs) if ours is not None and theirs is not None else None
    if found is None or list(standing.seed_values) == list(published):
        return f"{cells}| | |"
    low_high = f"{found.interval.low:+.3f} to {found.interval.high:+.3f}"
    return f"{cells}| {found.value:+.3f} ({low_high}) | {found.p_value:.2g} |"


def _fresh(report: SweepReport, origin: str) -> Sequence[float]:
    return next(each.seed_values for each in report.standings if each.origin == origin)


if __name__ == "__main__":
    main()
