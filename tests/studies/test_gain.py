"""What a gain study says, and how often it is wrong."""

from collections.abc import Mapping

import numpy as np
import pytest

from fgd_core.spec.study_findings.gain import Contrast, Gain
from fgd_core.studies.gain import gain
from tests.studies.drawn import run, runs

RUN_SD = 0.01
ARMS = ("plain", "distilled", "inherited", "both")


def study(dice: np.random.Generator, effects: Mapping[str, float], *, seeds: int = 5) -> Gain:
    """A study of all arms with true gains over plain, in standard deviations of a run."""
    drawn = {arm: 0.3 + RUN_SD * (effects.get(arm, 0.0) + dice.normal(size=(seeds, 1))) for arm in ARMS}
    return gain({arm: runs(aps) for arm, aps in drawn.items()})


def of(found: Gain, first: str, second: str) -> Contrast:
    return next(each for each in found.contrasts if (each.first, each.second) == (first, second))


def findings(found: Gain) -> list[str]:
    return [each.change.finding for each in found.contrasts if each.change is not None]


def test_without_an_effect_few_studies_claim_one() -> None:
    dice = np.random.default_rng(0)
    wrong = sum(bool({"gained", "lost"} & set(findings(study(dice, {})))) for _ in range(120))
    print(f"false claims in {wrong / 120:.1%} of studies")
    # 5 % of 120 is 6, with a standard deviation of 2.4.
    assert wrong <= 6 + 2 * 2.4


def test_an_effect_is_found_as_often_as_the_power_says() -> None:
    dice = np.random.default_rng(1)
    effects = {"distilled": 3.0, "inherited": 3.0, "both": 6.0}
    found = [study(dice, effects) for _ in range(30)]
    shown = np.mean([of(each, "distilled", "plain").change.finding == "gained" for each in found])
    assert shown >= 0.9
    missed = [each for each in found if of(each, "both", "plain").change.finding != "gained"]
    assert not missed


def test_arms_that_are_missing_leave_out_their_contrasts() -> None:
    found = gain({"plain": runs(np.full((3, 1), 0.2)), "both": runs(np.full((3, 1), 0.3)), "inherited": []})
    assert [(each.first, each.second) for each in found.contrasts] == [("both", "plain")]
    assert [arm.arm for arm in found.arms] == ["plain", "both"]


def test_one_seed_is_listed_and_not_judged() -> None:
    found = gain({"plain": [run(0, [0.20])], "distilled": [run(0, [0.25])]})
    (contrast,) = found.contrasts
    assert contrast.change is not None
    assert (contrast.change.value, contrast.change.finding) == (pytest.approx(0.05), "too_little_data")
    assert (contrast.power, contrast.classes) == (None, [])
    assert "not known" in found.sentences[0]


def test_the_answer_names_the_classes_that_lost() -> None:
    dice = np.random.default_rng(2)
    plain = 0.4 + 0.005 * dice.normal(size=(5, 4))
    distilled = 0.4 + 0.005 * dice.normal(size=(5, 4)) + np.array([0.05, 0.05, 0.05, -0.05])
    found = gain({"plain": runs(plain), "distilled": runs(distilled)})
    lost = [row.name for row in found.contrasts[0].classes if row.change and row.change.finding == "lost"]
    assert lost == ["class 3"]
    assert any("loses AP in class 3" in sentence for sentence in found.sentences)


def test_noise_is_answered_with_what_more_seeds_would_show() -> None:
    plain, distilled = np.array([[0.215], [0.225], [0.22]]), np.array([[0.22], [0.23], [0.22]])
    found = gain({"plain": runs(plain), "distilled": runs(distilled)})
    power = found.contrasts[0].power
    assert power is not None and power.power < 0.8 and power.seeds_needed is not None
    assert f"{power.seeds_needed} seeds would show it" in found.sentences[0]


def test_data_without_boxes_have_no_answer() -> None:
    empty = run(0, [0.1], num_boxes=0)
    scores = empty.scores.model_copy(update={"ap": None})
    nothing = [type(empty)(seed=seed, scores=scores) for seed in range(3)]
    found = gain({"plain": nothing, "distilled": nothing})
    assert found.contrasts[0].change is None
    assert "no AP" in found.sentences[0]
