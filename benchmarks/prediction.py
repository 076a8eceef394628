"""Do predictions hold? Predicts each run of the evidence from other runs and from the beginning of its own curve.

    python -m benchmarks.prediction [--evidence benchmarks/results/evidence] [--out benchmarks/results]

Reads the recordings of `python -m benchmarks.evidence`; nothing is trained. Each run is predicted before it starts, at
the first evaluation after a tenth of its epochs and at half of them, from three parts of the other recordings: all of
them, those of other configurations (a new method), and those of other data (a new data set). The constants in
`service.jobs.forecast.priors` were chosen before these runs existed and are not fitted to them. Takes seconds.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from scipy.stats import spearmanr

from benchmarks.evidence.recording import RESULTS, Recording, recorded
from fgd_core.spec.prediction import LEVEL, SMALLEST_GAIN
from service.jobs.forecast.model import Forecast, forecast
from service.jobs.forecast.priors import PRIORS
from service.jobs.forecast.trainings import Training, best_so_far
from service.jobs.forecast.view import FIRST, verdict_on

MOMENTS = {"at submission": 0.0, "first tenth": FIRST, "half": 0.5}
KNOWN: Mapping[str, Callable[[Training, Training], bool]] = {
    "all other runs": lambda run, other: other is not run,
    "other configurations": lambda run, other: other.configuration != run.configuration,
    "other data": lambda run, other: other.data != run.data,
}
"""Which runs each case may use."""
PLAIN = ("plain", "teacher")


class Checked(NamedTuple):
    """A prediction, and what came."""

    run: Training
    final: float
    made: Forecast


def trainings(recordings: Sequence[Recording]) -> list[Training]:
    """Return recordings as forecasts see them; the teachers are other detectors on the same data."""
    return [_training(each) for each in recordings]


def checks(runs: Sequence[Training], part: float, known: Callable[[Training, Training], bool]) -> Iterator[Checked]:
    """Predict each run at its first evaluation after a part of its epochs; skip runs about which nothing is known."""
    for run in runs:
        at = 0.0 if part == 0 else next((at for at, _ in run.curve if at >= part - 1e-9), 1.0)
        made = forecast(run.until(at), [other for other in runs if known(run, other)])
        if made is not None and run.final is not None and at < 1:
            yield Checked(run, run.final, made)


def true_gains(runs: Sequence[Training]) -> Mapping[str, float]:
    """Return the gain of each distilled configuration: the difference of the means over all seeds."""
    finals: dict[tuple[str, str, bool], list[float]] = {}
    for run in runs:
        if run.final is not None:
            finals.setdefault((run.family, run.configuration, run.is_plain), []).append(run.final)
    plain = {family: statistics.fmean(aps) for (family, _, is_plain), aps in finals.items() if is_plain}
    return {
        configuration: statistics.fmean(aps) - plain[family]
        for (family, configuration, is_plain), aps in finals.items()
        if not is_plain and family in plain
    }


def report(recordings: Sequence[Recording]) -> str:
    """Return the page with the results."""
    runs = trainings(recordings)
    lines = [
        "# Predicted and reached AP",
        "",
        f"`python -m benchmarks.prediction`. {len(runs)} recorded runs of "
        f"{len({run.configuration for run in runs})} configurations on {', '.join(sorted({run.data for run in runs}))} "
        f"([recordings](evidence)). AP from 0 to 1. Intervals of {LEVEL:.0%}. The constants of the model were chosen "
        "before these runs existed.",
        "",
        "`held`: runs whose final AP lies in the predicted interval. `width`: the mean width of the intervals. `miss`: "
        "the mean distance between the predicted and the reached AP.",
        "",
        *_table(("known runs", "moment", "runs", "held", "width", "miss"), _coverage(runs)),
        "",
        "## Will not help",
        "",
        f"A prediction says so if the interval of the gain lies below {SMALLEST_GAIN}. It is right if the difference "
        "of the means over all recorded seeds is smaller, too. `useless` and `useful` count the predicted runs by this "
        "difference.",
        "",
        *_table(("known runs", "moment", "useless", "useful", "said", "right", "precision"), _refusals(runs)),
        "",
        "## What the recordings say about trainings in general",
        "",
        *_table(("", "recorded", "constant of the model"), _recorded_scales(runs)),
        "",
        "## A probe that is not used",
        "",
        "Distillation over task loss in the first epoch, against the gain over the mean of plain training: Spearman's "
        "rank correlation over the distilled runs of a data set, whose teacher is the same.",
        "",
        *_table(("data", "runs", "correlation", "p"), _loss_ratios(recordings)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evidence", type=Path, default=RESULTS, help="folder with recordings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the results")
    options = parser.parse_args()
    names = sorted(path.stem for path in options.evidence.glob("*.jsonl"))
    text = report([each for name in names for each in recorded(name, options.evidence)])
    (options.out / "prediction.md").write_text(text)
    Console(width=120).print(text, markup=False)


def _training(recording: Recording) -> Training:
    # A teacher differs from a student by its detector and its epochs.
    family = f"{recording.data}, {recording.num_parameters} parameters, {recording.epochs} epochs"
    return Training(
        data=recording.data,
        family=family,
        configuration=f"{family}, {recording.arm}",
        is_plain=recording.arm in PLAIN,
        curve=best_so_far(enumerate(recording.aps, start=1), recording.epochs),
        final=recording.scores.ap,
        teacher_ap=recording.teacher_ap,
    )


def _coverage(runs: Sequence[Training]) -> Iterator[tuple[str, ...]]:
    for name, known in KNOWN.items():
        for moment, part in MOMENTS.items():
            found = list(checks(runs, part, known))
            if not found:
                continue
            held = sum(each.made.own.low <= each.final <= each.made.own.high for each in found)
            width = statistics.fmean(each.made.own.high - each.made.own.low for each in found)
            miss = statistics.fmean(abs(each.made.own.mean - each.final) for each in found)
            yield name, moment, str(len(found)), f"{held} ({held / len(found):.0%})", f"{width:.3f}", f"{miss:.3f}"


def _refusals(runs: Sequence[Training]) -> Iterator[tuple[str, ...]]:
    gains = true_gains(runs)
    for name, known in KNOWN.items():
        for moment, part in MOMENTS.items():
            found = [each for each in checks(runs, part, known) if each.run.configuration in gains]
            useless = {each.run.configuration for each in found if gains[each.run.configuration] < SMALLEST_GAIN}
            of_useless = sum(each.run.configuration in useless for each in found)
            refused = [each for each in found if verdict_on(each.made.gain) == "will_not_help"]
            right = sum(each.run.configuration in useless for each in refused)
            precision = f"{right / len(refused):.0%}" if refused else "–"
            counts = (of_useless, len(found) - of_useless, len(refused), right)
            yield name, moment, *map(str, counts), precision


def _recorded_scales(runs: Sequence[Training]) -> Iterator[tuple[str, str, str]]:
    by_configuration: dict[str, list[float]] = {}
    for run in runs:
        if run.final is not None:
            by_configuration.setdefault(run.configuration, []).append(run.final)
    variances = [statistics.variance(aps) for aps in by_configuration.values() if len(aps) > 1]
    if variances:
        yield "standard deviation between seeds", f"{statistics.fmean(variances) ** 0.5:.3f}", f"{PRIORS.seed_sd}"
    gains = list(true_gains(runs).values())
    if len(gains) > 1:
        yield "gain of a distillation", _spread(gains), f"{PRIORS.gain} without the teacher's AP"
    for part in (0.1, 0.2, 0.4, 0.6, 0.8):
        ratios = [ap / run.final for run in runs if run.final and (ap := run.best_at(part)) is not None]
        if len(ratios) > 1:
            ratio, deviation = PRIORS.shape_at(part)
            yield (
                f"AP after {part:.0%} of the epochs, of the final one",
                _spread(ratios),
                f"{ratio} ± {ratio * deviation:.2f}",
            )


def _loss_ratios(recordings: Sequence[Recording]) -> Iterator[tuple[str, ...]]:
    for data in sorted({each.data for each in recordings}):
        runs = [each for each in recordings if each.data == data]
        plain = statistics.fmean(each.scores.ap or 0.0 for each in runs if each.arm == "plain")
        distilled = [each for each in runs if "distill/total" in each.values]
        gains = [(each.scores.ap or 0.0) - plain for each in distilled]
        firsts = [(each.values["distill/total"][0], each.values["loss"][0]) for each in distilled]
        if len(distilled) > 3:
            found = spearmanr([ours / (loss - ours) for ours, loss in firsts], gains)
            yield data, str(len(distilled)), f"{found.statistic:+.2f}", f"{found.pvalue:.2f}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"


def _table(headings: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|---" * len(headings) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main()
