"""On what the gain depends: planted effects are found, few others are named, and teachers are scored as they are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fgd_core.spec.study_findings.why import Why
from fgd_core.statistics.evidence import AREAS, NUM_OVERLAPS, Evidence
from fgd_core.studies.runs import StudyRun
from fgd_core.studies.why import Base, Pair, Taught, why
from tests.compare.simulation import Ground
from tests.studies.drawn import run, runs

RUN_SD, SEEDS = 0.01, 5
DRAWS = 150
FALSE_CLAIMS = 0.05 * DRAWS + 2 * (0.05 * 0.95 * DRAWS) ** 0.5
"""Expected in `DRAWS` studies without an effect, and two standard deviations."""
TEACHER = run(0, [0.5])


def study(
    dice: np.random.Generator,
    *,
    gain: float = 0.0,
    per_halving: float = 0.0,
    per_degree: float = 0.0,
    by_teachers: Sequence[float] = (0.0, 0.0),
    varies: float = 1.0,
) -> Why:
    """A study with these true gains, in standard deviations of a plain run; with fewer images, runs vary more."""

    def drawn(mean: float, *, sd: float = 1.0) -> list[StudyRun]:
        return runs(0.3 + RUN_SD * (mean + sd * dice.normal(size=(SEEDS, 1))))

    fractions = {
        0.5**halvings: Pair(
            plain=drawn(-5 * halvings, sd=1 + halvings / 4),
            distilled=drawn(gain + (per_halving - 5) * halvings, sd=varies * (1 + halvings / 4)),
        )
        for halvings in (1, 2)
    }
    return why(
        Base(
            plain=drawn(0),
            distilled=drawn(gain, sd=varies),
            checkpoint="own",
            teacher=TEACHER,
            fraction=1.0,
            settings={"temperature": 1.0},
        ),
        teachers=[
            Taught(checkpoint=f"t{place}", teacher=run(0, [0.4 - place / 10]), distilled=drawn(by))
            for place, by in enumerate(by_teachers)
        ],
        fractions=fractions,
        over={"temperature": {2.0**doubled: drawn(gain + per_degree * doubled) for doubled in (1, 2)}},
    )


def findings(found: Why) -> dict[tuple[str, str], str]:
    return {(each.varied, each.value): each.change.finding for each in found.gains if each.change is not None}


def claims(found: Why) -> dict[str, bool]:
    assert found.spread is not None
    return {
        "gain": bool({"gained", "lost"} & set(findings(found).values())),
        **{each.over: each.p <= 0.05 for each in found.trends},
        "spread": found.spread.p <= 0.05,
    }


class TestErrors:
    def test_without_an_effect_few_studies_claim_one(self) -> None:
        dice = np.random.default_rng(0)
        found = [claims(study(dice)) for _ in range(DRAWS)]
        wrong = {name: sum(each[name] for each in found) for name in found[0]}
        print(f"false claims in {DRAWS} studies: {wrong}")
        assert wrong.keys() == {"gain", "fraction", "temperature", "spread"}
        assert max(wrong.values()) <= FALSE_CLAIMS

    def test_an_equal_gain_with_every_share_is_no_trend(self) -> None:
        dice = np.random.default_rng(1)
        found = [study(dice, gain=4.0) for _ in range(DRAWS)]
        assert sum(claims(each)["fraction"] for each in found) <= FALSE_CLAIMS

    @pytest.mark.parametrize(
        ("claim", "effect"),
        [
            ("gain", {"gain": 4.0}),
            ("fraction", {"per_halving": 2.0}),
            ("temperature", {"per_degree": -1.5}),
            ("spread", {"varies": 3.0}),
        ],
    )
    def test_a_planted_effect_is_found_four_times_in_five(self, claim: str, effect: dict[str, float]) -> None:
        dice = np.random.default_rng(2)
        assert np.mean([claims(study(dice, **effect))[claim] for _ in range(30)]) >= 0.8


class TestAnswer:
    def test_a_gain_with_fewer_images_is_named_with_its_slope(self) -> None:
        found = study(np.random.default_rng(3), per_halving=4.0)
        (trend,) = (each for each in found.trends if each.over == "fraction")
        assert trend.low < -4 * RUN_SD < trend.high < 0
        assert findings(found)["fraction", "0.25"] == "gained"
        assert any("With 0.25 of the training images, distilling changes AP by +" in each for each in found.sentences)
        assert any("Twice as many training images change the gain by -0.0" in each for each in found.sentences)

    def test_runs_that_vary_less_with_distillation_are_measured(self) -> None:
        spread = study(np.random.default_rng(4), varies=0.25).spread
        assert spread is not None
        assert spread.low < 0.25 < spread.high < 1
        assert spread.ratio == pytest.approx(spread.distilled / spread.plain)

    def test_five_teachers_show_whether_better_ones_bring_more(self) -> None:
        # Better teachers come first, and bring more.
        rising = study(np.random.default_rng(5), gain=20.0, by_teachers=(15.0, 10.0, 5.0, 0.0)).ranks
        assert [(each.of, each.tau, each.num_teachers) for each in rising] == [("AP", 1.0, 5)]
        assert rising[0].low is not None and rising[0].low > 0
        few = study(np.random.default_rng(5), gain=20.0, by_teachers=(15.0, 10.0))
        assert (few.ranks[0].tau, few.ranks[0].low) == (1.0, None)
        assert "five teachers are needed" in few.sentences[-1]

    def test_one_seed_is_shown_and_not_judged(self) -> None:
        found = why(only_base(plain=[run(0, [0.2])], distilled=[run(0, [0.3])]))
        assert findings(found) == {("nothing", ""): "too_little_data"}
        assert (found.trends, found.spread, found.ranks) == ([], None, [])
        assert "not known" in found.sentences[0]

    def test_one_value_of_a_setting_has_a_gain_and_no_trend(self) -> None:
        drawn = runs(np.array([[0.2], [0.21], [0.22]]))
        base = only_base(plain=drawn, distilled=drawn)
        found = why(base, over={"temperature": {2.0: drawn}})
        assert ([each.varied for each in found.gains], found.trends) == (["nothing", "temperature"], [])
        assert any("A trend over temperature needs two values" in each for each in found.sentences)
        known = why(replace(base, settings={"temperature": 1.0}), over={"temperature": {2.0: drawn}})
        assert not any("needs two values" in each for each in known.sentences)

    def test_data_without_boxes_have_no_answer(self) -> None:
        scores = run(0, [0.1], num_boxes=0).scores.model_copy(update={"ap": None})
        nothing = [StudyRun(seed=seed, scores=scores) for seed in range(3)]
        found = why(only_base(plain=nothing, distilled=nothing), over={"temperature": {2.0: nothing}})
        assert [each.change for each in found.gains] == [None, None]
        assert (found.trends, found.spread) == ([], None)
        assert "no AP" in found.sentences[0]


class TestCalibration:
    def test_scores_that_are_probabilities_have_no_error_and_others_have_theirs(self) -> None:
        honest, bold = (scored(probability_as=power) for power in (1.0, 0.25))
        # The Brier score of honest scores is the mean of p (1 - p), for p from 0.05 to 1: lower ones do not count.
        assert (honest[0], honest[1]) == (pytest.approx(0.0, abs=0.02), pytest.approx(0.174, abs=0.006))
        # The fourth root says 0.8 on average, where 0.5 are right.
        assert bold[0] == pytest.approx(0.3, abs=0.02)
        assert bold[1] > honest[1]

    def test_is_said_of_the_teacher_of_the_base(self) -> None:
        found = why(only_base(plain=runs(np.full((2, 1), 0.2)), distilled=runs(np.full((2, 1), 0.3))))
        assert not any("Brier" in each for each in found.sentences)
        teacher = replace(TEACHER, evidence=probable(1.0))
        found = why(
            replace(only_base(plain=runs(np.full((2, 1), 0.2)), distilled=runs(np.full((2, 1), 0.3))), teacher=teacher)
        )
        assert "calibration error" in found.sentences[-1] and "Brier" in found.sentences[-1]


def only_base(*, plain: Sequence[StudyRun], distilled: Sequence[StudyRun]) -> Base:
    return Base(plain=plain, distilled=distilled, checkpoint="own", teacher=TEACHER, fraction=1.0, settings={})


def scored(*, probability_as: float) -> tuple[float | None, float | None]:
    """The calibration error and the Brier score of a teacher."""
    base = only_base(plain=[run(0, [0.2])], distilled=[run(0, [0.3])])
    (teacher,) = why(replace(base, teacher=replace(TEACHER, evidence=probable(probability_as)))).teachers
    return teacher.calibration_error, teacher.brier


def probable(power: float) -> Evidence:
    """Detections that are right with a probability p from 0 to 1, and have the score p ** power."""
    dice = np.random.default_rng(6)
    arrays = dict(Ground(0, num_images=100, boxes_per_class=[5000]).detector(0, [0.5])._arrays)
    p = dice.uniform(0, 1, len(arrays["score"]))
    hits = np.broadcast_to((dice.random(len(p)) < p)[:, None, None], (len(p), len(AREAS), NUM_OVERLAPS))
    right = np.packbits(hits.reshape(len(p), -1), axis=1)
    return Evidence({**arrays, "score": p**power, "right": right})
