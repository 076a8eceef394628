import subprocess
import sys


def test_the_control_plane_loads_neither_torch_nor_ray() -> None:
    code = (
        "import service.loggers.tensorboard, service.server.app, sys; "
        "print([m for m in ('torch', 'torchvision', 'ray', 'workers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_statistics_do_not_load_scipy_stats() -> None:
    # Its import takes longer than a comparison, and somebody waits for the answer.
    code = (
        "import service.compare.assembly, service.compare.sweeps.report, sys; "
        "print([m for m in ('scipy.stats', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
