"""Rules about imports that a test can check."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import (
    Module,
    cycles_of,
    except_exceptions,
    file_imports,
    folder_cycles,
    read_modules,
    uses_of_any,
    without_docstring,
    without_shape,
)

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_import_keeps_the_contracts() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "0 broken" in found.stdout


def test_importing_the_library_loads_no_other_module() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; before = set(sys.modules); import fgd_core; print(set(sys.modules) - before)",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.strip() == "{'fgd_core'}"


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return read_modules(REPOSITORY)


class TestFigures:
    """Limits for the figures of `python -m tests.house`; a change that crosses one needs a reason."""

    def test_no_files_or_folders_import_each_other_in_a_circle(self, modules: dict[str, Module]) -> None:
        imports = file_imports(modules)
        assert cycles_of(imports) == []
        assert folder_cycles(imports) == []

    def test_few_handlers_catch_every_exception(self, modules: dict[str, Module]) -> None:
        assert len(except_exceptions(modules.values())) <= 6, except_exceptions(modules.values())

    def test_any_is_rare(self, modules: dict[str, Module]) -> None:
        assert len(uses_of_any(modules.values())) <= 160

    def test_public_classes_and_functions_have_docstrings(self, modules: dict[str, Module]) -> None:
        missing, total = without_docstring(modules)
        assert len(missing) <= 0.05 * total, missing

    def test_functions_on_tensors_name_shapes(self, modules: dict[str, Module]) -> None:
        missing, total = without_shape(modules)
        assert len(missing) <= 0.1 * total, missing
