"""Each image holds what its modules import: all of them, with no package beyond those of its requirements file."""

import subprocess
import sys

import pytest

from tests.deploy.within_requirements import REPOSITORY


@pytest.mark.parametrize(("image", "at_least"), [("service", 150), ("workers", 100)])
def test_every_module_of_an_image_can_be_imported_and_used_with_its_requirements(image: str, at_least: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.within_requirements", image],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= at_least


def test_what_an_image_lacks_cannot_be_imported_there() -> None:
    """The check itself: a package of the other image is withheld."""
    code = "from tests.deploy.within_requirements import withhold; withhold('service'); import optuna"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "No module named 'optuna'" in done.stderr
