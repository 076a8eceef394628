"""What the rules know about the cluster: its live nodes, the state of a run, and whether a silent run is lost."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ClusterStatus: TypeAlias = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """The state of a run, as the cluster reports it."""

    submission_id: str
    status: ClusterStatus
    message: str

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True, kw_only=True)
class Node:
    """A live node with its CPUs and GPUs."""

    node_id: str
    cpus_total: float
    cpus_free: float
    gpus_total: float = 0.0
    gpus_free: float = 0.0

    def could_hold(self, cpus: float, gpus: float) -> bool:
        """Whether the node could hold this if nothing else ran on it."""
        return cpus <= self.cpus_total and gpus <= self.gpus_total


@dataclass(frozen=True)
class Capacity:
    """The live nodes."""

    nodes: tuple[Node, ...]

    @property
    def cpus_total(self) -> float:
        return sum(node.cpus_total for node in self.nodes)

    @property
    def gpus_total(self) -> float:
        return sum(node.gpus_total for node in self.nodes)

    @property
    def largest_node_cpus(self) -> float:
        return max((node.cpus_total for node in self.nodes), default=0.0)

    @property
    def largest_node_gpus(self) -> float:
        return max((node.gpus_total for node in self.nodes), default=0.0)


FINAL_BATCH_GRACE_S = 2.0
"""A run sends its last batch just before its process ends; the cluster's answer may overtake that batch."""


def is_lost(
    status: ClusterJob | None, *, silent_s: float, over_for_s: float, heartbeat_s: float, heartbeat_timeout_s: float
) -> bool:
    """Whether a silent run is dead. "Cannot reach it" is not "it failed".

    It takes positive evidence: silence, and a fresh answer of the cluster that the run is not there.

    Args:
        status: what the cluster has just answered; None if it does not know the run.
        silent_s: since the run's last batch, or since its attempt began if there was none.
        over_for_s: since the cluster first said that the run is over; 0 if it has not.
    """
    if status is None:
        return silent_s > heartbeat_timeout_s
    # Ray's FAILED can be false: a heartbeat outweighs it.
    return status.is_over and over_for_s >= FINAL_BATCH_GRACE_S and silent_s > 2 * heartbeat_s
