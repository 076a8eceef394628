"""Kills one part after the other while a run trains; each run must end once, with the same result as without faults."""

import subprocess
import threading
import time

from deploy.verifying import engine
from deploy.verifying.api import OVER, Prober, VerificationError, example
from deploy.verifying.system import System, crash, wait_for

LONG = {"epochs": 36, "num_train": 240, "num_val": 48, "warmup_steps": 20, "evaluate_every": 12}
APART_S = 60.0


def inject(system: System) -> float:
    """Inject all faults; returns the AP of the same run without faults."""
    results = system.results
    results.begin("faults")
    ap = undisturbed(system)
    for fault in (_worker, _head, _replica, _database, _network):
        try:
            fault(system, ap)
        except VerificationError as error:
            results.check(f"the system survives the fault {fault.__name__.strip('_')}", False, error)
        system.wait_ready(timeout_s=600)
    return ap


def undisturbed(system: System) -> float:
    """Run the job without faults; returns its AP."""
    job_id, _ = system.api.submit(spec("undisturbed"))
    job = system.api.wait_over(job_id, timeout_s=1200)
    if job["state"] != "succeeded":
        raise VerificationError(f"the undisturbed run is {job['state']}: {job['error']}")
    ap = float(job["result"]["scores"]["ap"])
    system.results.check("the undisturbed run succeeds", True, f"AP {ap:.6f}, {job['result']['train_s']:.0f} s")
    return ap


def spec(name: str) -> str:
    return example("plain", name=f"verified - {name}", **LONG)


def started(system: System, name: str, *, epochs: int = 2) -> str:
    """Start a run, and wait until it has trained `epochs` epochs; returns the job's id."""
    job_id, _ = system.api.submit(spec(name))
    system.api.wait(job_id, lambda job: (job["progress"]["epoch"] or 0) >= epochs, timeout_s=600)
    return job_id


