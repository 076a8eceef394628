from pathlib import Path

import pytest
from function_trials import Memory


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path)
