"""Builds a wheel and installs it with each extra in an empty environment.

    python -m benchmarks.installing [client runtime workers service all] [--out benchmarks/results]

Tells for each extra the megabytes and seconds of its installation, and in how many seconds its first command answers.
It downloads packages with pip's own settings. Run it alone: times depend on what else runs, and on the network.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
# Extra -> the first command of its user; "{python}" and "{fgd}" are those of the environment.
FIRST_COMMANDS: Mapping[str, Sequence[str]] = {
    "client": ("{fgd}", "--help"),
    "runtime": ("{fgd}", "predict", "--help"),
    "workers": ("{python}", "-m", "fgd_core", "--help"),
    "service": ("{fgd}", "catalogue"),
    "all": ("{fgd}", "up", "--help"),
}


class Installed(NamedTuple):
    """What an installation took."""

    megabytes: float
    """Of the environment's packages, without pip."""
    took_s: float


class Environment:
    """A new virtual environment in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        self._empty_bytes = self._size_bytes()

    def command(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self._folder / "bin" / name)

    def install(self, wheel: Path, extra: str) -> Installed:
        """Install a wheel with an extra."""
        began_s = time.perf_counter()
        self.add(f"{wheel}[{extra}]")
        took_s = time.perf_counter() - began_s
        return Installed((self._size_bytes() - self._empty_bytes) / 1e6, took_s)

    def add(self, package: str) -> None:
        """Install a package with pip."""
        subprocess.run([self.command("pip"), "install", "-qq", "--disable-pip-version-check", package], check=True)

    def has(self, package: str) -> bool:
        """Check whether a package can be imported."""
        command = [self.command("python"), "-c", f"import {package}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def _size_bytes(self) -> int:
        return sum(path.lstat().st_size for path in self._folder.rglob("*") if path.is_file())


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this repository with `python -m build`, in an environment of its own."""
    environment = Environment(folder / "building")
    environment.add("build")
    command = [environment.command("python"), "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("fgd-*.whl")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", default=[*FIRST_COMMANDS], help=f"of {', '.join(FIRST_COMMANDS)}")
    parser.add_argument("--out", type=Path, help="folder for installing.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        began_s = time.perf_counter()
        wheel = build_wheel(Path(name))
        rows = [f"| the wheel, built | {wheel.stat().st_size / 1e6:.2f} | {time.perf_counter() - began_s:.1f} | |"]
        rows += [_measure(wheel, extra, Path(name) / extra) for extra in options.extras]
    page = "\n".join([*_head(), *rows, ""])
    print(page)
    if options.out is not None:
        (options.out / "installing.md").write_text(page)


def _head() -> list[str]:
    return [
        "# What an installation takes",
        "",
        f"`python -m benchmarks.installing` on {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores. Packages are downloaded as pip is set; "
        "PyTorch's default wheels for Linux bring CUDA, which is nearly all of `workers` and `all`.",
        "",
        "| extra | MB | seconds | first command |",
        "|---|---|---|---|",
    ]


def _measure(wheel: Path, extra: str, folder: Path) -> str:
    environment = Environment(folder)
    installed = environment.install(wheel, extra)
    programs = {"python": environment.command("python"), "fgd": environment.command("fgd")}
    command = [word.format(**programs) for word in FIRST_COMMANDS[extra]]
    began_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    took_s = time.perf_counter() - began_s
    words = " ".join(FIRST_COMMANDS[extra]).replace("{", "").replace("}", "")
    result = "works" if done.returncode == 0 else f"FAILS: {done.stderr.strip()[-300:]}"
    return f"| `{extra}` | {installed.megabytes:.0f} | {installed.took_s:.0f} | `{words}` {result} in {took_s:.1f} s |"


if __name__ == "__main__":
    main()
