"""The facts that admission needs: the caller reads them from the database, the cluster and the disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fgd_core.spec.detectors import AnyDetector
from fgd_core.spec.events import JobState
from service.jobs.cluster import Capacity
from service.jobs.confinement import ANYWHERE, Places
from service.jobs.named_paths import PathKind
from service.jobs.sweep_admission import EarlierSweep


@dataclass(frozen=True)
class NeededJob:
    """A job that the spec refers to."""

    kind: str
    state: JobState
    artifacts: frozenset[str]
    detector: AnyDetector | None = None
    """The detector in its checkpoints; None if its spec cannot be read."""


@dataclass(frozen=True, kw_only=True)
class NamedData:
    """What the database knows about the name of a data set."""

    known: Sequence[str] = ()
    """The data sets of the project, if none has this name."""
    refused_for: str | None = None
    """Why its newest check refused it."""
    made_by: str | None = None
    """The unfinished job that makes its pictures."""
    classes: Sequence[str] = ()
    """The classes that its newest check found in the validation split; empty if that is unknown."""
    has_keypoints: bool | None = None
    """Whether its newest check found keypoints to learn; None if that is unknown."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything that admission knows besides the spec."""

    capacity: Capacity | None = None
    """None if the cluster did not answer: then nothing is refused for its resources."""
    paths: Mapping[str, PathKind | None] | None = None
    """What is at each path; None if runs see other disks than the server."""
    places: Places = ANYWHERE
    jobs: Mapping[str, NeededJob] = field(default_factory=dict)
    earlier: Mapping[str, EarlierSweep] = field(default_factory=dict)
    """The jobs that `fork` and `warm_start` name."""
    named_data: NamedData | None = None
    """None if the spec itself says where its data is."""
    more_named: Mapping[str, NamedData] = field(default_factory=dict)
    """Likewise of further data sets, by the path of the field; those whose place the spec says are missing."""
    classes: Sequence[str] = ()
    """The classes of a study's validation split, by the newest check of the data or by its files; empty if that is
    unknown."""
    tune_searchers: Sequence[str] = ()
    """The classes that a searcher of type `tune` may name."""
