"""Where PyTorch's compiler fails, the run fails by the compiler's name; where it runs, it runs a few times only."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from fgd_core.detectors import build_detector
from fgd_core.errors import CompilerError
from fgd_core.methods.fgd import FGDLoss
from fgd_core.training.compiling import compiler_errors_named
from tests.library import train_spec
from tests.tiers import slow

RUN = """
import sys
from pathlib import Path

from fgd_core.runs import execute
from tests.library import RecordingContext, train_spec

finished = execute(train_spec(training={"compile": True}), RecordingContext(Path(sys.argv[1])))
assert finished.error is not None, finished
assert finished.error.code == "compiler", finished.error
assert "set training.compile to false" in finished.error.message
assert "/nonexistent" in finished.error.details["cause"]
"""


def test_an_error_of_the_compiler_names_the_setting_to_change() -> None:
    def fails(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> NoReturn:
        raise OSError("there is no /nonexistent")

    with pytest.raises(CompilerError, match=r"set training\.compile to false") as caught, compiler_errors_named():
        torch.compile(torch.neg, backend=fails)(torch.ones(1))
    assert "/nonexistent" in str(caught.value.details["cause"])


@slow("tests/training/test_compiling.py::test_an_error_of_the_compiler_names_the_setting_to_change")
def test_without_a_c_compiler_a_run_on_the_cpu_names_the_setting_to_change(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    # The compiler reads the variables when it is loaded; an empty cache has no code from before.
    environment = {**os.environ, "CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], cwd=repository, env=environment, check=True)


def test_after_a_few_image_sizes_nothing_is_compiled_again() -> None:
    student = build_detector(train_spec().detector, 3)
    loss = FGDLoss(8, 8, alpha=1e-3, beta=5e-4, gamma=5e-4, lambda_=5e-6, temperature=0.5)
    counter = CompileCounter()
    features = torch.compile(student.features, backend=counter)
    loss.compile_sums(counter)

    def compilations(*sizes: tuple[int, int]) -> int:
        before = counter.frame_count
        for size in sizes:
            maps = features(torch.randn(2, 3, *size))[0]
            loss.compare(maps, maps.detach(), [torch.zeros(0, 4)] * 2, [size] * 2, size)
        return counter.frame_count - before

    assert 2 <= compilations((64, 96), (96, 64), (96, 128)) <= 6
    assert compilations((128, 128), (96, 160), (160, 96), (128, 192), (64, 96)) == 0
