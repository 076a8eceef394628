"""What an attempt records about its code."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fgd_core
from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.provenance import ProvenanceRecorded

ROOT = Path(fgd_core.__file__).parents[1]
PRINTS = (
    "import pathlib, fgd_core.provenance as p\n"
    "for event in p.record_provenance(pathlib.Path('out')): print(event.model_dump_json())"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with the code of the library and of the workers."""
    for package in ("fgd_core", "workers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "code")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def recorded(folder: Path) -> tuple[ProvenanceRecorded, ArtifactSaved | None]:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *rest = done.stdout.splitlines()
    return ProvenanceRecorded.model_validate_json(first), ArtifactSaved.model_validate_json(rest[0]) if rest else None


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
class TestCode:
    def test_of_a_clean_checkout_is_its_revision(self, checkout: Path) -> None:
        event, changes = recorded(checkout)
        assert (event.code.revision, event.code.changes_sha256, changes) == (
            git(checkout, "rev-parse", "HEAD"),
            None,
            None,
        )
        assert {"torch", "numpy", "pydantic"} <= set(event.packages)

    def test_with_changes_and_new_files_can_be_rebuilt_from_its_record(self, checkout: Path) -> None:
        clean, _ = recorded(checkout)
        with (checkout / "fgd_core" / "boxes.py").open("a") as file:
            file.write("\nCHANGED = True\n")
        (checkout / "workers" / "new.py").write_text("NEW = True\n")
        event, changes = recorded(checkout)
        assert changes is not None and event.code.sha256 != clean.code.sha256
        diff = (checkout / "out" / "code.diff").read_bytes()
        assert event.code.changes_sha256 == changes.sha256 == hashlib.sha256(diff).hexdigest()
        (checkout / "workers" / "new.py").unlink()
        git(checkout, "checkout", "--quiet", ".")
        git(checkout, "apply", "out/code.diff")
        assert recorded(checkout)[0].code.sha256 == event.code.sha256

    def test_inside_another_projects_checkout_has_no_revision(self, checkout: Path) -> None:
        inner = checkout / "site-packages"
        inner.mkdir()
        for package in ("fgd_core", "workers"):
            (checkout / package).rename(inner / package)
        event, changes = recorded(inner)
        assert (event.code.revision, changes) == (None, None)
