"""Predictions of what a training will reach, made from earlier trainings and from its own first epochs."""

from typing import Literal, TypeAlias

from fgd_core.spec.base import Fact

PREDICTED_KINDS = ("train", "distill")
"""The kinds of jobs that are predicted."""
LEVEL = 0.8
"""The probability with which a predicted interval should hold."""
SMALLEST_GAIN = 0.01
"""A smaller gain in AP, from 0 to 1, is taken for none."""

GainVerdict: TypeAlias = Literal["will_help", "open", "will_not_help"]
"""`will_help`: the interval of the gain is above 0. `will_not_help`: it is below `SMALLEST_GAIN`."""
Moment: TypeAlias = Literal["submission", "first_tenth", "now"]
"""When a prediction is made. `first_tenth`: at the first evaluation after a tenth of the epochs."""


class PredictedValue(Fact):
    """A predicted AP, or a predicted gain in AP, from 0 to 1, with its 80 % interval."""

    mean: float
    low: float
    high: float


class PredictionBasis(Fact):
    """The trainings that a prediction is made from."""

    same_configuration: int
    """Finished runs that differ only in the seed."""
    plain: int
    """Finished runs of the same detector, data and training without distillation."""
    other_methods: int
    """Finished runs of the same detector, data and training with another distillation."""
    same_data: int
    """Finished runs of other detectors or trainings on the same data."""
    trained: float
    """The part of its own epochs that the prediction knows, from 0 to 1."""
    ap_so_far: float | None
    """The best AP in this part; None before the first evaluation."""
    teacher_ap: float | None
    """None if there is no teacher, or if its AP on this data is unknown."""


class Prediction(Fact):
    """What a training was predicted to reach at one moment."""

    moment: Moment
    own: PredictedValue
    """The final AP of this run."""
    plain: PredictedValue | None
    """The final AP of the same detector without distillation; None for a run that does not distil."""
    gain: PredictedValue | None
    """The mean gain of the distillation over many seeds; None for a run that does not distil."""
    verdict: GainVerdict | None
    """None for a run that does not distil."""
    basis: PredictionBasis
    sentence: str


class TrackRecord(Fact):
    """How earlier predictions on the same data compare with what the runs reached."""

    predictions: int
    """Finished runs, at most the newest 50, predicted at their first tenth from the runs on the same data that had
    ended before they started."""
    held: int
    """Number of runs whose final AP was inside the interval."""


class PredictionView(Fact):
    """GET /v1/jobs/{job_id}/prediction"""

    predictions: list[Prediction]
    """By moment. A moment that knows neither an earlier run on the same data nor an own evaluation has none."""
    reached: float | None
    """The final AP; None until the run has succeeded."""
    track_record: TrackRecord
    sentence: str
    """The newest prediction in words, or why there is none."""
