"""Folds a `why` study: on what the gain depends, of the teacher, the number of images, other settings and chance.

All gains are judged together after Benjamini and Hochberg; each trend, and the spread, is a question of its own with an
error of 5 %. `tests/studies/test_why.py` measures both kinds of error.

Source: arXiv:2005.10419, which explains the gain by the teacher's probabilities: near the true ones, they estimate the
risk with less variance than labels do. `tests/studies/test_variance_theorem.py` shows the theorem.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fgd_core.spec.comparison import FALSE_DISCOVERY_RATE
from fgd_core.spec.diagnosis import Calibration
from fgd_core.spec.study_findings.trend import Trend
from fgd_core.spec.study_findings.why import Quality, Rank, SettingGain, Spread, TaughtGain, Why
from fgd_core.statistics import verdicts
from fgd_core.statistics.calibration import calibration
from fgd_core.statistics.evidence import Evidence
from fgd_core.statistics.kendall import interval, kendall
from fgd_core.statistics.operating import ALL_AREAS, AT_50
from fgd_core.statistics.rows import known
from fgd_core.statistics.seeds import Array, Measured, measured
from fgd_core.statistics.spread import spread
from fgd_core.statistics.trend import trend
from fgd_core.statistics.welch import Sample, sample
from fgd_core.studies.runs import StudyRun, boxes_of_classes, points
from fgd_core.studies.why_wording import sentences


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Holds the runs with and without distillation in one setting; of each at least one."""

    plain: Sequence[StudyRun]
    distilled: Sequence[StudyRun]


@dataclass(frozen=True, kw_only=True)
class Taught:
    """Holds a teacher, and at least one run of the student that it taught."""

    checkpoint: str
    teacher: StudyRun
    distilled: Sequence[StudyRun]


@dataclass(frozen=True, kw_only=True)
class Base(Pair, Taught):
    """Holds the distillation as it is, and its own settings. Two runs of each student are needed to test anything."""

    fraction: float
    """The share of the training images, above 0."""
    settings: Mapping[str, float]
    """The values of other settings by name, above 0, as far as they are numbers."""


class _Setting(NamedTuple):
    varied: str
    value: str
    pair: Pair


def why(
    base: Base,
    *,
    teachers: Sequence[Taught] = (),
    fractions: Mapping[float, Pair] | None = None,
    over: Mapping[str, Mapping[float, Sequence[StudyRun]]] | None = None,
) -> Why:
    """Compare gains over teachers, shares of the images, and other settings.

    Args:
        teachers: further ones.
        fractions: by another share of the training images, above 0.
        over: distilled runs by the name of a setting and another value of it, above 0. The plain student must not
            depend on it.
    """
    pairs, settings = fractions or {}, over or {}
    taught = [_taught(each, base.plain) for each in (base, *teachers)]
    result = Why(
        gains=_gains([*_settings(base, teachers, pairs, settings)]),
        teachers=taught,
        ranks=_ranks(taught),
        trends=[*_trends(base, pairs, settings)],
        spread=_spread([base, *pairs.values()]),
        false_discovery_rate=FALSE_DISCOVERY_RATE,
        sentences=[],
    )
    return result.model_copy(update={"sentences": sentences(result)})


def _settings(
    base: Base,
    teachers: Sequence[Taught],
    fractions: Mapping[float, Pair],
    over: Mapping[str, Mapping[float, Sequence[StudyRun]]],
) -> Iterator[_Setting]:
    yield _Setting("nothing", "", base)
    for each in teachers:
        yield _Setting("teacher", each.checkpoint, Pair(plain=base.plain, distilled=each.distilled))
    for share, pair in sorted(fractions.items()):
        yield _Setting("fraction", f"{share:g}", pair)
    for name, levels in over.items():
        for level, runs in sorted(levels.items()):
            yield _Setting(name, f"{level:g}", Pair(plain=base.plain, distilled=runs))


