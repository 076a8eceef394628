"""What is done to the system, and when: drawn from a seed."""

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
from tests.chaos.grounds import Site

Kind = Literal["control plane", "run", "node", "database", "network"]

FULL: Mapping[Kind, int] = {"control plane": 10, "run": 10, "node": 3, "database": 3, "network": 2}
SHORT: Mapping[Kind, int] = {"control plane": 2, "run": 2, "node": 1, "database": 1, "network": 1}


@dataclass(frozen=True, kw_only=True)
class Blow:
    kind: Kind
    at: float
    """Wall clock."""
    what: str
    hit: frozenset[str] = frozenset()
    """Attempts whose process it ended."""
    under_way: frozenset[str] = frozenset()
    """Attempts whose process lived through it."""


@dataclass
class Hammer:
    """Strikes; whatever comes back by itself does so after a while, drawn as well."""

    site: Site
    rng: random.Random
    _healers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "healer"))
    _healing: dict[str, Future[None]] = field(default_factory=dict)

    def strike(self, kind: Kind) -> Blow | None:
        """None where there is nothing to hit at this moment."""
        struck = {
            "control plane": self._control_plane,
            "run": self._run,
            "node": self._node,
            "database": self._database,
            "network": self._network,
        }[kind]
        return struck()

    def heal(self) -> None:
        """Wait until all is as it was; raises what kept it from becoming so."""
        for healing in self._healing.values():
            healing.result()

    def _control_plane(self) -> Blow | None:
        living = [replica for replica in self.site.replicas if replica.is_alive]
        if not living:
            return None
        replica = self.rng.choice(living)
        at, runs = time.time(), frozenset(self.site.runs())
        pid = replica.kill()
        return Blow(kind="control plane", at=at, what=f"{replica.name}, process {pid}", under_way=runs)

    def _run(self) -> Blow | None:
        runs = self.site.runs()
        for attempt_id in self.rng.sample(sorted(runs), len(runs)):
            process = runs[attempt_id]
            if not self._reported(attempt_id, process.pid):
                continue
            at = time.time()
            with suppress(psutil.NoSuchProcess):
                # psutil looks at the time of its start first: the id may be another process's by now.
                process.kill()
                return Blow(kind="run", at=at, what=f"{attempt_id}, process {process.pid}", hit=frozenset({attempt_id}))
        return None

    def _node(self) -> Blow | None:
        runs = self.site.runs()
        node = self.rng.choice(self.site.ray.nodes)
        pids = {process.pid for process in node.processes()}
        hit = frozenset(attempt_id for attempt_id, process in runs.items() if process.pid in pids)
        if not hit:
            return None
        at = time.time()
        num_processes = self.site.ray.kill(node)
        new = self.site.ray.add_node()
        what = f"{node.name}, {num_processes} processes, {len(hit)} of them runs; {new.name} comes"
        return Blow(kind="node", at=at, what=what, hit=hit)

    def _database(self) -> Blow | None:
        if self._is_healing("database"):
            return None
        away_s = self.rng.uniform(0.5, 4)
        at, runs = time.time(), frozenset(self.site.runs())
        pid = self.site.database.pid
        self.site.database.kill()
        self._heal("database", away_s, self.site.database.start)
        return Blow(kind="database", at=at, what=f"process {pid}, for {away_s:.1f} s", under_way=runs)

    def _network(self) -> Blow | None:
        if self._is_healing("network"):
            return None
        away_s = self.rng.uniform(10, 20)
        at, runs = time.time(), frozenset(self.site.runs())
        self.site.runs_door.shut()
        self._heal("network", away_s, self.site.runs_door.open)
        return Blow(kind="network", at=at, what=f"for {away_s:.1f} s", under_way=runs)

    def _reported(self, attempt_id: str, pid: int) -> bool:
        """Whether the run itself has said that it is this process."""
        job_id, _, number = attempt_id.rpartition("-")
        try:
            with FgdClient(self.site.users_door.url, timeout_s=5) as client:
                return any(
                    event.kind == "run_started" and event.attempt == int(number) and event.data["pid"] == pid
                    for event in client.stored_events(job_id)
                )
        except FgdError:
            return False

    def _heal(self, what: str, after_s: float, how: Callable[[], None]) -> None:
        def wait_and_heal() -> None:
            time.sleep(after_s)
            how()

        self._healing[what] = self._healers.submit(wait_and_heal)

    def _is_healing(self, what: str) -> bool:
        return what in self._healing and not self._healing[what].done()


def drawn(counts: Mapping[Kind, int], rng: random.Random) -> list[Kind]:
    """The blows in the order in which they fall."""
    kinds = sorted(Counter(counts).elements())
    rng.shuffle(kinds)
    return kinds
