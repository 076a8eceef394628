"""Why distilling can help: with the true class probabilities the risk varies less than with one-hot labels.

Source: arXiv:2005.10419 §3, on a mixture of two normal distributions, whose class probabilities are known.
"""

import numpy as np
import numpy.typing as npt

DRAWS, SIZE = 2000, 50
_Array = npt.NDArray[np.float64]


def probability(x: _Array) -> _Array:
    """The true probability of class 1, for equal classes at -1 and +1 with the deviation 1."""
    return 1 / (1 + np.exp(-2 * x))


def losses(x: _Array) -> tuple[_Array, _Array]:
    """Cross-entropy of a fixed, imperfect model for the classes 0 and 1."""
    found = 1 / (1 + np.exp(-(0.8 * x + 0.3)))
    return -np.log1p(-found), -np.log(found)


def risk(x: _Array, weight_of_one: _Array) -> _Array:
    """(DRAWS,) mean loss of each sample, if class 1 has this weight."""
    zero, one = losses(x)
    return np.mean(weight_of_one * one + (1 - weight_of_one) * zero, axis=1)


class TestVariance:
    dice = np.random.default_rng(0)
    labels = dice.integers(2, size=(DRAWS, SIZE)).astype(float)
    x = dice.normal(size=(DRAWS, SIZE)) + 2 * labels - 1
    one_hot, bayes = risk(x, labels), risk(x, probability(x))
    true_risk = float(bayes.mean())

    def test_true_probabilities_estimate_the_same_risk_with_less_variance(self) -> None:
        assert abs(self.one_hot.mean() - self.true_risk) < 4 * self.one_hot.std() / np.sqrt(DRAWS)
        # The difference is the variance of the labels given x, here nearly half of the whole.
        assert self.bayes.var() < 0.8 * self.one_hot.var()

    def test_the_error_with_a_teacher_is_its_variance_and_the_square_of_its_bias(self) -> None:
        for shift in (0.0, 0.5, 2.0):
            p = probability(self.x + shift)
            taught = risk(self.x, p)
            error = np.mean((taught - self.true_risk) ** 2)
            zero, one = losses(self.x)
            # Cauchy and Schwarz: the bias is at most E|p - p*| |difference of the losses|.
            bias = np.sqrt(np.mean((p - probability(self.x)) ** 2) * np.mean((one - zero) ** 2))
            assert error <= taught.var() + bias**2 + 1e-12

    def test_a_badly_calibrated_teacher_is_worse_than_labels(self) -> None:
        def error(shift: float) -> float:
            return float(np.mean((risk(self.x, probability(self.x + shift)) - self.true_risk) ** 2))

        from_labels = float(np.mean((self.one_hot - self.true_risk) ** 2))
        assert error(0.0) < error(0.1) < from_labels < error(2.0)
