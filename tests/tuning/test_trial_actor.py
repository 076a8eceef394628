import subprocess
import sys


def test_an_actor_loads_nothing_of_the_driver() -> None:
    """Each actor of a sweep would load it before its first trial, for a second of each core."""
    code = "import sys, workers.tuning.trial_actor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "workers.tuning.trial_worker" in loaded
    assert not {"workers.tuning.driver", "workers.tuning.study", "optuna", "scipy", "torch"} & set(loaded)
