"""Writes a comparison as sentences: what is certain, what is not, and how to learn more."""

from collections.abc import Sequence

from fgd_core.spec.comparison import Change, ClassRow, ComparedRun, Comparison, Finding

_NAMED = 8


def sentences(comparison: Comparison) -> list[str]:
    """Say the difference of AP, the differences of the classes, and how reliable both are."""
    return [
        sentence
        for sentence in (_over_all(comparison), *_classes(comparison), _chosen(comparison), _trust(comparison))
        if sentence is not None
    ]


def group_name(runs: Sequence[ComparedRun]) -> str:
    """Name a group of runs."""
    names = list(dict.fromkeys(run.name for run in runs))
    shown = names[0] if len(names) == 1 else f"{names[0]} and others"
    return shown if len(runs) == 1 else f"{shown} ({len(runs)} runs)"


def _over_all(comparison: Comparison) -> str:
    row = comparison.scores[0]
    ours, theirs = group_name(comparison.first), group_name(comparison.second)
    if row.first is None or row.second is None or row.change is None:
        return f"{ours} and {theirs} have no AP: there is no box in the validation split."
    value = row.change.value
    way = f"{abs(value):.3f} {'above' if value > 0 else 'below'}" if abs(value) >= 0.0005 else "equal to"
    text = f"{ours} reaches AP {row.first:.3f}, {way} {theirs} ({row.second:.3f})"
    if row.change.p is None or row.change.low is None or row.change.high is None:
        return f"{text}; there is too little data to know whether this is more than chance."
    text += f", with {comparison.confidence:.0%} confidence by {row.change.low:+.3f} to {row.change.high:+.3f}"
    if row.change.finding == "noise":
        return f"{text}: within noise (p = {row.change.p:.2g})."
    # Another training of the same detector changes AP, too, and resamples of the images cannot show that.
    as_far = " in the choice of images" if comparison.basis == "images" else ""
    return f"{text}: more than chance{as_far} (p = {row.change.p:.2g})."


def _classes(comparison: Comparison) -> list[str]:
    rows = [row for row in comparison.classes if row.change is not None]
    said = []
    changes = {finding: _with(rows, finding) for finding in ("gained", "lost", "noise", "too_little_data")}
    if len(rows) > 1:
        parts = [
            f"{len(changes['gained'])} gained{_list(changes['gained'])}",
            f"{len(changes['lost'])} lost{_list(changes['lost'])}",
            f"{len(changes['noise'])} changed no more than chance would",
        ]
        if changes["too_little_data"]:
            parts.append(f"{len(changes['too_little_data'])} have too little data")
        said.append(f"Of {len(rows)} classes {', '.join(parts)}.")
    beyond = [row for row in rows if _found(row.beyond_overall) in ("gained", "lost")]
    if beyond:
        shown = [(row.name, row.beyond_overall.value) for row in beyond[:_NAMED] if row.beyond_overall]
        named = ", ".join(f"{name} {value:+.3f}" for name, value in shown)
        more = " …" if len(beyond) > _NAMED else ""
        said.append(f"{len(beyond)} changed differently from the AP, more than chance would: {named}{more}.")
    elif len(rows) > 1:
        said.append("No class changed differently from the AP, more than chance would.")
    return said


def _trust(comparison: Comparison) -> str:
    if comparison.basis == "images":
        how = f"{comparison.resamples:,} paired resamples of {comparison.num_images:,} images"
        return (
            f"By {how} (random seed {comparison.random_seed}). This measures the chance in the choice of images, not "
            "in the training's seed. To measure that, run each side with two or more seeds, better three."
        )
    few = min(len(comparison.first), len(comparison.second)) < 3
    text = f"By Welch's t-test over {len(comparison.first)} and {len(comparison.second)} runs"
    return text + ("; two runs on a side show only large differences, three are better." if few else ".")


def _chosen(comparison: Comparison) -> str | None:
    """Warn about trials of a sweep: no test over these runs can see that they were chosen."""
    trials = sorted({run.trial for run in (*comparison.first, *comparison.second) if run.trial is not None})
    if not trials:
        return None
    which = "Trial" if len(trials) == 1 else "Trials"
    return (
        f"{which} {', '.join(map(str, trials))} of a sweep: a trial chosen as the best of many was also lucky, "
        "which no test here can see. The sweep's report uses fresh seeds only."
    )


def _with(rows: Sequence[ClassRow], finding: Finding) -> list[str]:
    return [row.name for row in rows if _found(row.change) == finding]


def _found(difference: Change | None) -> Finding | None:
    return difference.finding if difference is not None else None


def _list(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''})"
