"""Compiles the passes in C for this machine's CPU, once, and loads them."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch

from fgd_core.cache_folder import cache_folder

SOURCE = Path(__file__).with_name("cpu_passes.c")
TILE = 512
"""Cells of a task: the parts of two maps with 256 channels fill half a cache of 2 MB in float32."""
REAL = {torch.float32: "float", torch.float64: "double"}
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-trapping-math", "-fPIC", "-shared")
_TIMEOUT_S = 60.0


@cache
def library(kind: torch.dtype) -> ctypes.CDLL | None:
    """Return the passes over maps of a type, which must be a key of `REAL`.

    The compiled file stays in the user's cache folder.

    Returns:
        None if PyTorch's operations must do the passes: there is no C compiler or no cache folder, the system is not
        Linux, or the compiler failed, which is a warning.
    """
    folder, compiler = cache_folder(), shutil.which("cc")
    if folder is None or compiler is None or sys.platform != "linux":
        return None
    command = [compiler, *_FLAGS, f"-DREAL={REAL[kind]}", f"-DTILE={TILE}", str(SOURCE)]
    built = folder / "passes" / f"{_key(command)}.so"
    try:
        if not built.exists():
            _compile(command, built)
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"losses run without their C kernels, which is slower: {error}", stacklevel=2)
        return None


def _key(command: list[str]) -> str:
    """Name what the compiled file depends on; nodes with other CPUs may share the folder."""
    about = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    cpu = [line for line in about if line.startswith(("model name", "flags", "Features", "CPU part"))]
    return hashlib.sha256(repr((command, cpu)).encode() + SOURCE.read_bytes()).hexdigest()[:24]


def _compile(command: list[str], built: Path) -> None:
    """Compile into a file of another name first: other processes may compile the same, and must not load a half."""
    built.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(suffix=".so", dir=built.parent)
    os.close(handle)
    try:
        subprocess.run([*command, "-o", part], check=True, capture_output=True, timeout=_TIMEOUT_S)
        Path(part).replace(built)
    finally:
        Path(part).unlink(missing_ok=True)
