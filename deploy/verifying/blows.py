"""One part after the other dies while a run trains; each run must end once, and as if nothing had happened."""

import subprocess
import threading
import time

from deploy.verifying import engine
from deploy.verifying.api import OVER, Prober, UnmetError, example
from deploy.verifying.system import System, crash, wait_for

LONG = {"epochs": 36, "num_train": 240, "num_val": 48, "warmup_steps": 20, "evaluate_every": 12}
APART_S = 60.0


def strike(system: System) -> float:
    """The AP that the run of all these trials comes to when it is left in peace."""
    ledger = system.ledger
    ledger.begin("blows")
    ap = in_peace(system)
    for blow in (_worker, _head, _replica, _database, _network):
        try:
            blow(system, ap)
        except UnmetError as error:
            ledger.check(f"the blow {blow.__name__.strip('_')} is survived", False, error)
        system.wait_ready(timeout_s=600)
    return ap


def in_peace(system: System) -> float:
    """The AP of the run of all these trials when it is left alone."""
    job_id, _ = system.api.submit(spec("left in peace"))
    job = system.api.wait_over(job_id, timeout_s=1200)
    if job["state"] != "succeeded":
        raise UnmetError(f"a run left in peace is {job['state']}: {job['error']}")
    ap = float(job["result"]["scores"]["ap"])
    system.ledger.check("a run left in peace succeeds", True, f"AP {ap:.6f}, {job['result']['train_s']:.0f} s")
    return ap


def spec(name: str) -> str:
    return example("plain", name=f"verified - {name}", **LONG)


def begun(system: System, name: str, *, epochs: int = 2) -> str:
    """A run that has trained so many epochs."""
    job_id, _ = system.api.submit(spec(name))
    system.api.wait(job_id, lambda job: (job["progress"]["epoch"] or 0) >= epochs, timeout_s=600)
    return job_id


