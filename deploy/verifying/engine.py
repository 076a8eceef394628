"""Calls Docker and its compose, as a plugin or as docker-compose."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class EngineError(Exception):
    """A Docker command failed; the message is its output."""


def run(*command: str, env: Mapping[str, str] | None = None, timeout_s: float = 1800, check: bool = True) -> str:
    """Run a command; returns its output.

    Args:
        env: None for the environment of this process.
    Raises:
        EngineError: the exit code is not 0.
    """
    done = subprocess.run(
        command,
        env={**(os.environ if env is None else env), "DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if check else subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    if check and done.returncode != 0:
        raise EngineError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout


class Compose:
    """Runs this checkout's docker-compose.yml, without any settings of a system that is in use here.

    Neither .env, nor variables of the shell (such as the name of a bucket), nor docker-compose.override.yml are used.

    Args:
        env: variables of docker-compose.yml.
        env_file: used instead of .env.
    """

    def __init__(self, project: str, env: Mapping[str, str], env_file: Path) -> None:
        self.project = project
        self._options = ["--project-name", project, "--file", "docker-compose.yml", "--env-file", str(env_file)]
        self.env = dict(env)
        has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        self._command = ["docker", "compose"] if has_plugin else ["docker-compose"]
        if not has_plugin and shutil.which("docker-compose") is None:
            raise EngineError("neither `docker compose` nor `docker-compose` is installed; install one of them")

    def __call__(self, *arguments: str, **changes: str) -> str:
        return run(*self._command, *self._options, *arguments, env={**_without_settings(), **self.env, **changes})

    @property
    def version(self) -> str:
        return run(*self._command, "version", "--short").strip()

    def containers(self, service: str, *, all: bool = False) -> list[str]:
        """Return the ids of the containers of a service, oldest first."""
        found = run(
            "docker", "ps", "--quiet", "--no-trunc", *(["--all"] if all else []),
            "--filter", f"label=com.docker.compose.project={self.project}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).split()  # fmt: skip
        return sorted(found, key=lambda id_: str(inspect(id_)["Created"]))

    def logs(self, *services: str) -> str:
        return self("logs", "--no-color", *services)

    def network(self, name: str) -> str:
        return f"{self.project}_{name}"


def _without_settings() -> dict[str, str]:
    """Return the environment without the variables that docker-compose.yml reads."""
    settings = set(re.findall(r"^#?(\w+)=", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE))
    return {name: value for name, value in os.environ.items() if name not in settings}


def inspect(container: str) -> dict[str, Any]:
    (found,) = json.loads(run("docker", "inspect", container))
    assert isinstance(found, dict)
    return found


def name_of(container: str) -> str:
    return str(inspect(container)["Name"]).lstrip("/")


def address(container: str, network: str) -> str:
    return str(inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"])


def health(container: str) -> str:
    state = inspect(container)["State"]
    return str(state.get("Health", {}).get("Status", state["Status"]))


def execute(container: str, *command: str) -> str:
    """Run a command in a container; returns its output, whether it succeeds or not."""
    return run("docker", "exec", container, *command, check=False, timeout_s=120)


def image_size_bytes(image: str) -> int:
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))


def published(containers: Sequence[str]) -> dict[str, set[int]]:
    """Return the published ports of this machine, by name of the container."""
    found: dict[str, set[int]] = {}
    for container in containers:
        ports = inspect(container)["NetworkSettings"]["Ports"] or {}
        numbers = {int(binding["HostPort"]) for bindings in ports.values() for binding in bindings or []}
        if numbers:
            found[name_of(container)] = numbers
    return found
