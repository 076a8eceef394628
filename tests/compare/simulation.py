"""Evidence of detectors that were never there, whose true skill is therefore known."""

from collections.abc import Sequence

import numpy as np

from fgd_core.statistics.evidence import AREAS, NUM_OVERLAPS, Evidence


class Ground:
    """Images with boxes of some classes, as every detector is scored on."""

    def __init__(self, seed: int, *, num_images: int, boxes_per_class: Sequence[int]) -> None:
        rng = np.random.default_rng(seed)
        self.num_images = num_images
        self.boxes = [rng.integers(num_images, size=number) for number in boxes_per_class]
        # Some images are harder than others, for every detector: what pairing takes out.
        self.hardness = rng.uniform(0.6, 1.4, size=num_images)

    def detector(self, seed: int, skill: Sequence[float]) -> Evidence:
        """
        Args:
            skill: by class, the chance that a box is found at all; how well it is met varies by itself.
        """
        rng = np.random.default_rng(seed)
        image, scores, truth, right, starts = [], [], [], [], [0]
        truth_image, truth_count, truth_starts, numbered = [], [], [0], 0
        for boxes, chance in zip(self.boxes, skill, strict=True):
            overlaps = np.where(
                rng.random(len(boxes)) < chance * self.hardness[boxes], rng.integers(1, 11, len(boxes)), 0
            )
            alarms = rng.integers(self.num_images, size=len(boxes))
            score = np.concatenate([rng.normal(1, 1, len(boxes)), rng.normal(0, 1, len(alarms))])
            order = np.argsort(-score)
            image.append(np.concatenate([boxes, alarms])[order])
            scores.append(score[order])
            numbers = np.where(overlaps > 0, numbered + np.arange(len(boxes)), -1)
            truth.append(np.concatenate([numbers, np.full(len(alarms), -1)])[order])
            numbered += len(boxes)
            met = np.concatenate([overlaps, np.zeros(len(alarms), np.int64)])[order]
            hits = np.zeros((len(met), len(AREAS), NUM_OVERLAPS), np.bool_)
            # All boxes are small: of the areas, `all` and `small` count them.
            hits[:, :2] = (np.arange(NUM_OVERLAPS) < met[:, None])[:, None]
            right.append(np.packbits(hits.reshape(len(met), -1), axis=1))
            starts.append(starts[-1] + len(met))
            where, count = np.unique(boxes, return_counts=True)
            truth_image.append(where)
            truth_count.append(np.stack([count, count, 0 * count, 0 * count], axis=1))
            truth_starts.append(truth_starts[-1] + len(where))
        packed = np.concatenate(right)
        return Evidence(
            {
                "fingerprint": np.array("simulated"),
                "class_names": np.array([f"class {place}" for place in range(len(skill))]),
                "image_ids": np.arange(self.num_images),
                "starts": np.array(starts),
                "image": np.concatenate(image),
                "score": 1 / (1 + np.exp(-np.concatenate(scores))),
                "truth": np.concatenate(truth),
                "right": packed,
                "ignored": np.zeros_like(packed),
                "truth_starts": np.array(truth_starts),
                "truth_image": np.concatenate(truth_image),
                "truth_count": np.concatenate(truth_count),
            }
        )
