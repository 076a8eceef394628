"""Triton's kernels against the passes that they replace: in Triton's interpreter, and as code for a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fgd_core.methods.parts import map_passes, passes_for, tile_kernels

REPOSITORY = Path(__file__).parents[2]
H200 = GPUTarget("cuda", 90, 32)
POINTERS = {
    "scan_kernel": ["features", "weight", "cells", "scores", "parts"],
    "compare_kernel": ["student", "teacher", "columns", "rows", "weighed", "parts"],
    "project_kernel": ["features", "slope", "along"],
    "gradient_kernel": ["student", "teacher", "gradient", "columns", "rows", "parts"],
}
MAPS = {"features", "student", "teacher", "gradient"}
"""These are bfloat16, all others float32."""


def test_kernels_give_the_loss_and_the_gradients_of_the_paper() -> None:
    command = [sys.executable, "-m", "tests.methods.interpreted_kernels"]
    subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=REPOSITORY, check=True)


@pytest.mark.parametrize("name", POINTERS)
def test_kernels_compile_to_code_for_an_h200(name: str) -> None:
    kernel = getattr(tile_kernels, name)
    constants = {"BLOCK_C": 64, "BLOCK_K": 64}
    signature = {
        each: "constexpr"
        if each in constants
        else f"*{'bf16' if each in MAPS else 'fp32'}"
        if each in POINTERS[name]
        else "i32"
        for each in kernel.arg_names
    }
    built = triton.compile(ASTSource(kernel, signature, constants), target=H200)
    assert len(built.asm["cubin"]) > 0


def test_where_triton_cannot_run_a_kernel_operations_do_the_passes() -> None:
    with pytest.warns(UserWarning, match="without its Triton kernels"):
        assert passes_for.kernels_on(torch.device("cpu")) is map_passes  # Triton has no driver for a CPU
