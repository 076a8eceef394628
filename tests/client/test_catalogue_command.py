"""`fgd catalogue`, as text and as JSON."""

import pytest
from rich.console import Console

from service.catalogue import catalogue
from service.client.catalogue_tables import all_entries, details, overview
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer


def shown(renderable: object) -> str:
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


class TestWithoutAServer:
    def test_the_list_has_every_name(self, fgd: Fgd) -> None:
        ended = fgd("catalogue")
        assert ended.exit_code == 0
        assert [entry.name for _, entry in all_entries(catalogue()) if entry.name not in ended.out] == []

    def test_one_entry_is_shown_with_all_settings(self, fgd: Fgd) -> None:
        text = fgd("catalogue", "fgd").out
        assert "written as type: fgd" in text
        (mask,) = [line for line in text.splitlines() if line.startswith("mask ")]
        assert mask.split() == ["mask", "geometric", "geometric", "|", "official"]
        assert "Temperature of the spatial and channel attention." in text

    def test_a_default_that_is_an_entry_is_shown_by_its_name(self, fgd: Fgd) -> None:
        (optimizer,) = [line for line in fgd("catalogue", "train").out.splitlines() if "training.optimizer" in line]
        assert optimizer.split()[:4] == ["training.optimizer", "sgd", "optimizers:", "sgd,"]

    def test_a_section_lists_its_entries(self, fgd: Fgd) -> None:
        ended = fgd("catalogue", "searchers", "--json").json
        assert [entry["name"] for entry in ended] == [entry.name for entry in catalogue().searchers]

    def test_a_misspelt_name_gets_a_suggestion(self, fgd: Fgd) -> None:
        ended = fgd("catalogue", "retinanett")
        assert ended.exit_code == 1
        assert "did you mean 'retinanet'?" in ended.err

    def test_json_has_the_whole_catalogue(self, fgd: Fgd) -> None:
        assert fgd("catalogue", "--json").json == catalogue().model_dump(mode="json")


class TestWithAServer:
    def test_it_shows_the_servers_catalogue(self, fgd: Fgd, server: LiveServer) -> None:
        assert fgd("catalogue", "--server", server.url, "--json").json == fgd("catalogue", "--json").json

    def test_without_an_answer_the_exit_code_is_3(self, fgd: Fgd) -> None:
        assert fgd("catalogue", "--server", "http://127.0.0.1:9").exit_code == 3


class TestInEightyColumns:
    def test_the_list_cuts_no_name(self) -> None:
        text = shown(overview(all_entries(catalogue())))
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80
        assert "population_based" in text

    @pytest.mark.parametrize("name", ["retinanet", "resnet50", "distill", "sweep", "fgd", "fgd-weights"])
    def test_settings_are_not_cut(self, name: str) -> None:
        everything = all_entries(catalogue())
        ((section, entry),) = [each for each in everything if each[1].name == name]
        text = shown(details(section, entry, defaults={}))
        assert text.count("…") == entry.model_dump_json().count("…")
        assert max(map(len, text.splitlines())) <= 80
