"""How a network of mmdetection wants its images, and its first convolution made to take ours.

Ours are RGB, less ImageNet's mean and over its deviation. So are those of most networks there; those of the `caffe`
style were trained on BGR that is not divided by anything.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_THREE = r"[\[(]\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*,?\s*[\])]"


class Pixels(NamedTuple):
    """What is done to images before the network, in values of 0 to 255 and in the network's order of channels."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    is_bgr: bool

    def __str__(self) -> str:
        return f"{'BGR' if self.is_bgr else 'RGB'}, mean {list(self.mean)}, std {list(self.std)}"


OURS = Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), is_bgr=False)
CAFFE = Pixels((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), is_bgr=True)


def pixels_from_config(config: str) -> Pixels | None:
    """What the text of a configuration says of its images; None where it does not."""
    mean = re.search(rf"\bmean\s*=\s*{_THREE}", config)
    std = re.search(rf"\bstd\s*=\s*{_THREE}", config)
    converts = re.search(r"(?:to_rgb|bgr_to_rgb)\s*=\s*(True|False)", config)
    if mean is None or std is None or converts is None:
        return None
    return Pixels(_numbers(mean), _numbers(std), is_bgr=converts[1] == "False")


def pixels_from_preprocessor(tensors: Mapping[str, Tensor]) -> Pixels | None:
    """What a preprocessor that was saved with the weights does to images; None where there is none.

    It does not say the order of the channels: ImageNet's mean is highest in red, and equal means fit RGB.
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
    """`pytorch` or `caffe`: which convolution of a bottleneck strides; None where the text does not say it."""
    match = re.search(r"style\s*=\s*['\"](pytorch|caffe)['\"]", config)
    return match[1] if match is not None else None


def fold_into_first_conv(weight: Tensor, theirs: Pixels) -> tuple[Tensor, Tensor]:
    """The first convolution, made to take our images where it took theirs.

    Exact where the means are the same, at the border too, for padding is zero in both. Where they differ, a constant
    remains: exact inside the image, and off by it where the convolution sees padding.

    Args:
        weight: (C, 3, k, k), without bias.
    Returns:
        The weight, and (C,) what is to be added to its output.
    """
    order = [2, 1, 0] if theirs.is_bgr else [0, 1, 2]
    exact = weight.double()[:, order]  # by our channels
    mean, std = (torch.tensor(values, dtype=torch.float64)[order] for values in (theirs.mean, theirs.std))
    ours_mean, ours_std = (torch.tensor(values, dtype=torch.float64) for values in (OURS.mean, OURS.std))
    # value_theirs = (value_ours * ours_std + ours_mean - mean) / std
    added = (exact * ((ours_mean - mean) / std)[:, None, None]).sum((1, 2, 3))
    folded = exact * (ours_std / std)[:, None, None]
    return folded.to(weight.dtype), added.to(weight.dtype)


def _numbers(match: re.Match[str]) -> tuple[float, float, float]:
    return float(match[1]), float(match[2]), float(match[3])
