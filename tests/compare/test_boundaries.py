"""Where the statistics live, and where they do not."""

import subprocess
import sys


def loaded(module: str) -> set[str]:
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


class TestImports:
    def test_the_server_compares_without_numpy_and_scipy(self) -> None:
        assert loaded("service.server.app") & {"numpy", "scipy", "torch", "ray"} == set()

    def test_the_comparing_process_needs_no_torch(self) -> None:
        assert loaded("service.compare.assembly") & {"torch", "pycocotools", "ray"} == set()
