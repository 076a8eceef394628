"""Injects faults into the system. Kinds, targets and times are drawn from a seed."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import psutil

from fgd_core.errors import FgdError
from service.client.client import FgdClient
from tests.chaos.environment import Environment

Kind = Literal["control plane", "run", "node", "database", "network"]

FULL: Mapping[Kind, int] = {"control plane": 10, "run": 10, "node": 3, "database": 3, "network": 2}
SHORT: Mapping[Kind, int] = {"control plane": 1, "run": 1, "node": 1, "database": 1, "network": 1}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Records one injected fault."""

    kind: Kind
    at: float
    """Wall-clock time."""
    what: str
    killed: frozenset[str] = frozenset()
    """Ids of attempts whose process it ended."""
    survived: frozenset[str] = frozenset()
    """Ids of attempts whose process survived it."""


@dataclass
class FaultInjector:
    """Injects faults; restores database and network after a random time."""

    environment: Environment
    rng: random.Random
    _restorers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "restorer"))
    _restoring: dict[str, Future[None]] = field(default_factory=dict)

    def inject(self, kind: Kind) -> Fault | None:
        """Inject a fault; None if there is no target at this moment."""
        inject = {
            "control plane": self._control_plane,
            "run": self._run,
            "node": self._node,
            "database": self._database,
            "network": self._network,
        }[kind]
        return inject()

    def restore(self) -> None:
        """Wait until everything is restored; raises the error of a restoration that failed."""
        for restoring in self._restoring.values():
            restoring.result()

    def _control_plane(self) -> Fault | None:
        living = [replica for replica in self.environment.replicas if replica.is_alive]
        if not living:
            return None
        replica = self.rng.choice(living)
        at, runs = time.time(), frozenset(self.environment.runs())
        pid = replica.kill()
        return Fault(kind="control plane", at=at, what=f"{replica.name}, process {pid}", survived=runs)

    def _run(self) -> Fault | None:
        runs = self.environment.runs()
        for attempt_id in self.rng.sample(sorted(runs), len(runs)):
            process = runs[attempt_id]
            if not self._reported(attempt_id, process.pid):
                continue
            at = time.time()
            with suppress(psutil.NoSuchProcess):
                # psutil checks the start time first: another process may have the id by now.
                process.kill()
                return Fault(
                    kind="run", at=at, what=f"{attempt_id}, process {process.pid}", killed=frozenset({attempt_id})
                )
        return None

    def _node(self) -> Fault | None:
        runs = self.environment.runs()
        node = self.rng.choice(self.environment.ray.nodes)
        pids = {process.pid for process in node.processes()}
        killed = frozenset(attempt_id for attempt_id, process in runs.items() if process.pid in pids)
        if not killed:
            return None
        at = time.time()
        num_processes = self.environment.ray.kill(node)
        new = self.environment.ray.add_node()
        what = f"{node.name}, {num_processes} processes, {len(killed)} of them runs; {new.name} starts"
        return Fault(kind="node", at=at, what=what, killed=killed)

    def _database(self) -> Fault | None:
        if self._is_restoring("database"):
            return None
        away_s = self.rng.uniform(0.5, 4)
        at, runs = time.time(), frozenset(self.environment.runs())
        pid = self.environment.database.pid
        self.environment.database.kill()
        self._restore("database", away_s, self.environment.database.start)
        return Fault(kind="database", at=at, what=f"process {pid}, for {away_s:.1f} s", survived=runs)

    def _network(self) -> Fault | None:
        if self._is_restoring("network"):
            return None
        away_s = self.rng.uniform(10, 20)
        at, runs = time.time(), frozenset(self.environment.runs())
        self.environment.runs_proxy.cut()
        self._restore("network", away_s, self.environment.runs_proxy.open)
        return Fault(kind="network", at=at, what=f"for {away_s:.1f} s", survived=runs)

    def _reported(self, attempt_id: str, pid: int) -> bool:
        """Whether the run has reported that it is this process."""
        job_id, _, number = attempt_id.rpartition("-")
        try:
            with FgdClient(self.environment.users_proxy.url, timeout_s=5) as client:
                return any(
                    event.kind == "run_started" and event.attempt == int(number) and event.data["pid"] == pid
                    for event in client.stored_events(job_id)
                )
        except FgdError:
            return False

    def _restore(self, what: str, after_s: float, how: Callable[[], None]) -> None:
        def wait_and_restore() -> None:
            time.sleep(after_s)
            how()

        self._restoring[what] = self._restorers.submit(wait_and_restore)

    def _is_restoring(self, what: str) -> bool:
        return what in self._restoring and not self._restoring[what].done()


def draw(counts: Mapping[Kind, int], rng: random.Random) -> list[Kind]:
    """Return the kinds of all faults, in random order."""
    kinds = sorted(Counter(counts).elements())
    rng.shuffle(kinds)
    return kinds
