"""What the server and its statistics do not load, because its import takes longer than most answers."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("service.loggers.tensorboard, service.server.app", ("torch", "torchvision", "ray", "workers")),
        # Somebody waits for the answer of this process.
        ("service.compare.assembly, service.compare.sweeps.report", ("scipy.stats", "torch")),
    ],
    ids=["the control plane", "the statistics"],
)
def test_loads_nothing_heavy(modules: str, heavy: tuple[str, ...]) -> None:
    code = f"import {modules}, sys; print([each for each in {heavy!r} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
