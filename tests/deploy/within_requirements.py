"""Imports modules with no more packages than one installation of fgd has. Runs in a separate process.

python -m tests.deploy.within_requirements service|workers|client

`service` and `workers` are the two images; `client` is `pip install fgd[client]`.
"""

import importlib
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence, Set
from importlib import metadata
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder, packages_distributions
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = {
    "service": ("service", "migrations", "fgd_core.spec", "fgd_core.errors"),
    "workers": ("workers", "fgd_core"),
    "client": ("service.client", "fgd_core.spec", "fgd_core.errors"),
}
"""The modules that each installation runs; all of them are installed everywhere. Alembic runs `migrations.env`;
`service.client.optuna_export` needs the extra `optuna`, `service.client.recomputing` NumPy and SciPy,
`service.loggers.wandb` the package of W&B."""
NOT_USED = {"service": ("workers",), "workers": ("service", "migrations"), "client": ("workers", "migrations")}
NOT_BY_IMPORT = (
    *("migrations.env", "service.client.optuna_export", "service.client.recomputing"),
    "service.loggers.wandb",
)


class Withheld(DistributionFinder):
    """Finds modules on the path, except those of distributions that are not in `installed`, and of `other_parts`."""

    def __init__(self, installed: Set[str], other_parts: Sequence[str]) -> None:
        self._installed = installed
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
    """Keep this process from importing what the installation lacks."""
    finder = Withheld(installed(image), NOT_USED[image])
    sys.meta_path[:] = [each for each in sys.meta_path if each in (BuiltinImporter, FrozenImporter)] + [finder]


def _is_vendored(name: str) -> bool:
    """Ray brings some packages of others along, and puts their folder first on the path."""
    found = PathFinder.find_spec(name.partition(".")[0])
    return found is not None and "thirdparty_files" in str(found.origin)


def installed(image: str) -> Set[str]:
    """Return the normalised names of all distributions that the image, or the extra `client`, brings."""
    if image != "client":
        return {canonicalize_name(each.name) for each in pinned(REPOSITORY / "deploy" / f"requirements-{image}.txt")}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    todo = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["client"])]
    while todo:
        name = canonicalize_name(todo.pop().name)
        if name in found:
            continue
        found.add(name)
        needs = [Requirement(line) for line in metadata.distribution(name).requires or ()]
        todo += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


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


def use_client() -> None:
    """Load every command of `fgd` that does not start or open a server."""
    from service.client.cli import COMMANDS, load

    for name, row in COMMANDS.items():
        if row.module.startswith("service.client."):
            load(name)
    ours = {name for name in sys.modules if name.startswith("service.")}
    allowed = ("client", "jobs", "catalogue", "reports", "compare", "loopback", "certificates")
    assert all(name.split(".")[1] in allowed for name in ours), ours


def _raise(name: str) -> None:
    raise ImportError(f"cannot import {name}")


def main(image: str) -> None:
    withhold(image)
    names = imported(PARTS[image])
    if image == "service":
        use_service()
        heavy = {"torch", "torchvision", "ray", "optuna", "workers"} & set(sys.modules)
        assert not heavy, heavy
    if image == "client":
        use_client()
    print(len(names))


if __name__ == "__main__":
    main(sys.argv[1])
