"""What the rules need to know of a cluster: its live nodes, and the state of a run."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ClusterStatus: TypeAlias = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    submission_id: str
    status: ClusterStatus
    message: str

    @property
    def is_over(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True, kw_only=True)
class Node:
    node_id: str
    cpus_total: float
    cpus_free: float
    gpus_total: float = 0.0
    gpus_free: float = 0.0

    def could_hold(self, cpus: float, gpus: float) -> bool:
        """Whether it could if nothing else ran on it."""
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
