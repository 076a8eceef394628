"""Whether the temperature of FGD's attention suits a teacher, over all of its levels: there is one for all of them."""

from collections.abc import Mapping
from statistics import median_low

import torch
from torch import Tensor

from fgd_core.methods.fgd import attention

# Below this share of channels attended to, most of the teacher's map is not imitated at all.
_MIN_ATTENDED_SHARE = 0.1


@torch.no_grad()
def advise_temperature(temperature: float, maps: Mapping[str, Tensor]) -> str | None:
    """One temperature for all levels, where another than this spreads the attention on more of them; else None.

    Args:
        maps: of the teacher, by level: (N, C, H, W).
    """
    maps = {level: features.float() for level, features in maps.items()}
    magnitudes = {level: features.abs().mean().item() for level, features in maps.items()}
    narrow = _narrow(maps, temperature)
    # A level whose features are far larger than the others' must not decide: its temperature would flatten theirs.
    better = float(f"{median_low(magnitudes.values()):.2g}") if magnitudes else temperature
    still_narrow = _narrow(maps, better) if better > 0 else narrow
    if len(still_narrow) >= len(narrow):
        return None
    listed = ", ".join(f"{level} {share:.0%}" for level, share in narrow.items())
    advice = (
        f"at temperature {temperature:g} the attention falls on few of the teacher's channels ({listed}); set "
        f"method.temperature to {better:g}, the median magnitude of its features over the levels"
    )
    if still_narrow:
        apart = ", ".join(f"{level} ({magnitudes[level]:.2g})" for level in still_narrow)
        advice += f"; leave {apart} as it is: what suits it would flatten the other levels"
    return advice


def _narrow(maps: Mapping[str, Tensor], temperature: float) -> dict[str, float]:
    """The levels whose attention falls on few channels, and on which share."""
    shares = {level: _attended_share(features, temperature) for level, features in maps.items()}
    return {level: share for level, share in shares.items() if share < _MIN_ATTENDED_SHARE}


def _attended_share(features: Tensor, temperature: float) -> float:
    """The participation ratio: 1 where all channels count the same, 1 / C where one has all the attention."""
    _, channel = attention(features, temperature)
    return float((1 / channel.square().mean(1)).mean())
