"""Validates deploy/k8s: its schemas, and facts that no schema checks.

Core kinds are validated strictly against the published schemas of Kubernetes. No package has the schemas of KubeRay and
of the Prometheus operator: the pods of a RayCluster are validated with Kubernetes' own schema, its other fields with
the list below. To use the real schemas, name a folder of CustomResourceDefinitions in FGD_TEST_CRDS.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from pydantic import TypeAdapter

from service.jobs.cluster import NodeType
from service.settings import Settings, all_settings, variable

Manifest = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[2] / "deploy/k8s"
KUBERNETES = "1.37"
# What the image's own processes and libraries read.
NOT_OURS = ("RAY_", "OTEL_", "AWS_", "POSTGRES_", "PGDATA")


def load(folder: Path) -> list[Manifest]:
    """All that the folder's kustomization brings."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((folder / name).read_text())]


BASE, MONITORING = load(FOLDER), load(FOLDER / "monitoring")
CUSTOM = [
    each for each in [*BASE, *MONITORING] if each["apiVersion"].split("/")[0] in ("ray.io", "monitoring.coreos.com")
]
CORE = [each for each in BASE if each not in CUSTOM]
[RAY] = [each for each in BASE if each["kind"] == "RayCluster"]


def named(manifest: Manifest) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def one(kind: str, name: str, among: list[Manifest] = BASE) -> Manifest:
    [found] = [each for each in among if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def ray_templates() -> dict[str, Manifest]:
    groups = {group["groupName"]: group["template"] for group in RAY["spec"]["workerGroupSpecs"]}
    return {"head": RAY["spec"]["headGroupSpec"]["template"]} | groups


def pod_templates() -> dict[str, Manifest]:
    of_kubernetes = {
        named(each): each["spec"]["template"] for each in BASE if each["kind"] in ("Deployment", "StatefulSet")
    }
    return of_kubernetes | {f"ray-{name}": template for name, template in ray_templates().items()}


def containers() -> dict[str, Manifest]:
    return {
        f"{pod}/{container['name']}": container
        for pod, template in pod_templates().items()
        for part in ("initContainers", "containers")
        for container in template["spec"].get(part, [])
    }


def pod_labels() -> dict[str, dict[str, str]]:
    """As the pods will have them: KubeRay adds its own."""
    found = {pod: dict(template["metadata"]["labels"]) for pod, template in pod_templates().items()}
    for name in ray_templates():
        node_type = "head" if name == "head" else "worker"
        found[f"ray-{name}"] |= {"ray.io/cluster": RAY["metadata"]["name"], "ray.io/node-type": node_type}
    return found


def secrets_of_the_readme() -> dict[str, set[str]]:
    """Name to keys, as the commands there make them."""
    text = (FOLDER / "README.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^kubectl .*create secret generic (\S+)(.*)$", text, re.MULTILINE)
    return {name: set(re.findall(r"--from-(?:literal|file)=([\w.-]+)=", keys)) for name, keys in commands}


class TestSchemas:
    @pytest.mark.parametrize("manifest", CORE, ids=named)
    def test_kubernetes_knows_every_field(self, manifest: Manifest) -> None:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)

    @pytest.mark.parametrize("name", ray_templates())
    def test_the_pod_templates_of_ray_are_valid(self, name: str) -> None:
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": ray_templates()[name]}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)

    def test_a_misspelt_field_is_found(self) -> None:
        slipped = {**one("Deployment", "api"), "spec": one("Deployment", "api")["spec"] | {"replica": 2}}
        with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
            kubernetes_validate.validate(slipped, KUBERNETES, strict=True)

    def test_the_ray_cluster_has_only_fields_of_kuberay(self) -> None:
        # Of ray.io/v1, as far as it is used here: name, and whether KubeRay insists on it.
        spec = RAY["spec"]
        assert RAY["apiVersion"] == "ray.io/v1"
        assert spec.keys() <= {
            *("rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs")
        }
        autoscaler = {"upscalingMode", "idleTimeoutSeconds", "env", "resources", "securityContext"}
        assert spec["autoscalerOptions"].keys() <= autoscaler
        assert spec["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
        assert spec["headGroupSpec"].keys() == {"rayStartParams", "template"}
        for group in spec["workerGroupSpecs"]:
            sizes = {"replicas", "minReplicas", "maxReplicas"}
            assert group.keys() == {"groupName", "rayStartParams", "template", *sizes}
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            assert {type(value) for value in group["rayStartParams"].values()} == {str}

    @pytest.mark.skipif("FGD_TEST_CRDS" not in os.environ, reason="FGD_TEST_CRDS names no folder of CRDs")
    @pytest.mark.parametrize("manifest", CUSTOM, ids=named)
    def test_the_real_definitions_know_every_field(self, manifest: Manifest) -> None:
        jsonschema.validate(manifest, closed(definition(Path(os.environ["FGD_TEST_CRDS"]), manifest)))


def definition(folder: Path, manifest: Manifest) -> dict[str, Any]:
    group, version = manifest["apiVersion"].split("/")
    for file in sorted(folder.glob("*.yaml")):
        for crd in filter(None, yaml.safe_load_all(file.read_text())):
            names = crd["spec"].get("names", {}) if crd["kind"] == "CustomResourceDefinition" else {}
            if (names.get("kind"), crd.get("spec", {}).get("group")) == (manifest["kind"], group):
                [found] = [each for each in crd["spec"]["versions"] if each["name"] == version]
                schema: dict[str, Any] = found["schema"]["openAPIV3Schema"]
                return schema
    raise AssertionError(f"no definition of {manifest['kind']} in {folder}")


def closed(schema: Any) -> Any:
    """Return the schema without unknown fields: Kubernetes would drop such fields without an error."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    is_open = found.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in found
    if isinstance(found.get("properties"), dict) and found.get("type") == "object" and not is_open:
        found["additionalProperties"] = False
    return found


class TestReferences:
    def test_the_readme_creates_every_secret_and_key(self) -> None:
        made = secrets_of_the_readme()
        for where, name, key in secret_references():
            assert name in made, f"{where} wants the secret {name}"
            assert key is None or key in made[name], f"{where} wants {key} of the secret {name}"

    def test_no_file_holds_a_secret(self) -> None:
        assert not [each for each in [*BASE, *MONITORING] if each["kind"] == "Secret"]
        for where, container in containers().items():
            for each in container.get("env", []):
                is_secret = any(word in each["name"] for word in ("TOKEN", "SECRET", "PASSWORD", "DATABASE_URL"))
                assert not is_secret or "valueFrom" in each, f"{where}: {each['name']}"

    def test_every_config_map_exists(self) -> None:
        for container in containers().values():
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    one("ConfigMap", source["configMapRef"]["name"])

    @pytest.mark.parametrize("name", pod_templates())
    def test_every_mount_has_a_volume_and_every_claim_exists(self, name: str) -> None:
        spec = pod_templates()[name]["spec"]
        claims = {each["metadata"]["name"] for each in BASE if each["kind"] == "PersistentVolumeClaim"}
        volumes = {each["name"] for each in spec["volumes"]}
        for each in BASE:
            if named(each) == name and each["kind"] == "StatefulSet":
                volumes |= {claim["metadata"]["name"] for claim in each["spec"]["volumeClaimTemplates"]}
        for volume in spec["volumes"]:
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "data") in claims
        mounted = {mount["name"] for each in every(spec) for mount in each.get("volumeMounts", [])}
        assert mounted == volumes

    def test_every_selector_matches_exactly_its_pods(self) -> None:
        pods = pod_labels()
        met = {}
        for each in [*BASE, *MONITORING]:
            selector = selector_of(each)
            if selector:
                met[named(each)] = {pod for pod, labels in pods.items() if selector.items() <= labels.items()}
        api = ("Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy")
        postgres = ("Service", "StatefulSet", "NetworkPolicy")
        assert met == {
            **{f"{kind}-api": {"Deployment-api"} for kind in api},
            **{f"{kind}-postgres": {"StatefulSet-postgres"} for kind in postgres},
            **{f"{kind}-ray": {"ray-head", "ray-cpu", "ray-gpu"} for kind in ("NetworkPolicy", "PodMonitor")},
            "NetworkPolicy-ray-head": {"ray-head"},
        }

    def test_service_monitors_match_the_labels_of_services(self) -> None:
        wanted = one("ServiceMonitor", "api", MONITORING)["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= one("Service", "api")["metadata"]["labels"].items()

    def test_all_named_ports_exist(self) -> None:
        ports = {where: {port["name"] for port in each.get("ports", [])} for where, each in containers().items()}
        assert one("Service", "api")["spec"]["ports"][0]["targetPort"] in ports["Deployment-api/api"]
        assert one("Service", "postgres")["spec"]["ports"][0]["targetPort"] in ports["StatefulSet-postgres/postgres"]
        backend = one("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        published = {port["name"] for port in one("Service", backend["name"])["spec"]["ports"]}
        assert backend["port"]["name"] in published
        assert one("ServiceMonitor", "api", MONITORING)["spec"]["endpoints"][0]["port"] in published
        scraped = one("PodMonitor", "ray", MONITORING)["spec"]["podMetricsEndpoints"][0]["port"]
        for where, container in containers().items():
            assert not where.startswith("ray-") or scraped in ports[where]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert container.get(probe, {}).get("httpGet", {}).get("port", "none") in {*ports[where], "none"}


def secret_references() -> Iterator[tuple[str, str, str | None]]:
    """(where, secret, key); an optional one is not asked for."""
    asked = dict(containers()) | {"autoscaler": RAY["spec"]["autoscalerOptions"]}
    for where, container in asked.items():
        for each in container.get("env", []):
            if "secretKeyRef" in each.get("valueFrom", {}):
                reference = each["valueFrom"]["secretKeyRef"]
                yield where, reference["name"], reference["key"]
        for source in container.get("envFrom", []):
            if "secretRef" in source and not source["secretRef"].get("optional"):
                yield where, source["secretRef"]["name"], None
    for where, template in pod_templates().items():
        for volume in template["spec"]["volumes"]:
            for item in volume.get("secret", {}).get("items", []):
                yield where, volume["secret"]["secretName"], item["key"]
    for endpoint in one("ServiceMonitor", "api", MONITORING)["spec"]["endpoints"]:
        yield (
            "monitor",
            endpoint["authorization"]["credentials"]["name"],
            endpoint["authorization"]["credentials"]["key"],
        )


def selector_of(manifest: Manifest) -> Mapping[str, str] | None:
    """Of pods."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Service":
            selector: Mapping[str, str] = spec["selector"]
            return selector
        case "NetworkPolicy":
            return spec["podSelector"].get("matchLabels")
        case "Deployment" | "StatefulSet" | "PodDisruptionBudget" | "PodMonitor":
            return spec["selector"]["matchLabels"]
    return None


def every(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


class TestSafety:
    @pytest.mark.parametrize("name", pod_templates())
    def test_no_container_runs_as_root_or_can_become_root(self, name: str) -> None:
        spec = pod_templates()[name]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in every(spec):
            rules = container["securityContext"]
            assert rules["allowPrivilegeEscalation"] is False
            assert rules["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]

    def test_only_the_autoscaler_has_access_to_kubernetes(self) -> None:
        may = {name for name, each in pod_templates().items() if each["spec"].get("automountServiceAccountToken", True)}
        assert may == {"ray-head"}

    @pytest.mark.parametrize("name", [name for name in containers() if not name.startswith("ray-")])
    def test_only_ray_has_a_writable_root_filesystem(self, name: str) -> None:
        assert containers()[name]["securityContext"]["readOnlyRootFilesystem"] is True

    def test_nodes_hold_only_the_token_of_ray(self) -> None:
        held = {name for where, name, _ in secret_references() if where.startswith("ray-")}
        assert held == {"ray"}

    def test_network_policies_allow_only_the_needed_connections(self) -> None:
        """By policy: (from, to, port)."""
        pods = pod_labels()
        allowed = set()
        for policy in (each for each in BASE if each["kind"] == "NetworkPolicy"):
            chosen = policy["spec"]["podSelector"].get("matchLabels", {})
            to = [pod for pod, labels in pods.items() if chosen.items() <= labels.items()]
            for rule in policy["spec"].get("ingress", []):
                for port in [each["port"] for each in rule.get("ports", [])] or ["any"]:
                    allowed |= {(peer, pod, port) for peer in peers(rule["from"], pods) for pod in to}
        into_postgres = {(peer, port) for peer, pod, port in allowed if pod == "StatefulSet-postgres"}
        assert into_postgres == {("Deployment-api", 5432)}
        ray = {"ray-head", "ray-cpu", "ray-gpu"}
        into_api = {(peer, port) for peer, pod, port in allowed if pod == "Deployment-api"}
        assert into_api == {(peer, 8321) for peer in ("ns:ingress-nginx", "ns:monitoring", *ray)}
        into_head = {(peer, port) for peer, pod, port in allowed if pod == "ray-head"} - {(each, "any") for each in ray}
        assert into_head == {("Deployment-api", 8265), ("ns:monitoring", 8080)}
        assert one("NetworkPolicy", "nobody")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}

    def test_nodes_reach_neither_the_database_nor_the_internet(self) -> None:
        rules = one("NetworkPolicy", "ray")["spec"]["egress"]
        reached = {peer for rule in rules for peer in peers(rule["to"], pod_labels())}
        assert reached == {"ray-head", "ray-cpu", "ray-gpu", "Deployment-api", "ns:kube-system", "ns:monitoring"}


def peers(rules: list[Manifest], pods: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for rule in rules:
        if "podSelector" in rule:
            wanted = rule["podSelector"]["matchLabels"]
            yield from (pod for pod, labels in pods.items() if wanted.items() <= labels.items())
        if "namespaceSelector" in rule:
            yield f"ns:{rule['namespaceSelector']['matchLabels']['kubernetes.io/metadata.name']}"


class TestSettings:
    def test_every_variable_is_a_setting(self) -> None:
        used = set(one("ConfigMap", "fgd")["data"])
        used |= {each["name"] for container in containers().values() for each in container.get("env", [])}
        assert {name for name in used if not name.startswith(NOT_OURS)} <= {variable(name) for name in all_settings()}

    def test_all_settings_are_valid_together(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        secret = {
            "FGD_DATABASE_URL": "postgresql://fgd:x@postgres:5432/fgd",
            "FGD_SECRET": "s" * 64,
            "FGD_ADMIN_TOKEN": "a" * 64,
            "FGD_HOST": "0.0.0.0",
            "FGD_HOME": str(tmp_path),
        }
        for name, value in (one("ConfigMap", "fgd")["data"] | secret).items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert (settings.run_files, settings.auth) == ("through_server", "tokens")
        assert settings.storage.dir == Path("/artifacts")

    def test_addresses_name_existing_services(self) -> None:
        data = one("ConfigMap", "fgd")["data"]
        port = one("Service", "api")["spec"]["ports"][0]["port"]
        assert data["FGD_PUBLIC_URL"] == f"http://api:{port}"
        # KubeRay names the service of the head after the cluster.
        assert data["FGD_RAY_DASHBOARD_URL"] == f"http://{RAY['metadata']['name']}-head-svc:8265"
        mounts = {mount["name"]: mount["mountPath"] for mount in containers()["Deployment-api/api"]["volumeMounts"]}
        assert data["FGD_STORAGE_URL"] == mounts["artifacts"]
        assert data["FGD_METRICS_TOKEN_FILE"].startswith(mounts["metrics-token"])

    def test_the_node_types_are_the_groups_of_ray(self) -> None:
        stated = TypeAdapter(list[NodeType]).validate_json(one("ConfigMap", "fgd")["data"]["FGD_RAY_NODE_TYPES"])
        found = []
        for group in RAY["spec"]["workerGroupSpecs"]:
            [container] = group["template"]["spec"]["containers"]
            limits, gpus = container["resources"]["limits"], node_gpus(group["template"])
            found.append(NodeType(cpus=limits["cpu"], gpus=gpus, max_nodes=group["maxReplicas"]))
        assert stated == found

    def test_images_and_the_release_of_ray_match_this_repository(self) -> None:
        images = {where: each["image"] for where, each in containers().items()}
        assert {image for where, image in images.items() if where.startswith("ray-")} == {"fgd-ray"}
        assert {image for where, image in images.items() if where.startswith("Deployment-api")} == {"fgd"}
        renamed = {each["name"] for each in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]}
        assert renamed == {"fgd", "fgd-ray"}
        pins = (FOLDER.parent / "requirements-workers.txt").read_text()
        assert f"ray=={RAY['spec']['rayVersion']}" in pins or f"]=={RAY['spec']['rayVersion']}" in pins

    def test_health_probes_use_programs_of_the_image(self) -> None:
        nodes = [each for where, each in containers().items() if where.startswith("ray-")]
        assert all("httpGet" in each[probe] for each in nodes for probe in ("livenessProbe", "readinessProbe"))

    def test_nodes_provide_what_runs_need(self) -> None:
        for name, template in ray_templates().items():
            [node] = template["spec"]["containers"]
            mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in node["volumeMounts"]}
            assert mounts == {"/scratch": False, "/home/fgd/.cache": False, "/tmp": False, "/data": True}, name
        gpus = {name: node_gpus(template) for name, template in ray_templates().items()}
        assert gpus == {"head": 0, "cpu": 0, "gpu": 1}


def node_gpus(template: Manifest) -> int:
    return int(template["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0))
