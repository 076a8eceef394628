"""Forecasts of trainings: how often their intervals hold, and how often `will_not_help` is right."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from fgd_core.spec.prediction import SMALLEST_GAIN
from service.jobs.forecast.model import Forecast, forecast
from service.jobs.forecast.trainings import Training, best_so_far
from service.jobs.forecast.view import first_tenth, verdict_on

EPOCHS, METHODS, SEEDS = 15, 3, 4


class Drawn(NamedTuple):
    """A training and the mean gain of its method."""

    run: Training
    gain: float


def family(rng: random.Random, name: str, *, gain: float | None = None) -> list[Drawn]:
    """Draw a plain detector and distilled ones, several seeds each; without `gain`, each method has its own."""
    level, gap, seed_sd, bend = (
        rng.uniform(0.12, 0.5),
        rng.uniform(0, 0.15),
        rng.uniform(0.008, 0.02),
        rng.uniform(2, 6),
    )
    shared = 0.3 * gap + rng.gauss(0, 0.015)
    drawn = []
    for method in range(METHODS + 1):
        own = shared + rng.gauss(0, 0.012) if gain is None else gain
        of_method = own if method else 0.0
        # The second method starts slowly, as strong distillation does.
        own_bend = bend * math.exp(rng.gauss(0, 0.15)) * (0.7 if method == 2 else 1.0)
        for _ in range(SEEDS):
            final = max(0.01, level + of_method + rng.gauss(0, seed_sd))
            aps = [
                final * (1 - math.exp(-own_bend * epoch / EPOCHS)) / (1 - math.exp(-own_bend))
                + rng.gauss(0, 0.7 * seed_sd) * (epoch < EPOCHS)
                for epoch in range(1, EPOCHS + 1)
            ]
            curve = best_so_far(((epoch, max(0.0, ap)) for epoch, ap in enumerate(aps, start=1)), EPOCHS)
            run = Training(
                data=name,
                family=name,
                configuration=f"{name}-{method}",
                is_plain=method == 0,
                curve=curve,
                final=curve[-1][1],
                teacher_ap=level + gap if method else None,
            )
            drawn.append(Drawn(run, of_method))
    return drawn


def world(seed: int, *, gain: float | None = None) -> list[Drawn]:
    rng = random.Random(seed)
    return [each for number in range(3) for each in family(rng, f"data {number}", gain=gain)]


def forecasts(worlds: Sequence[list[Drawn]], part: float, *, knows_seeds: bool) -> Iterator[tuple[Drawn, Forecast]]:
    """Forecast each run at a part of its training from all others, or from those of other configurations."""
    for drawn in worlds:
        runs = [each.run for each in drawn]
        for each in drawn:
            own = each.run.configuration
            earlier = [run for run in runs if run is not each.run and (knows_seeds or run.configuration != own)]
            made = forecast(each.run.until(part), earlier)
            assert made is not None
            yield each, made


@pytest.fixture(scope="module")
def varied() -> list[list[Drawn]]:
    return [world(seed) for seed in range(12)]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("knows_seeds", [True, False])
def test_intervals_of_80_percent_hold_that_often(varied: list[list[Drawn]], part: float, knows_seeds: bool) -> None:
    held = [
        made.own.low <= each.run.final <= made.own.high
        for each, made in forecasts(varied, part, knows_seeds=knows_seeds)
        if each.run.final is not None
    ]
    # Without runs of its own configuration an interval is wider than it has to be.
    assert 0.75 <= sum(held) / len(held) <= (0.88 if knows_seeds else 0.95)


def test_a_verdict_of_no_help_is_seldom_wrong() -> None:
    worlds = [world(seed, gain=gain) for gain in (0.0, 0.03) for seed in range(8)]
    denied, useful, wrong, idle = 0, 0, 0, 0
    for each, made in forecasts(worlds, 0.1, knows_seeds=True):
        if made.gain is None:
            continue
        says_no = verdict_on(made.gain) == "will_not_help"
        helps = each.gain >= SMALLEST_GAIN
        useful, idle = useful + helps, idle + (not helps)
        denied, wrong = denied + (says_no and not helps), wrong + (says_no and helps)
    assert wrong / useful < 0.05
    # Four seeds with errors of 0.015 each leave most gains of nothing open.
    assert denied / idle > 0.2


def test_the_first_tenth_alone_decides_little() -> None:
    """After 3 of 15 epochs a strong distillation stood below plain runs, and far above them at the end."""
    plain = [run("plain", final, start=0.35) for final in (0.18, 0.19, 0.20)]
    others = [run("gentle", final, start=0.35) for final in (0.23, 0.24)]
    slow = run("strong", 0.236, start=0.2)
    early = slow.until(0.2)
    assert early.curve[-1][1] < min(ap for each in plain if (ap := each.best_at(0.2)) is not None)
    made = forecast(early, [*plain, *others])
    assert made is not None and made.own.low < 0.236 < made.own.high
    assert verdict_on(made.gain) == "open"


def test_a_teacher_that_is_no_better_promises_nothing() -> None:
    plain = [run("plain", final) for final in (0.29, 0.30, 0.31)]
    weak, strong = (run("fgd", 0.3, teacher_ap=ap).until(0.0) for ap in (0.25, 0.5))
    gains = [made.gain for each in (weak, strong) if (made := forecast(each, plain)) is not None]
    assert gains[0] is not None and gains[1] is not None
    assert gains[0].mean < 0 < gains[1].mean


def test_nothing_known_is_no_forecast() -> None:
    assert forecast(run("plain", 0.3).until(0.0), []) is None
    alone = forecast(run("plain", 0.3).until(0.1), [])
    assert alone is not None and alone.own.high - alone.own.low > 0.2


def test_a_run_with_one_evaluation_has_no_first_tenth() -> None:
    assert first_tenth(Training(**(vars(run("plain", 0.3)) | {"curve": [(1.0, 0.3)]}))) is None


def run(configuration: str, final: float, *, start: float = 0.3, teacher_ap: float | None = None) -> Training:
    """A training on the same data, whose AP grows in a straight line from a part of the final one."""
    parts = [(epoch / 10, final * (start + (1 - start) * (epoch - 1) / 9)) for epoch in range(1, 11)]
    return Training(
        data="data",
        family="family",
        configuration=configuration,
        is_plain=configuration == "plain",
        curve=parts,
        final=final,
        teacher_ap=teacher_ap,
    )
