"""Records what a run consists of, besides its spec and its data: code, packages and machine."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from fgd_core.spec.events import ArtifactSaved
from fgd_core.spec.provenance import CODE_CHANGES, CodeVersion, MachineRecord, ProvenanceRecorded
from fgd_core.storage import write_atomically

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("fgd_core", "workers")
"""What a run executes; the code of the server changes no figure of a job."""
_GIT_TIMEOUT_S = 10.0


def record_provenance(folder: Path) -> Iterator[ProvenanceRecorded | ArtifactSaved]:
    """Yield the events that record what this process runs; changed code is written into `folder` as an artifact.

    Raises:
        StorageError: the file could not be written.
    """
    revision = _revision()
    changes = _changes() if revision is not None else b""
    written = write_atomically(folder / CODE_CHANGES, lambda file: file.write(changes)) if changes else None
    code = CodeVersion(
        version=package_version(),
        sha256=digest_of_code(),
        revision=revision,
        changes_sha256=written.sha256 if written is not None else None,
    )
    yield ProvenanceRecorded(code=code, machine=_machine(), packages=_installed())
    if written is not None:
        yield written.artifact("text/x-diff")


def package_version() -> str:
    """Return the version of the installed package; `not installed` for code that only lies on Python's path."""
    try:
        return metadata.version("fgd")
    except metadata.PackageNotFoundError:
        return "not installed"


@cache
def digest_of_code() -> str:
    """Return the SHA-256 of all source files of fgd."""
    digest = hashlib.sha256()
    for path in _files():
        digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    for package in _PACKAGES:
        yield from sorted((_ROOT / package).rglob("*.py"))


def _revision() -> str | None:
    # An installed package may lie inside the checkout of another project.
    if _git("rev-parse", "--show-toplevel") != f"{_ROOT}\n".encode():
        return None
    return (_git("rev-parse", "HEAD") or b"").decode().strip() or None


def _changes() -> bytes:
    """Return the changes since the revision, with the files that git does not know."""
    code = [f"{package}/*.py" for package in _PACKAGES]
    new = (_git("ls-files", "--others", "--exclude-standard", "-z", "--", *code) or b"").decode().split("\0")
    added = [_git("diff", "--no-index", "--", os.devnull, name, is_difference=True) for name in new if name]
    return b"".join(part for part in (_git("diff", "HEAD", "--", *code), *added) if part)


def _git(*arguments: str, is_difference: bool = False) -> bytes | None:
    """Run git in the folder of the code; None if git is missing or fails, for example outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # `git diff --no-index` exits with 1 if there is a difference.
    return done.stdout if done.returncode in ((0, 1) if is_difference else (0,)) else None


def _installed() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in metadata.distributions():
        # What an interrupted `pip` left behind has no name. Of two copies of a package, Python imports the first.
        if each.name and each.version:
            found.setdefault(each.name, each.version)
    return dict(sorted(found.items()))


def _machine() -> MachineRecord:
    return MachineRecord(
        host=platform.node(),
        system=platform.platform(),
        processor=processor_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        python=platform.python_version(),
    )


@cache
def processor_name() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
