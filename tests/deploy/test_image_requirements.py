"""Each installation (two images, the client alone) has the packages that all of its modules import."""

import subprocess
import sys

import pytest

from tests.deploy.within_requirements import REPOSITORY


@pytest.mark.parametrize(("image", "at_least"), [("service", 150), ("workers", 100), ("client", 60)])
def test_every_module_imports_with_the_packages_of_its_installation(image: str, at_least: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.within_requirements", image],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= at_least


@pytest.mark.parametrize(("image", "package"), [("service", "optuna"), ("client", "numpy")])
def test_a_missing_package_cannot_be_imported(image: str, package: str) -> None:
    """Tests the check itself."""
    code = f"from tests.deploy.within_requirements import withhold; withhold('{image}'); import {package}"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert f"No module named '{package}'" in done.stderr
