"""Checks whether the temperature of FGD's attention suits a teacher; all levels share one temperature."""

from collections.abc import Mapping
from statistics import median_low

import torch
from torch import Tensor

from fgd_core.methods.parts.attention import attention

# Below this share of attended channels, the student does not imitate most of the teacher's map.
_MIN_ATTENDED_SHARE = 0.1


@torch.no_grad()
def advise_temperature(temperature: float, maps: Mapping[str, Tensor]) -> str | None:
    """Advise another temperature if it spreads the attention over more channels on more levels; else None.

    Args:
        maps: of the teacher, by level: (N, C, H, W).
    """
    maps = {level: features.float() for level, features in maps.items()}
    magnitudes = {level: features.abs().mean().item() for level, features in maps.items()}
    narrow = _narrow(maps, temperature)
    # The median, because a level with far larger features would set a temperature that flattens the other levels.
    better = float(f"{median_low(magnitudes.values()):.2g}") if magnitudes else temperature
    still_narrow = _narrow(maps, better) if better > 0 else narrow
    if len(still_narrow) >= len(narrow):
        return None
    listed = ", ".join(f"{level} {share:.0%}" for level, share in narrow.items())
    advice = (
        f"at temperature {temperature:g} the attention covers only few of the teacher's channels ({listed}); set "
        f"method.temperature to {better:g}, the median magnitude of the teacher's features over the levels"
    )
    if still_narrow:
        others = ", ".join(f"{level} ({magnitudes[level]:.2g})" for level in still_narrow)
        advice += f"; ignore {others}: a temperature for it would flatten the other levels"
    return advice


def _narrow(maps: Mapping[str, Tensor], temperature: float) -> dict[str, float]:
    """Find the levels (N, C, H, W) whose attention covers few channels, with the share of channels."""
    shares = {level: _attended_share(features, temperature) for level, features in maps.items()}
    return {level: share for level, share in shares.items() if share < _MIN_ATTENDED_SHARE}


def _attended_share(features: Tensor, temperature: float) -> float:
    """Compute the participation ratio of (N, C, H, W): 1 if all channels get equal attention, 1 / C if one gets all."""
    _, channel = attention(features, temperature)
    return float((1 / channel.square().mean(1)).mean())
