import subprocess
import sys


def test_the_control_plane_loads_neither_torch_nor_ray() -> None:
    code = (
        "import service.loggers.tensorboard, service.server.app, sys; "
        "print([m for m in ('torch', 'torchvision', 'ray', 'workers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
