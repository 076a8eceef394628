"""docker-compose.yml and Dockerfile, as far as that goes without an engine; `deploy/verify` runs them."""

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api.routes import compare
from service.compare.process import LIMIT_S
from service.settings import all_settings
from service.settings import variable as variable_of

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"POSTGRES_PASSWORD", "FGD_SECRET", "FGD_ADMIN_TOKEN", "RAY_AUTH_TOKEN", "GRAFANA_PASSWORD"}
NAMES = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.M)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def services_on(compose: dict[str, Any], network: str) -> set[str]:
    return {name for name, service in compose["services"].items() if network in service.get("networks", ())}


class TestIsolation:
    def test_only_the_gateway_and_grafana_are_published(self, compose: dict[str, Any]) -> None:
        assert {name for name, service in compose["services"].items() if service.get("ports")} == {"gateway", "grafana"}

    def test_both_listen_on_the_loopback_by_default(self, compose: dict[str, Any]) -> None:
        for name in ("gateway", "grafana"):
            (port,) = compose["services"][name]["ports"]
            assert port.startswith("${FGD_BIND:-127.0.0.1}:")

    def test_only_the_control_plane_is_in_the_network_of_the_database(self, compose: dict[str, Any]) -> None:
        assert services_on(compose, "database") == {"postgres", "migrate", "api"}
        assert compose["networks"]["database"]["internal"]

    def test_ray_nodes_have_no_artifacts_and_no_secrets_of_the_control_plane(self, compose: dict[str, Any]) -> None:
        for name in ("ray-head", "ray-worker", "ray-worker-gpu"):
            service = compose["services"][name]
            assert not any(volume.startswith("artifacts") for volume in service["volumes"])
            assert not {"FGD_SECRET", "FGD_ADMIN_TOKEN", "FGD_DATABASE_URL"} & service["environment"].keys()
            assert service["networks"] == ["cluster"]


class TestGateway:
    def test_the_timeout_is_longer_than_a_comparison_may_take(self) -> None:
        text = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
        (minutes,) = re.findall(rf"set-timeout server (\d+)m if .*\bpath {compare.router.prefix} ", text)
        assert int(minutes) * 60 > LIMIT_S


class TestSecrets:
    def test_no_secret_is_in_the_file_and_each_is_required(self, compose: dict[str, Any]) -> None:
        text = (ROOT / "docker-compose.yml").read_text()
        for name in SECRETS:
            assert set(re.findall(rf"\$\{{{name}([:}}][^}}]*)", text)) == {":?run deploy/init first, it makes .env"}

    def test_deploy_init_creates_private_random_secrets_once(self, tmp_path: Path) -> None:
        init = [str(ROOT / "deploy" / "init"), str(tmp_path)]
        subprocess.run(init, check=True, capture_output=True)
        first = (tmp_path / ".env").read_text()
        values = dict(re.findall(r"^(\w+)=(\w+)$", first, re.M))
        assert values.keys() == SECRETS
        assert {len(value) for value in values.values()} == {64}
        assert len(set(values.values())) == len(SECRETS)
        assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
        # Its owner writes a new one into it: what containers have mounted is this very file.
        assert stat.S_IMODE((tmp_path / "secrets" / "metrics_token").stat().st_mode) == 0o644
        subprocess.run(init, check=True, capture_output=True)
        assert (tmp_path / ".env").read_text() == first

    def test_git_and_the_images_ignore_the_secrets(self) -> None:
        ignored = (ROOT / ".gitignore").read_text().splitlines()
        assert {".env", "deploy/secrets/"} <= set(ignored)
        assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


class TestSettings:
    def test_every_fgd_variable_is_a_setting(self, compose: dict[str, Any]) -> None:
        ours = {name for name in compose["services"]["api"]["environment"] if name.startswith("FGD_")}
        assert ours <= {variable_of(name) for name in all_settings()}

    def test_every_variable_of_the_file_is_in_the_example(self) -> None:
        text = (ROOT / "docker-compose.yml").read_text()
        used = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"^    ([A-Z_]+):$", text, re.M))
        explained = set(re.findall(r"^#?(\w+)=", (ROOT / "deploy" / "env.example").read_text(), re.M))
        assert used <= explained

    def test_defaults_match_the_example(self) -> None:
        text = (ROOT / "docker-compose.yml").read_text()
        defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))
        for name, shown in re.findall(r"^#(\w+)=(.+)$", (ROOT / "deploy" / "env.example").read_text(), re.M):
            assert defaults.get(name, shown) == shown, name


class TestImages:
    def test_every_build_names_a_stage_of_the_dockerfile(self, compose: dict[str, Any]) -> None:
        stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.M))
        built = {service["build"]["target"] for service in compose["services"].values() if "build" in service}
        assert built == {"service", "ray"} <= stages

    def test_each_image_is_built_by_one_service(self, compose: dict[str, Any]) -> None:
        """The plugin builds all at the same time; 1.29 goes by dependence, and pulls what it has not built by then."""
        services = compose["services"]

        def needs(name: str) -> set[str]:
            direct = set(services[name].get("depends_on", ()))
            return direct.union(*map(needs, direct))

        for variable in ("FGD_IMAGE", "FGD_RAY_IMAGE"):
            users = {name for name, service in services.items() if service["image"].startswith(f"${{{variable}:-")}
            (builder,) = (name for name in users if "build" in services[name])
            assert [name for name in users - {builder} if builder not in needs(name)] == []

    @pytest.mark.parametrize("image", ["service", "workers", "build"])
    def test_images_install_the_tested_versions_with_hashes(self, image: str) -> None:
        tested = NAMES.findall((ROOT / "requirements.txt").read_text())
        text = (ROOT / "deploy" / f"requirements-{image}.txt").read_text()
        pinned = NAMES.findall(text)
        assert pinned
        assert set(pinned) <= set(tested), "run `make requirements UPGRADE=`"
        assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", text.strip()))

    def test_the_control_planes_have_neither_torch_nor_ray(self) -> None:
        names = {name for name, _ in NAMES.findall((ROOT / "deploy" / "requirements-service.txt").read_text())}
        assert not names & {"torch", "torchvision", "ray"}

    def test_scripts_are_executable(self) -> None:
        assert all(os.access(ROOT / "deploy" / name, os.X_OK) for name in ("init", "verify"))
