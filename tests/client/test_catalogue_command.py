"""`fgd catalogue`, for people and for programs."""

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
    def test_everything_is_listed_by_its_name(self, fgd: Fgd) -> None:
        said = fgd("catalogue")
        assert said.exit_code == 0
        assert [entry.name for _, entry in all_entries(catalogue()) if entry.name not in said.out] == []

    def test_one_thing_is_told_whole(self, fgd: Fgd) -> None:
        said = fgd("catalogue", "fgd").out
        assert "written as type: fgd" in said
        (mask,) = [line for line in said.splitlines() if line.startswith("mask ")]
        assert mask.split() == ["mask", "geometric", "geometric", "|", "official"]
        assert "Temperature of the spatial and channel attention." in said

    def test_a_default_that_is_an_entry_is_told_by_its_name(self, fgd: Fgd) -> None:
        (optimizer,) = [line for line in fgd("catalogue", "train").out.splitlines() if "training.optimizer" in line]
        assert optimizer.split()[:4] == ["training.optimizer", "sgd", "optimizers:", "sgd,"]

    def test_a_section_is_its_entries(self, fgd: Fgd) -> None:
        said = fgd("catalogue", "searchers", "--json").json
        assert [entry["name"] for entry in said] == [entry.name for entry in catalogue().searchers]

    def test_a_slip_is_answered_with_the_near_one(self, fgd: Fgd) -> None:
        said = fgd("catalogue", "retinanett")
        assert said.exit_code == 1
        assert "did you mean 'retinanet'?" in said.err

    def test_json_is_all_of_it(self, fgd: Fgd) -> None:
        assert fgd("catalogue", "--json").json == catalogue().model_dump(mode="json")


class TestWithAServer:
    def test_it_tells_what_the_server_knows(self, fgd: Fgd, server: LiveServer) -> None:
        assert fgd("catalogue", "--server", server.url, "--json").json == fgd("catalogue", "--json").json

    def test_no_server_ends_with_3(self, fgd: Fgd) -> None:
        assert fgd("catalogue", "--server", "http://127.0.0.1:9").exit_code == 3


class TestInEightyColumns:
    def test_the_list_shows_every_name_whole(self) -> None:
        said = shown(overview(all_entries(catalogue())))
        assert "…" not in said
        assert max(map(len, said.splitlines())) <= 80
        assert "population_based" in said

    @pytest.mark.parametrize("name", ["retinanet", "resnet50", "distill", "sweep", "fgd", "fgd-weights"])
    def test_settings_are_uncut(self, name: str) -> None:
        everything = all_entries(catalogue())
        ((section, entry),) = [each for each in everything if each[1].name == name]
        said = shown(details(section, entry, defaults={}))
        assert said.count("…") == entry.model_dump_json().count("…")
        assert max(map(len, said.splitlines())) <= 80
