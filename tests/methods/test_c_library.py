"""The passes in C: used where they fit; where they cannot be built, operations do the passes."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from fgd_core.cache_folder import VARIABLE
from fgd_core.methods.parts import c_library, cpu_passes, map_passes, passes_for

MAP = torch.zeros(1, 2, 3)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache folder, and a library that no test has loaded before."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cpu_passes, "library", c_library.library.__wrapped__)


def test_maps_in_one_piece_are_read_by_functions_in_c(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    assert passes_for.passes_for(MAP) is cpu_passes
    assert passes_for.passes_for(MAP.expand(2, 2, 3)) is map_passes
    assert passes_for.passes_for(MAP.bfloat16()) is map_passes
    # One file, which the second call has found again.
    assert len(list((tmp_path / "cache" / "passes").iterdir())) == 1


@pytest.mark.parametrize("missing", ["compiler", "folder"])
def test_without_a_compiler_or_a_cache_folder_operations_do_the_passes(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "compiler":
        monkeypatch.setattr(shutil, "which", lambda _: None)
    else:
        monkeypatch.setenv(VARIABLE, "off")
    assert passes_for.passes_for(MAP) is map_passes


def test_a_compiler_that_fails_is_a_warning_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/cc")
    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.warns(UserWarning, match="without their C kernels"):
        assert passes_for.passes_for(MAP) is map_passes
    assert list((tmp_path / "cache" / "passes").iterdir()) == []


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    features, before = torch.randn(1, 40, 3000, generator=torch.Generator().manual_seed(0)), torch.get_num_threads()
    assert cpu_passes.fit(features) or shutil.which("cc") is None
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(passes_for.passes_for(features).scan(features, features[0, :, 0]))
    finally:
        torch.set_num_threads(before)
    assert all(one.equal(other) for one, other in zip(*found, strict=True))
