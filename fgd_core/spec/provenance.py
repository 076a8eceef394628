"""The event with which each attempt records what ran: code, packages and machine."""

from typing import Literal

from fgd_core.spec.base import Fact

CODE_CHANGES = "code.diff"
"""The artifact with the difference between the code that ran and its git revision."""


class CodeVersion(Fact):
    """The code of fgd that ran."""

    version: str
    """Of the package; `not installed` for code that only lies on Python's path."""
    sha256: str
    """Digest of all Python files of the library and of the workers, with their names."""
    revision: str | None = None
    """The git commit, if the code ran from a checkout."""
    changes_sha256: str | None = None
    """Digest of the artifact `code.diff`; None if the checkout equals its revision."""

    def in_words(self) -> str:
        """`fgd 0.1.0, commit 3f2a91bc77c0 with changes`."""
        commit = f", commit {self.revision[:12]}" if self.revision is not None else ""
        return f"fgd {self.version}{commit}{' with changes' if self.changes_sha256 is not None else ''}"


class MachineRecord(Fact):
    """The machine of an attempt; the device is in `device_ready`."""

    host: str
    system: str
    """Operating system and kernel."""
    processor: str
    cores: int
    """Logical cores that the process may use."""
    memory_bytes: int
    python: str


class ProvenanceRecorded(Fact):
    """What an attempt runs with. Seeds are in the spec, digests of data and checkpoints in their own events."""

    kind: Literal["provenance_recorded"] = "provenance_recorded"
    code: CodeVersion
    machine: MachineRecord
    packages: dict[str, str]
    """The version of each installed package."""
