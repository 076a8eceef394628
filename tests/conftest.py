"""Where the tests find what lies outside the repository."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FGD_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture
def shared() -> Path:
    """Reference numbers and real data, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference numbers and real data at {SHARED}; set FGD_SHARED to their folder")
    return SHARED
