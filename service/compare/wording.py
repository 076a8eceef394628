"""A comparison in words: what is certain, what is not, and what would make it so."""

from collections.abc import Sequence

from fgd_core.spec.comparison import Change, ClassRow, ComparedRun, Comparison, Finding

_NAMED = 8


def sentences(comparison: Comparison) -> list[str]:
    """The difference over all, the classes one by one, and how far to trust both."""
    return [
        sentence
        for sentence in (_over_all(comparison), *_classes(comparison), _chosen(comparison), _trust(comparison))
        if sentence is not None
    ]


def group_name(runs: Sequence[ComparedRun]) -> str:
    names = list(dict.fromkeys(run.name for run in runs))
    shown = names[0] if len(names) == 1 else f"{names[0]} and others"
    return shown if len(runs) == 1 else f"{shown} ({len(runs)} runs)"


def _over_all(comparison: Comparison) -> str:
    row = comparison.scores[0]
    ours, theirs = group_name(comparison.first), group_name(comparison.second)
    if row.first is None or row.second is None or row.change is None:
        return f"{ours} and {theirs} have no AP: there is no box in the validation split."
    value = row.change.value
    way = f"{abs(value):.3f} {'above' if value > 0 else 'below'}" if abs(value) >= 0.0005 else "level with"
    text = f"{ours} reaches AP {row.first:.3f}, {way} {theirs} ({row.second:.3f})"
    if row.change.p is None or row.change.low is None or row.change.high is None:
        return f"{text}; that is too little data to say whether it is more than chance."
    text += f", with {comparison.confidence:.0%} confidence by {row.change.low:+.3f} to {row.change.high:+.3f}"
    if row.change.finding == "noise":
        return f"{text}: within noise (p = {row.change.p:.2g})."
    # Another training of the same detector moves AP as well, and resamples of the images know nothing of that.
    as_far = ", as far as the images go" if comparison.basis == "images" else ""
    return f"{text}: more than chance{as_far} (p = {row.change.p:.2g})."


def _classes(comparison: Comparison) -> list[str]:
    rows = [row for row in comparison.classes if row.change is not None]
    said = []
    changes = {finding: _with(rows, finding) for finding in ("gained", "lost", "noise", "too_little_data")}
    if len(rows) > 1:
        parts = [
            f"{len(changes['gained'])} gained{_list(changes['gained'])}",
            f"{len(changes['lost'])} lost{_list(changes['lost'])}",
            f"{len(changes['noise'])} moved no more than chance would",
        ]
        if changes["too_little_data"]:
            parts.append(f"{len(changes['too_little_data'])} have too little data to say")
        said.append(f"Of {len(rows)} classes {', '.join(parts)}.")
    beyond = [row for row in rows if _found(row.beyond_overall) in ("gained", "lost")]
    if beyond:
        shown = [(row.name, row.beyond_overall.value) for row in beyond[:_NAMED] if row.beyond_overall]
        named = ", ".join(f"{name} {value:+.3f}" for name, value in shown)
        more = " …" if len(beyond) > _NAMED else ""
        said.append(f"{len(beyond)} moved otherwise than the whole did, beyond chance: {named}{more}.")
    elif len(rows) > 1:
        said.append("No class moved otherwise than the whole did, beyond chance.")
    return said


def _trust(comparison: Comparison) -> str:
    if comparison.basis == "images":
        how = f"{comparison.resamples:,} paired resamples of {comparison.num_images:,} images"
        return (
            f"By {how} (random seed {comparison.random_seed}). This measures the draw of the images and not that of "
            "the training's seed: two or more runs with other seeds on each side, better three, would tell."
        )
    few = min(len(comparison.first), len(comparison.second)) < 3
    text = f"By Welch's t-test over {len(comparison.first)} and {len(comparison.second)} runs"
    return text + ("; with two on a side only large differences show, three are better." if few else ".")


def _chosen(comparison: Comparison) -> str | None:
    """What no test over these runs can see: why they were picked."""
    trials = sorted({run.trial for run in (*comparison.first, *comparison.second) if run.trial is not None})
    if not trials:
        return None
    which = "Trial" if len(trials) == 1 else "Trials"
    return (
        f"{which} {', '.join(map(str, trials))} of a sweep: a trial that was picked as the best of many was lucky as "
        "well, which no test here can see; the sweep's report decides on fresh seeds alone."
    )


def _with(rows: Sequence[ClassRow], finding: Finding) -> list[str]:
    return [row.name for row in rows if _found(row.change) == finding]


def _found(difference: Change | None) -> Finding | None:
    return difference.finding if difference is not None else None


def _list(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''})"