def check_story(system: System, job_id: str, ap: float, *, causes: list[str]) -> None:
    """
    Args:
        ap: of the same run, left in peace.
        causes: how its attempts must have ended.
    """
    ledger, api = system.ledger, system.api
    job = api.wait_over(job_id, timeout_s=1200)
    events = api.events(job_id)
    ends = [event for event in events if event["kind"] == "state_changed" and event["data"]["to_state"] in OVER]
    has_all = [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    found = [attempt["cause"] for attempt in job["attempts"]]
    reached = float(((job["result"] or {}).get("scores") or {}).get("ap") or "nan")
    figure = f"{job['state']}; attempts {', '.join(map(str, found))}; {len(events)} events, 1 end; AP {reached:.6f}"
    is_right = job["state"] == "succeeded" and len(ends) == 1 and has_all and found == causes and reached == ap
    ledger.check(f"{job['name'].removeprefix('verified - ')}: the job ends once and rightly", is_right, figure)


def _worker(system: System, ap: float) -> None:
    job_id = begun(system, "a worker is killed")
    container = system.worker_of(job_id)
    crash(container)
    _say_when_it_goes_on(system, job_id, "a worker is killed")
    check_story(system, job_id, ap, causes=["lost", "succeeded"])


def _head(system: System, ap: float) -> None:
    job_id = begun(system, "the Ray head is killed")
    (head,) = system.compose.containers("ray-head")
    crash(head)
    _say_when_it_goes_on(system, job_id, "the Ray head is killed")
    check_story(system, job_id, ap, causes=["lost", "succeeded"])


def _replica(system: System, ap: float) -> None:
    job_id = begun(system, "the replica that dispatches is killed")
    with probing(system, f"/v1/jobs/{job_id}") as prober:
        container = dispatching(system)
        crash(container)
        began = time.monotonic()
        other, _ = system.api.submit(
            example("plain", name="verified - dispatched by the other", epochs=1, num_train=16, num_val=8)
        )
        system.api.wait(other, lambda job: job["state"] in ("starting", "running", *OVER), timeout_s=120)
        taken_over_s = time.monotonic() - began
        back_s = wait_for("the replica to be back", lambda: engine.health(container) == "healthy", timeout_s=120)
    system.ledger.check(
        "the replica that dispatches is killed: the other takes over",
        True,
        f"a new job is started after {taken_over_s:.1f} s, the replica is back after {taken_over_s + back_s:.1f} s; "
        f"{len(prober.failures)} of {prober.asked} requests failed, the longest took {prober.longest_s:.2f} s",
    )
    check_story(system, job_id, ap, causes=["succeeded"])
    system.api.wait_over(other)


def _database(system: System, ap: float) -> None:
    job_id = begun(system, "PostgreSQL is killed")
    last = system.api.job(job_id)["last_sequence"]
    (postgres,) = system.compose.containers("postgres")
    began = time.monotonic()
    crash(postgres)
    wait_for(
        "the database to be away",
        lambda: system.api.ask("GET", f"/v1/jobs/{job_id}").status != 200,
        timeout_s=20,
        every_s=0.05,
    )
    wait_for("the API to answer", lambda: system.api.ask("GET", f"/v1/jobs/{job_id}").status == 200, timeout_s=120)
    answers_s = time.monotonic() - began
    wait_for("the run's next events", lambda: system.api.job(job_id)["last_sequence"] > last, timeout_s=120)
    figure = f"the API answers after {answers_s:.1f} s, the run's events come in after {time.monotonic() - began:.1f} s"
    system.ledger.check("PostgreSQL is killed: it is back", True, figure)
    check_story(system, job_id, ap, causes=["succeeded"])


def _network(system: System, ap: float) -> None:
    """Ray may or may not take the node for dead before it is back; either way the run ends once."""
    name = f"a worker is off the network for {APART_S:.0f} s"
    job_id = begun(system, name)
    container = system.worker_of(job_id)
    network = system.compose.network("cluster")
    subprocess.run(["docker", "network", "disconnect", network, container], check=True)
    last = system.api.job(job_id)["last_sequence"]
    time.sleep(APART_S)
    subprocess.run(["docker", "network", "connect", "--alias", "ray-worker", network, container], check=True)
    began = time.monotonic()
    wait_for("events of the run", lambda: system.api.job(job_id)["last_sequence"] > last, timeout_s=300)
    heard_s = time.monotonic() - began
    job = system.api.wait_over(job_id, timeout_s=600)
    system.wait_ready(timeout_s=300)
    fate = "taken for lost, and retried" if len(job["attempts"]) > 1 else "waited for"
    figure = (
        f"the run was {fate}; an event of it {heard_s:.0f} s after the network is back, the node is Ray's again within "
    )
    system.ledger.check(f"{name}: the cluster is whole again", True, f"{figure}{time.monotonic() - began:.0f} s")
    causes = [attempt["cause"] for attempt in job["attempts"]]
    check_story(
        system, job_id, ap, causes=causes if causes in (["succeeded"], ["lost", "succeeded"]) else ["succeeded"]
    )


def _say_when_it_goes_on(system: System, job_id: str, what: str) -> None:
    began = time.monotonic()
    seen: dict[str, float] = {}

    def trains_again() -> bool:
        job = system.api.job(job_id)
        if len(job["attempts"]) > 1 or job["state"] != "running":
            seen.setdefault("noticed", time.monotonic() - began)
        newer = {event["kind"] for event in system.api.events(job_id) if (event["attempt"] or 1) > 1}
        # A run that Ray has lost trains on until it learns of it, maybe to its end; then the next finds nothing to do.
        return bool(newer & {"epoch_finished", "run_finished"})

    took_s = wait_for(f"job {job_id} to go on", trains_again, timeout_s=600, every_s=1)
    epochs = [event["data"]["epoch"] for event in system.api.events(job_id) if event["kind"] == "epoch_finished"]
    twice = len(epochs) - len(set(epochs))
    figure = (
        f"noticed after {seen['noticed']:.0f} s, an epoch further after {took_s:.0f} s, {twice} epochs trained twice"
    )
    system.ledger.check(f"{what}: its run goes on elsewhere", True, figure)


def dispatching(system: System) -> str:
    """The container of the replica that has the lease, by its own word."""
    for container in system.compose.containers("api"):
        said = engine.execute(container, "python3", "-c", _IS_DISPATCHER)
        if said.strip() == "1.0":
            return container
    raise UnmetError("no replica says that it dispatches")


_IS_DISPATCHER = """
import re, urllib.request
token = open("/run/secrets/metrics_token").read().strip()
request = urllib.request.Request("http://127.0.0.1:8321/metrics", headers={"Authorization": "Bearer " + token})
text = urllib.request.urlopen(request, timeout=10).read().decode()
print(re.search(r"^fgd_dispatcher_active (\\S+)", text, re.M)[1])
"""


class probing:
    """While it lasts, somebody asks ten times a second."""

    def __init__(self, system: System, path: str) -> None:
        self._prober = Prober(system.api, path)
        self._thread = threading.Thread(target=self._prober, daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self._prober

    def __exit__(self, *_: object) -> None:
        self._prober.stops = True
        self._thread.join(15)