def check_job(system: System, job_id: str, ap: float, *, causes: list[str]) -> None:
    """Check that a job ended once, with all events and the same result as without faults.

    Args:
        ap: of the undisturbed run.
        causes: how its attempts must have ended.
    """
    results, api = system.results, system.api
    job = api.wait_over(job_id, timeout_s=1200)
    events = api.events(job_id)
    ends = [event for event in events if event["kind"] == "state_changed" and event["data"]["to_state"] in OVER]
    has_all = [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    found = [attempt["cause"] for attempt in job["attempts"]]
    reached = float(((job["result"] or {}).get("scores") or {}).get("ap") or "nan")
    figure = f"{job['state']}; attempts {', '.join(map(str, found))}; {len(events)} events, 1 end; AP {reached:.6f}"
    is_right = job["state"] == "succeeded" and len(ends) == 1 and has_all and found == causes and reached == ap
    results.check(
        f"{job['name'].removeprefix('verified - ')}: the job ends once, with the right result", is_right, figure
    )


def _worker(system: System, ap: float) -> None:
    job_id = started(system, "a worker is killed")
    container = system.worker_of(job_id)
    crash(container)
    _check_resumption(system, job_id, "a worker is killed")
    check_job(system, job_id, ap, causes=["lost", "succeeded"])


def _head(system: System, ap: float) -> None:
    job_id = started(system, "the Ray head is killed")
    (head,) = system.compose.containers("ray-head")
    crash(head)
    _check_resumption(system, job_id, "the Ray head is killed")
    check_job(system, job_id, ap, causes=["lost", "succeeded"])


def _replica(system: System, ap: float) -> None:
    job_id = started(system, "the replica that dispatches is killed")
    with probing(system, f"/v1/jobs/{job_id}") as prober:
        container = dispatching(system)
        crash(container)
        began = time.monotonic()
        other, _ = system.api.submit(
            example("plain", name="verified - dispatched by the other replica", epochs=1, num_train=16, num_val=8)
        )
        system.api.wait(other, lambda job: job["state"] in ("starting", "running", *OVER), timeout_s=120)
        taken_over_s = time.monotonic() - began
        back_s = wait_for("the replica to be back", lambda: engine.health(container) == "healthy", timeout_s=120)
    system.results.check(
        "the replica that dispatches is killed: the other replica takes over",
        True,
        f"a new job is started after {taken_over_s:.1f} s, the replica is back after {taken_over_s + back_s:.1f} s; "
        f"{len(prober.failures)} of {prober.asked} requests failed, the longest took {prober.longest_s:.2f} s",
    )
    check_job(system, job_id, ap, causes=["succeeded"])
    system.api.wait_over(other)


def _database(system: System, ap: float) -> None:
    job_id = started(system, "PostgreSQL is killed")
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
    system.results.check("PostgreSQL is killed: the system recovers", True, figure)
    check_job(system, job_id, ap, causes=["succeeded"])


def _network(system: System, ap: float) -> None:
    """Separate a worker from the network. Whether or not Ray marks the node dead meanwhile, the run ends once."""
    name = f"a worker is off the network for {APART_S:.0f} s"
    job_id = started(system, name)
    container = system.worker_of(job_id)
    network = system.compose.network("cluster")
    subprocess.run(["docker", "network", "disconnect", network, container], check=True)
    last = system.api.job(job_id)["last_sequence"]
    time.sleep(APART_S)
    subprocess.run(["docker", "network", "connect", "--alias", "ray-worker", network, container], check=True)
    began = time.monotonic()
    wait_for("events of the run", lambda: system.api.job(job_id)["last_sequence"] > last, timeout_s=300)
    reported_s = time.monotonic() - began
    job = system.api.wait_over(job_id, timeout_s=600)
    system.wait_ready(timeout_s=300)
    fate = "marked lost, and retried" if len(job["attempts"]) > 1 else "continued"
    figure = f"the run was {fate}; its next event {reported_s:.0f} s after the network, the node back in Ray within "
    system.results.check(f"{name}: the cluster recovers", True, f"{figure}{time.monotonic() - began:.0f} s")
    causes = [attempt["cause"] for attempt in job["attempts"]]
    check_job(system, job_id, ap, causes=causes if causes in (["succeeded"], ["lost", "succeeded"]) else ["succeeded"])


def _check_resumption(system: System, job_id: str, what: str) -> None:
    began = time.monotonic()
    seen: dict[str, float] = {}

    def trains_again() -> bool:
        job = system.api.job(job_id)
        if len(job["attempts"]) > 1 or job["state"] != "running":
            seen.setdefault("noticed", time.monotonic() - began)
        newer = {event["kind"] for event in system.api.events(job_id) if (event["attempt"] or 1) > 1}
        # A run that Ray has lost continues until the API refuses its reports. If it ends first, the next does nothing.
        return bool(newer & {"epoch_finished", "run_finished"})

    took_s = wait_for(f"job {job_id} to continue", trains_again, timeout_s=600, every_s=1)
    epochs = [event["data"]["epoch"] for event in system.api.events(job_id) if event["kind"] == "epoch_finished"]
    twice = len(epochs) - len(set(epochs))
    figure = (
        f"noticed after {seen['noticed']:.0f} s, an epoch further after {took_s:.0f} s, {twice} epochs trained twice"
    )
    system.results.check(f"{what}: its run continues on another node", True, figure)


def dispatching(system: System) -> str:
    """Return the container of the replica that holds the lease, according to its metrics."""
    for container in system.compose.containers("api"):
        value = engine.execute(container, "python3", "-c", _IS_DISPATCHER)
        if value.strip() == "1.0":
            return container
    raise VerificationError("no replica dispatches")


_IS_DISPATCHER = """
import re, urllib.request
token = open("/run/secrets/metrics_token").read().strip()
request = urllib.request.Request("http://127.0.0.1:8321/metrics", headers={"Authorization": "Bearer " + token})
text = urllib.request.urlopen(request, timeout=10).read().decode()
print(re.search(r"^fgd_dispatcher_active (\\S+)", text, re.M)[1])
"""


class probing:
    """Sends ten requests a second while the block runs."""

    def __init__(self, system: System, path: str) -> None:
        self._prober = Prober(system.api, path)
        self._thread = threading.Thread(target=self._prober, daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self._prober

    def __exit__(self, *_: object) -> None:
        self._prober.stops = True
        self._thread.join(15)
