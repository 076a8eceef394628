"""One seed for all that is drawn, and the state of the generators on disk."""

import torch
from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seed PyTorch's generators on every device. Data order and augmentation have generators of their own."""
    torch.manual_seed(seed)


def generator_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
