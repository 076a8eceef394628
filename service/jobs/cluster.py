"""What the rules know about the cluster: its live nodes, the state of a run, and whether a silent run is lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

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

    @property
    def shape(self) -> tuple[float, float]:
        """(CPUs, GPUs) of the whole node."""
        return self.cpus_total, self.gpus_total


class NodeType(BaseModel):
    """A kind of node that the cluster's autoscaler adds and removes, as a setting of the server names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    cpus: float = Field(gt=0)
    gpus: float = Field(default=0.0, ge=0)
    max_nodes: int = Field(ge=1)
    """Largest number of its nodes at once."""

    @property
    def shape(self) -> tuple[float, float]:
        """(CPUs, GPUs) of a node."""
        return self.cpus, self.gpus


@dataclass(frozen=True)
class Capacity:
    """The live nodes, and the kinds of nodes that the cluster can add."""

    nodes: tuple[Node, ...]
    node_types: tuple[NodeType, ...] = ()
    """Empty if the cluster does not grow."""

    @property
    def cpus_total(self) -> float:
        return sum(node.cpus_total for node in self.nodes)

    @property
    def gpus_total(self) -> float:
        return sum(node.gpus_total for node in self.nodes)

    @property
    def shapes(self) -> list[tuple[float, float]]:
        """(CPUs, GPUs) of each live node and of each kind of node that can be added."""
        return [*(node.shape for node in self.nodes), *(kind.shape for kind in self.node_types)]

    @property
    def addable(self) -> Mapping[NodeType, int]:
        """How many nodes of each kind can be added to the live ones. A live node of the same size counts as one."""
        live = [node.shape for node in self.nodes]
        return {kind: max(0, kind.max_nodes - live.count(kind.shape)) for kind in self.node_types}

    def live_slots(self, cpus: float, gpus: float) -> int:
        """The number of bundles of this size, each on one node, that the live nodes hold if nothing else runs there."""
        return sum(slots(*node.shape, cpus, gpus) for node in self.nodes)

    def all_slots(self, cpus: float, gpus: float) -> int:
        """The same once the cluster has added all nodes that it can add."""
        added = sum(number * slots(*kind.shape, cpus, gpus) for kind, number in self.addable.items())
        return self.live_slots(cpus, gpus) + added


def slots(free_cpus: float, free_gpus: float, cpus: float, gpus: float) -> int:
    """The number of bundles of `cpus` (at least 1) and `gpus` that fit into what is free on one node."""
    by_cpus = int(free_cpus // cpus)
    return min(by_cpus, int(free_gpus // gpus)) if gpus else by_cpus


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
