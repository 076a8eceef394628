"""How tests use the machine, and where they find what lies outside the repository."""

import os
from pathlib import Path

import pytest
import torch

# Several test processes on a few cores: threads that wait for each other's turn cost more than they bring.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FGD_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture
def shared() -> Path:
    """Reference numbers and real data, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference numbers and real data at {SHARED}; set FGD_SHARED to their folder")
    return SHARED
