"""Runs as a process of its own: imports modules as an image would that holds no more than its requirements file names.

python -m tests.deploy.within_requirements service|workers
"""

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder, packages_distributions
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = {"service": ("service", "migrations", "fgd_core.spec", "fgd_core.errors"), "workers": ("workers", "fgd_core")}
"""What runs in each image, of the code that both hold. `migrations.env` is Alembic's to run, and does so in the use."""
NOT_USED = {"service": ("workers",), "workers": ("service", "migrations")}
NOT_BY_IMPORT = ("migrations.env",)


class Withheld(DistributionFinder):
    """Finds what lies on the path, but for what is not in the image."""

    def __init__(self, requirements: Path, other_parts: Sequence[str]) -> None:
        self._installed = {canonicalize_name(each.name) for each in pinned(requirements)}
        self._owners = packages_distributions()
        self._other_parts = other_parts

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        owners = {canonicalize_name(owner) for owner in self._owners.get(name.partition(".")[0], [])} - {"fgd"}
        is_lacking = bool(owners) and not owners & self._installed and not _is_vendored(name)
        if is_lacking or any(name == part or name.startswith(f"{part}.") for part in self._other_parts):
            return None
        return PathFinder.find_spec(name, path, target)

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        return MetadataPathFinder.find_distributions(context)


def withhold(image: str) -> None:
    """From now on this process imports nothing that the image lacks."""
    finder = Withheld(REPOSITORY / "deploy" / f"requirements-{image}.txt", NOT_USED[image])
    sys.meta_path[:] = [each for each in sys.meta_path if each in (BuiltinImporter, FrozenImporter)] + [finder]


def _is_vendored(name: str) -> bool:
    """Ray brings some packages of others along, and puts their folder first on the path."""
    found = PathFinder.find_spec(name.partition(".")[0])
    return found is not None and "thirdparty_files" in str(found.origin)


def pinned(requirements: Path) -> list[Requirement]:
    lines = re.findall(r"^([a-z0-9][^\\\n]*)", requirements.read_text(), re.MULTILINE | re.IGNORECASE)
    found = [Requirement(line.strip()) for line in lines]
    return [each for each in found if each.marker is None or each.marker.evaluate()]


def imported(parts: Sequence[str]) -> list[str]:
    """Imports all modules of these packages."""
    names: list[str] = []
    for part in parts:
        package = importlib.import_module(part)
        names.append(part)
        for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{part}.", onerror=_raise):
            if not module.name.endswith("__main__") and module.name not in NOT_BY_IMPORT:
                importlib.import_module(module.name)
                names.append(module.name)
    return names


def use_service() -> None:
    """The ways through the control plane that load more than its start does."""
    from service.client.cli import COMMANDS, load
    from service.compare.assembly import compare
    from service.reports.sweep_csv import render_sweep_csv
    from service.reports.sweep_html import render_sweep_html
    from tests.reports.recorded_sweeps import asha_study, sweep_report

    report = sweep_report(asha_study())
    assert report.importance is not None, "enough trials to compare"
    assert "Use the values of trial" in render_sweep_html(report)
    assert render_sweep_csv(report)
    assert callable(compare)
    for name in COMMANDS:
        load(name)


def _raise(name: str) -> None:
    raise ImportError(f"cannot import {name}")


def main(image: str) -> None:
    withhold(image)
    names = imported(PARTS[image])
    if image == "service":
        use_service()
        heavy = {"torch", "torchvision", "ray", "optuna", "workers"} & set(sys.modules)
        assert not heavy, heavy
    print(len(names))


if __name__ == "__main__":
    main(sys.argv[1])
