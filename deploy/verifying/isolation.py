"""Checks the isolation of the networks by trying connections."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator

from deploy.verifying.api import example
from deploy.verifying.engine import address, execute, inspect, published
from deploy.verifying.system import System
from deploy.verifying.work import QUICK

INSIDE = {"postgres": 5432, "ray-head": 6379, "prometheus": 9090, "api": 8321}
RAY_PORTS = (6379, 8265, 8080, 52365, 10001)
_OUTSIDE = ("198.18.0.1", "198.18.0.2")
"""Addresses of our own link, from the range that is reserved for tests (RFC 2544)."""

CONNECT = """
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
        print(place, "answers")
    except OSError as error:
        print(place, "no:", error)
"""

# What an intruder on a Ray node could do with all tokens of the node, in all networks that it reaches.
INTRUDER = """
import json, os, sys, urllib.error, urllib.request

def ask(url, token, body=None):
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=10).read()
    except urllib.error.HTTPError as refusal:
        return refusal.code

found = {"claims": {}}
jobs = json.loads(ask("http://ray-head:8265/api/jobs/", os.environ["RAY_AUTH_TOKEN"]))
for job in jobs:
    variables = (job.get("runtime_env") or {}).get("env_vars") or {}
    assert "FGD_ATTEMPT_TOKEN" not in variables
    if "FGD_ATTEMPT_CLAIM" in variables:
        attempt = variables["FGD_ATTEMPT_ID"]
        body = json.dumps({"secret": "x" * 40}).encode()
        answer = ask("http://api:8321/v1/attempts/%s/claim" % attempt, variables["FGD_ATTEMPT_CLAIM"], body)
        found["claims"][attempt] = answer if isinstance(answer, int) else "GIVEN"
        answer = ask("http://api:8321/v1/attempts/%s/files" % attempt, variables["FGD_ATTEMPT_CLAIM"])
        found["files with the claim code"] = answer if isinstance(answer, int) else "GIVEN"
for path in sys.argv[1:]:
    for token in ("", os.environ["RAY_AUTH_TOKEN"]):
        answer = ask("http://api:8321" + path, token)
        found[path] = answer if isinstance(answer, int) else "GIVEN"
print(json.dumps(found))
"""


def check(system: System) -> None:
    """Run the checks."""
    results, compose = system.results, system.compose
    results.begin("isolation")
    (worker, *_) = compose.containers("ray-worker")
    (postgres,) = compose.containers("postgres")

    by_address = f"{address(postgres, compose.network('database'))}:5432"
    tried = execute(worker, "python3", "-c", CONNECT, "postgres:5432", by_address, "api:8321")
    results.check(
        "a worker cannot reach the database, by name or by address",
        tried.count(" no:") == 2,
        "; ".join(tried.splitlines()),
    )
    variables = " ".join(inspect(worker)["Config"]["Env"])
    secrets = [
        name for name in ("POSTGRES_PASSWORD", "FGD_SECRET", "FGD_ADMIN_TOKEN") if system.compose.env[name] in variables
    ]
    results.check("a worker has no secret of the control plane", not secrets, ", ".join(secrets) or "none")
    listing = execute(worker, "ls", "/artifacts")
    results.check("a worker has no folder of artifacts", "No such file" in listing, listing.strip())

    finished = next(job for job in system.api.get("/v1/jobs?state=succeeded")["items"] if job["kind"] == "train")
    path = f"/v1/jobs/{finished['job_id']}/artifacts/best.pt"
    running, _ = system.api.submit(example("plain", name="job of another user", **(QUICK | {"epochs": 30})))
    system.api.wait(running, lambda job: job["progress"]["epoch"] is not None)
    found = json.loads(execute(worker, "python3", "-c", INTRUDER, path, "/v1/jobs", f"/v1/attempts/{running}-1/files"))
    claim = "a worker's tokens open no artifact and no other run"
    given = [what for what, answer in found.items() if answer == "GIVEN"] + [
        attempt for attempt, answer in found["claims"].items() if answer == "GIVEN"
    ]
    results.check(claim, not given and found["claims"] != {}, json.dumps(found))
    system.api.ask("POST", f"/v1/jobs/{running}/cancel")
    system.api.wait_over(running)

    containers = [
        id_ for service in ("gateway", "grafana", *INSIDE, "ray-worker") for id_ in compose.containers(service)
    ]
    ports = published(containers)
    wanted = {int(compose.env["FGD_HOST_PORT"])} | (
        {int(compose.env["GRAFANA_HOST_PORT"])} if system.has_grafana else set()
    )
    results.check("only the API and Grafana are published", set().union(*ports.values()) == wanted, ports)
    _from_outside(system, wanted)


def _from_outside(system: System, published_ports: set[int]) -> None:
    results, compose = system.results, system.compose
    places = []
    for service, port in INSIDE.items():
        for container in compose.containers(service):
            for network in inspect(container)["NetworkSettings"]["Networks"].values():
                places.append(f"{network['IPAddress']}:{port}")
    here = _OUTSIDE[0]
    places += [f"{here}:{port}" for port in (5432, 9090, *RAY_PORTS)]
    open_places = [f"{here}:{port}" for port in sorted(published_ports)]
    try:
        with _another_machine() as run:
            tried = run("python3", "-c", CONNECT, *open_places, *places)
    except (OSError, subprocess.CalledProcessError) as error:
        results.check(
            "from outside only the published ports answer", False, f"not checked, because it needs root: {error}"
        )
        return
    answering = {line.split()[0] for line in tried.splitlines() if line.endswith(" answers")}
    others = f"{len(answering - set(open_places))} of {len(places)} others"
    figure = f"{len(open_places)} of {len(open_places)} published answer, {others}"
    results.check("from outside only the published ports answer", answering == set(open_places), figure)


@contextlib.contextmanager
def _another_machine() -> Iterator[Callable[..., str]]:
    """Create a network namespace with one link to this machine; yields a function that runs a command there."""
    name, near, far = "fgd-verify", "fgdv0", "fgdv1"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def run(*command: str) -> str:
        return subprocess.run(["ip", "netns", "exec", name, *command], capture_output=True, text=True).stdout

    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("address", "add", f"{_OUTSIDE[0]}/30", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "address", "add", f"{_OUTSIDE[1]}/30", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        ip("-n", name, "route", "add", "default", "via", _OUTSIDE[0])
        yield run
    finally:
        # This deletes both ends of the link.
        ip("netns", "delete", name)