def _gains(settings: Sequence[_Setting]) -> list[SettingGain]:
    arms = [(_aps(each.pair.plain), _aps(each.pair.distilled)) for each in settings]
    boxes = [sum(boxes_of_classes(each.pair.plain)) for each in settings]
    changes = verdicts.among_many([_difference(*each) for each in arms], num_boxes=boxes)
    return [
        SettingGain(
            varied=each.varied,
            value=each.value,
            plain=known(plain.mean()),
            distilled=known(distilled.mean()),
            change=change,
        )
        for each, (plain, distilled), change in zip(settings, arms, changes, strict=True)
    ]


def _difference(plain: Array, distilled: Array) -> Measured | None:
    if min(len(plain), len(distilled)) > 1:
        return measured(distilled, plain)
    by = known(distilled.mean() - plain.mean())
    return None if by is None else Measured(by)


def _aps(runs: Sequence[StudyRun]) -> Array:
    """(n,)"""
    return points(runs).scores[:, 0]


def _taught(each: Taught, plain: Sequence[StudyRun]) -> TaughtGain:
    measured = _calibration(each.teacher.evidence)
    return TaughtGain(
        checkpoint=each.checkpoint,
        ap=each.teacher.scores.ap,
        calibration_error=measured.error if measured is not None else None,
        brier=measured.brier if measured is not None else None,
        gain=known(_aps(each.distilled).mean() - _aps(plain).mean()),
    )


def _calibration(evidence: Evidence | None) -> Calibration | None:
    if evidence is None:
        return None
    scores, is_right = [np.zeros(0)], [np.zeros(0, np.bool_)]
    for place in range(len(evidence.class_names)):
        one = evidence.of_class(place)
        counts = ~one.ignored[ALL_AREAS, AT_50]
        scores.append(one.scores[counts])
        is_right.append(one.right[ALL_AREAS, AT_50, counts])
    return calibration(np.concatenate(scores), np.concatenate(is_right))


def _ranks(teachers: Sequence[TaughtGain]) -> list[Rank]:
    qualities: Mapping[Quality, Sequence[float | None]] = {
        "AP": [each.ap for each in teachers],
        "calibration error": [each.calibration_error for each in teachers],
        "Brier score": [each.brier for each in teachers],
    }
    found = []
    for of, values in qualities.items():
        pairs = [
            (value, each.gain)
            for value, each in zip(values, teachers, strict=True)
            if value is not None and each.gain is not None
        ]
        tau = kendall(pairs)
        if tau is not None:
            low, high = interval(tau, len(pairs)) or (None, None)
            found.append(Rank(of=of, tau=tau, low=low, high=high, num_teachers=len(pairs)))
    return found


def _trends(
    base: Base, fractions: Mapping[float, Pair], over: Mapping[str, Mapping[float, Sequence[StudyRun]]]
) -> Iterator[Trend]:
    # Each run is in one difference only. So the differences are independent, whichever runs form a pair.
    gains = {
        share: [float(ours - theirs) for ours, theirs in zip(_aps(pair.distilled), _aps(pair.plain), strict=False)]
        for share, pair in {**fractions, base.fraction: base}.items()
    }
    yield from filter(None, [trend("gain", "fraction", gains)])
    for name, levels in over.items():
        own = {base.settings[name]: base.distilled} if name in base.settings else {}
        aps = {level: _aps(runs).tolist() for level, runs in {**levels, **own}.items()}
        yield from filter(None, [trend("AP", name, aps)])


def _spread(pairs: Sequence[Pair]) -> Spread | None:
    arms = [(_sample(pair.plain), _sample(pair.distilled)) for pair in pairs]
    both = [(plain, distilled) for plain, distilled in arms if plain is not None and distilled is not None]
    return spread([plain for plain, _ in both], [distilled for _, distilled in both])


def _sample(runs: Sequence[StudyRun]) -> Sample | None:
    return sample([run.scores.ap for run in runs if run.scores.ap is not None])
