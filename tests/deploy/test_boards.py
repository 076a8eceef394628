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
    def test_it_is_promql_and_asks_for_what_is_served(self, query: Asked) -> None:
        known = served()
        found = selectors(query.expr)
        assert found
        for selector in found:
            assert selector.name in known, f"nobody serves {selector.name}"
            assert selector.labels <= known[selector.name], f"{selector.name} has no such label"

    def test_what_every_replica_says_of_the_whole_system_is_not_added_up(self) -> None:
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
    def test_panels_lie_within_the_grid_and_on_nothing_else(self, board: dict[str, Any]) -> None:
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

    def test_rows_are_filled(self, board: dict[str, Any]) -> None:
        by_line: dict[int, list[dict[str, int]]] = {}
        for panel in board["panels"]:
            by_line.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
        for line, places in by_line.items():
            assert sum(place["w"] for place in places) == 24, f"line {line}"
            assert len({place["h"] for place in places}) == 1, f"line {line}"

    def test_panels_say_what_they_show_in_which_unit_and_are_numbered(self, board: dict[str, Any]) -> None:
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in panels:
            assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0

    def test_everything_is_asked_of_the_source_that_is_provisioned(self, board: dict[str, Any]) -> None:
        (source,) = loaded(GRAFANA / "provisioning/datasources/prometheus.yml")["datasources"]
        wanted = {"type": source["type"], "uid": source["uid"]}
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                assert panel["datasource"] == target["datasource"] == wanted
        assert all(variable["datasource"] == wanted for variable in board["templating"]["list"])

    def test_links_lead_to_boards_and_variables_that_are_there(self, board: dict[str, Any]) -> None:
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

    def test_variables_that_are_used_are_there(self, board: dict[str, Any]) -> None:
        known = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                assert set(re.findall(r"\$(\w+)", target["expr"])) <= known


class TestFiles:
    def test_boards_are_as_they_are_made(self) -> None:
        made = dict(files())
        assert {path.name for path in made} == {f"{name}.json" for name in BOARDS}
        for path, content in made.items():
            assert path.read_text() == content, "run python3 -m deploy.grafana.boards"

    def test_uids_are_fixed_and_everybodys_own(self) -> None:
        assert {board["uid"] for board in BOARDS.values()} == {"fgd-fleet", "fgd-job", "fgd-sweep"}

    def test_grafana_finds_the_boards_where_compose_puts_them(self) -> None:
        grafana = loaded(ROOT / "docker-compose.yml")["services"]["grafana"]
        (provider,) = loaded(GRAFANA / "provisioning/dashboards/fgd.yml")["providers"]
        mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
        assert mounted["./deploy/grafana/dashboards"] == provider["options"]["path"]
        assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"

    def test_prometheus_watches_services_that_compose_has(self) -> None:
        services = loaded(ROOT / "docker-compose.yml")["services"]
        config = loaded(PROMETHEUS / "prometheus.yml")
        for scrape in config["scrape_configs"]:
            for discovery in scrape.get("dns_sd_configs", ()):
                for name in discovery["names"]:
                    assert name in services
                    assert set(services[name]["networks"]) & set(services["prometheus"]["networks"])

    def test_the_jobs_that_alerts_and_boards_ask_for_are_scraped(self) -> None:
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
    def test_it_says_what_is_wrong_and_where_it_stands_what_to_do(self, name: str) -> None:
        rule = RULES[name]
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        # As GitHub makes them.
        assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def test_each_is_set_off_by_a_scene(self) -> None:
        scenes = (PROMETHEUS / "alerts_test.yml").read_text()
        assert [name for name in RULES if name not in scenes] == []

    def test_names_are_given_once(self) -> None:
        assert len(RULES) == sum(len(group["rules"]) for group in ALERTS["groups"])

    @pytest.mark.skipif(shutil.which("promtool") is None, reason=NO_PROMTOOL)
    def test_each_scene_sets_off_what_it_says_and_nothing_else(self) -> None:
        promtool("test", "rules", "alerts_test.yml")

    @pytest.mark.skipif(shutil.which("promtool") is None, reason=NO_PROMTOOL)
    def test_prometheus_takes_its_configuration(self) -> None:
        # Without looking for the token's file, which is mounted.
        promtool("check", "config", "--syntax-only", "prometheus.yml")
