"""Grafana's boards and Prometheus' alerts, as far as that goes without either."""

import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from board_queries import ALERTS, BOARDS, GRAFANA, PROMETHEUS, ROOT, RULES, Asked, asked, selectors, served

from deploy.grafana.boards.__main__ import files

ASKED = list(asked())
NO_PROMTOOL = "promtool is not installed; Debian's package `prometheus` brings it"


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def promtool(*arguments: str) -> None:
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class TestQueries:
    @pytest.mark.parametrize("query", ASKED, ids=[each.where for each in ASKED])
    def test_each_query_is_promql_over_existing_metrics(self, query: Asked) -> None:
        known = served()
        found = selectors(query.expr)
        assert found
        for selector in found:
            assert selector.name in known, f"{selector.name} is not served"
            assert selector.labels <= known[selector.name], f"{selector.name} has no such label"

    def test_metrics_of_the_whole_system_are_not_summed(self) -> None:
        whole = ("fgd_jobs", "fgd_queue_oldest_seconds", "fgd_runs_silent", "fgd_runs_oldest_heartbeat_seconds")
        for where, expr in ASKED:
            for name in whole:
                for before in re.findall(rf"(\w+(?: by \([^)]*\))?) ?\({name}\b", expr):
                    assert before.startswith("max"), where

    def test_each_metric_of_the_control_plane_is_on_a_board_or_in_an_alert(self) -> None:
        used = {re.sub("_(bucket|sum|count|total)$", "", each.name) for _, expr in ASKED for each in selectors(expr)}
        ours = {re.sub("_(bucket|sum|count|total)$", "", name) for name in served() if name.startswith("fgd_")}
        assert ours <= used

    def test_each_metric_of_runs_and_sweeps_is_on_a_board(self) -> None:
        used = {each.name for _, expr in ASKED for each in selectors(expr)}
        assert {name for name in served() if name.startswith("ray_fgd_")} <= used


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
class TestBoards:
    def test_panels_lie_within_the_grid_without_overlap(self, board: dict[str, Any]) -> None:
        places = [(panel["title"], panel["gridPos"]) for panel in board["panels"]]
        for title, place in places:
            assert place["w"] > 0 and place["h"] > 0 and 0 <= place["x"] <= 24 - place["w"], title
        for (title, one), (other_title, other) in combinations(places, 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart, f"{title} lies on {other_title}"

    def test_rows_have_no_gaps(self, board: dict[str, Any]) -> None:
        by_line: dict[int, list[dict[str, int]]] = {}
        for panel in board["panels"]:
            by_line.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
        for line, places in by_line.items():
            assert sum(place["w"] for place in places) == 24, f"line {line}"
            assert len({place["h"] for place in places}) == 1, f"line {line}"

    def test_panels_have_a_description_a_unit_and_an_id(self, board: dict[str, Any]) -> None:
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in panels:
            assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0

    def test_all_panels_use_the_provisioned_data_source(self, board: dict[str, Any]) -> None:
        (source,) = loaded(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
        wanted = {"type": source["type"], "uid": source["uid"]}
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                assert panel["datasource"] == target["datasource"] == wanted
        assert all(variable["datasource"] == wanted for variable in board["templating"]["list"])

    def test_links_lead_to_existing_boards_and_variables(self, board: dict[str, Any]) -> None:
        variables = {each["uid"]: {v["name"] for v in each["templating"]["list"]} for each in BOARDS.values()}
        links = [link["url"] for link in board["links"]]
        for panel in board["panels"]:
            links += [link["url"] for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", ())]
        assert links
        for url in links:
            path, _, query = url.partition("?")
            uid = path.removeprefix("/d/")
            assert uid in variables
            assert {name.removeprefix("var-") for name in re.findall(r"var-\w+(?==)", query)} <= variables[uid]

    def test_all_used_variables_exist(self, board: dict[str, Any]) -> None:
        known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                assert set(re.findall(r"\$(\w+)", target["expr"])) <= known


class TestFiles:
    def test_generated_boards_are_up_to_date(self) -> None:
        made = dict(files())
        assert {path.name for path in made} == {f"{name}.json" for name in BOARDS}
        for path, content in made.items():
            assert path.read_text() == content, "run python3 -m deploy.grafana.boards"

    def test_uids_are_fixed_and_unique(self) -> None:
        assert {board["uid"] for board in BOARDS.values()} == {"fgd-fleet", "fgd-job", "fgd-sweep"}

    def test_grafana_finds_the_boards_where_compose_puts_them(self) -> None:
        grafana = loaded(ROOT / "docker-compose.yml")["services"]["grafana"]
        (provider,) = loaded(GRAFANA / "provisioning/dashboards/fgd.yml")["providers"]
        mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
        assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
        assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"

    def test_prometheus_scrapes_services_that_compose_defines(self) -> None:
        services = loaded(ROOT / "docker-compose.yml")["services"]
        config = loaded(PROMETHEUS / "prometheus.yml")
        for scrape in config["scrape_configs"]:
            for discovery in scrape.get("dns_sd_configs", ()):
                for name in discovery["names"]:
                    assert name in services
                    assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])

    def test_the_jobs_in_alerts_and_boards_are_scraped(self) -> None:
        config = loaded(PROMETHEUS / "prometheus.yml")
        scraped = {scrape["job_name"] for scrape in config["scrape_configs"]}
        named = {name for _, expr in ASKED for name in re.findall(r'\bjob="([^"]+)"', expr)}
        assert named and named <= scraped

    def test_the_scrape_token_is_where_compose_mounts_it(self) -> None:
        compose = loaded(ROOT / "docker-compose.yml")
        (api,) = [s for s in loaded(PROMETHEUS / "prometheus.yml")["scrape_configs"] if s["job_name"] == "fgd"]
        secret = Path(api["authorization"]["credentials_file"]).name
        assert secret in compose["services"]["prometheus"]["secrets"]
        assert compose["services"]["api"]["environment"]["FGD_METRICS_TOKEN_FILE"] == f"/run/secrets/{secret}"
        assert secret in compose["services"]["api"]["secrets"]


class TestAlerts:
    @pytest.mark.parametrize("name", RULES)
    def test_each_alert_has_a_summary_and_a_runbook(self, name: str) -> None:
        rule = RULES[name]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        # As GitHub makes them.
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def test_each_alert_is_tested(self) -> None:
        scenes = (PROMETHEUS / "alerts_test.yml").read_text()
        assert [name for name in RULES if name not in scenes] == []

    def test_alert_names_are_unique(self) -> None:
        assert len(RULES) == sum(len(group["rules"]) for group in ALERTS["groups"])

    @pytest.mark.skipif(shutil.which("promtool") is None, reason=NO_PROMTOOL)
    def test_each_test_case_fires_exactly_its_alerts(self) -> None:
        promtool("test", "rules", "alerts_test.yml")

    @pytest.mark.skipif(shutil.which("promtool") is None, reason=NO_PROMTOOL)
    def test_prometheus_accepts_its_configuration(self) -> None:
        # Without looking for the token's file, which is mounted.
        promtool("check", "config", "--syntax-only", "prometheus.yml")
