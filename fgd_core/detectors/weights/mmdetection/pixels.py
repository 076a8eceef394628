"""Finds how a network of mmdetection expects its images, and converts its first convolution to fgd's images.

fgd's images are RGB, normalised with ImageNet's mean and standard deviation, as in most networks of mmdetection.
Networks of the `caffe` style were trained on BGR images that are not divided by a deviation.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_THREE = r"[\[(]\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*,?\s*[\])]"


class Pixels(NamedTuple):
    """Describes a normalisation of images, for values of 0 to 255 and in the network's order of channels."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    is_bgr: bool

    def __str__(self) -> str:
        return f"{'BGR' if self.is_bgr else 'RGB'}, mean {list(self.mean)}, std {list(self.std)}"


OURS = Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), is_bgr=False)
CAFFE = Pixels((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), is_bgr=True)


def pixels_from_config(config: str) -> Pixels | None:
    """Read the normalisation from the text of a configuration; None if the text does not contain it."""
    mean = re.search(rf"\bmean\s*=\s*{_THREE}", config)
    std = re.search(rf"\bstd\s*=\s*{_THREE}", config)
    converts = re.search(r"(?:to_rgb|bgr_to_rgb)\s*=\s*(True|False)", config)
    if mean is None or std is None or converts is None:
        return None
    return Pixels(_numbers(mean), _numbers(std), is_bgr=converts[1] == "False")


def pixels_from_preprocessor(tensors: Mapping[str, Tensor]) -> Pixels | None:
    """Read the normalisation from a saved preprocessor, mean and std (3, 1, 1); None if there is none.

    A preprocessor does not store the order of the channels. ImageNet's mean is highest in red. Equal means count as
    RGB.
    """
    found = {
        name: next((value for key, value in tensors.items() if key.endswith(f"data_preprocessor.{name}")), None)
        for name in ("mean", "std")
    }
    mean, std = found["mean"], found["std"]
    if mean is None or std is None or mean.numel() != 3 or std.numel() != 3:
        return None
    first, middle, last = (round(value, 4) for value in mean.flatten().tolist())
    deviations = tuple(round(value, 4) for value in std.flatten().tolist())
    return Pixels((first, middle, last), (deviations[0], deviations[1], deviations[2]), is_bgr=first < last)


def style_from_config(config: str) -> str | None:
    """Read from a configuration which convolution of a bottleneck strides: `pytorch` or `caffe`; None if missing."""
    match = re.search(r"style\s*=\s*['\"](pytorch|caffe)['\"]", config)
    return match[1] if match is not None else None


def fold_into_first_conv(weight: Tensor, source: Pixels) -> tuple[Tensor, Tensor]:
    """Convert the first convolution from mmdetection's images to fgd's.

    If the means are equal, the result is exact, also at the border, because padding is zero in both. If they differ, a
    constant must be added to the output: then the result is exact except where the convolution covers padding.

    Args:
        weight: (C, 3, k, k), without bias.
        source: the normalisation of the network's images.
    Returns:
        The weight (C, 3, k, k), and (C,) to add to its output.
    """
    order = [2, 1, 0] if source.is_bgr else [0, 1, 2]
    exact = weight.double()[:, order]  # (C, 3, k, k) in fgd's channel order
    mean, std = (torch.tensor(values, dtype=torch.float64)[order] for values in (source.mean, source.std))
    ours_mean, ours_std = (torch.tensor(values, dtype=torch.float64) for values in (OURS.mean, OURS.std))
    # value_theirs = (value_ours * ours_std + ours_mean - mean) / std
    added = (exact * ((ours_mean - mean) / std)[:, None, None]).sum((1, 2, 3))
    folded = exact * (ours_std / std)[:, None, None]
    return folded.to(weight.dtype), added.to(weight.dtype)


def _numbers(match: re.Match[str]) -> tuple[float, float, float]:
    return float(match[1]), float(match[2]), float(match[3])
