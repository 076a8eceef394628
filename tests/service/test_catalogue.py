"""The catalogue is derived from the specs, so it is always up to date with them."""

from typing import Any, get_args

import pytest
from control_plane import ControlPlane
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from fgd_core.spec.base import Command
from fgd_core.spec.catalogue import Catalogue, Entry, SectionName, Setting
from fgd_core.spec.methods import PRESETS
from fgd_core.spec.paths import with_fields
from service.catalogue import catalogue
from service.catalogue.settings import SECTIONS, read

pytestmark = pytest.mark.one_database

ENTRIES = [(section, entry) for section in get_args(SectionName) for entry in getattr(catalogue(), section)]
IDS = [f"{section}-{entry.name}" for section, entry in ENTRIES]


def setting_of(name: str, path: str) -> Setting:
    (entry,) = [entry for _, entry in ENTRIES if entry.name == name]
    return next(setting for setting in entry.settings if setting.path == path)


def members(union: Any) -> list[type[Command]]:
    while hasattr(union, "__metadata__"):
        union = union.__origin__
    return list(get_args(union)) or [union]


class TestContent:
    @pytest.mark.parametrize("section", SECTIONS)
    def test_every_member_of_every_union_is_an_entry(self, section: SectionName) -> None:
        listed = {(entry.chosen_by, entry.name) for entry in getattr(catalogue(), section)}
        expected = set()
        for member in members(SECTIONS[section]):
            tag = next(name for name in ("type", "kind", "name") if name in member.model_fields)
            expected |= {(tag, name) for name in get_args(member.model_fields[tag].annotation)}
        assert listed == expected

    def test_every_preset_is_listed_with_its_dimensions(self) -> None:
        spaces = {space.name: space.dimensions for space in catalogue().spaces}
        assert set(spaces) == set(PRESETS)
        assert set(spaces["fgd-scale"]) == {"method.scale"}

    @pytest.mark.parametrize(
        ("section", "entry"), ENTRIES, ids=[f"{section}-{entry.name}" for section, entry in ENTRIES]
    )
    def test_every_entry_and_setting_has_help(self, section: SectionName, entry: Entry) -> None:
        """If this fails: write a docstring under the field, or under its class, in `fgd_core/spec`."""
        assert entry.help
        assert [setting.path for setting in entry.settings if not setting.help] == []

    def test_help_is_the_docstring_in_one_line(self) -> None:
        assert setting_of("fgd", "alpha").help == "Weight of the foreground's feature loss."
        assert not [setting for _, entry in ENTRIES for setting in entry.settings if "\n" in setting.help]


class TestSettings:
    @pytest.mark.parametrize(
        ("section", "entry"),
        [(section, entry) for section, entry in ENTRIES if not any(setting.required for setting in entry.settings)],
        ids=lambda value: value.name if isinstance(value, Entry) else value,
    )
    def test_the_listed_defaults_are_the_specs_defaults(self, section: SectionName, entry: Entry) -> None:
        chosen: dict[str, Any] = {entry.chosen_by: entry.name}
        default = TypeAdapter(SECTIONS[section]).validate_python(chosen)
        inner = [setting for setting in entry.settings if "." not in setting.path]
        explicit = with_fields(chosen, {setting.path: setting.default for setting in inner})
        assert TypeAdapter(SECTIONS[section]).validate_python(explicit) == default

    def test_the_listed_limits_are_enforced(self) -> None:
        threshold = setting_of("retinanet", "score_threshold")
        assert (threshold.type, threshold.minimum, threshold.exclusive_maximum) == ("number", 0, 1)
        detector: TypeAdapter[Any] = TypeAdapter(SECTIONS["detectors"])
        detector.validate_python({"type": "retinanet", "score_threshold": threshold.minimum})
        with pytest.raises(ValidationError):
            detector.validate_python({"type": "retinanet", "score_threshold": threshold.exclusive_maximum})

    def test_the_values_of_a_choice_are_listed(self) -> None:
        assert setting_of("fgd", "mask").values == ["geometric", "official"]

    def test_nested_fields_have_the_path_that_set_takes(self) -> None:
        assert setting_of("distill", "training.epochs").default == 12
        assert setting_of("distill", "teacher.checkpoint").required
        assert setting_of("sweep", "objectives.0.metric").default == "ap"

    def test_a_choice_of_entries_names_their_section(self) -> None:
        backbone = setting_of("retinanet", "backbone")
        assert backbone.section == "backbones"
        assert backbone.values == [entry.name for entry in catalogue().backbones]
        assert setting_of("sweep", "base").values == ["train", "distill"]


class TestNewSpec:
    class Other(Command):
        """Another one."""

        type: str = Field(default="other", json_schema_extra={"const": "other"})
        strength: float | None = Field(default=0.5, gt=0, le=2)
        """How strong."""
        stages: tuple[int, int] = (1, 2)
        """Which two."""

    def test_a_new_spec_is_listed_without_registration(self) -> None:
        ((entry,)) = read({"methods": self.Other})["methods"]
        assert (entry.name, entry.chosen_by, entry.help) == ("other", "type", "Another one.")
        listed: dict[str, tuple[str, JsonValue, float | None, float | None]] = {
            each.path: (each.type, each.default, each.exclusive_minimum, each.maximum) for each in entry.settings
        }
        assert listed == {
            "strength": ("number or null", 0.5, 0, 2),
            "stages": ("list of 2: whole number", [1, 2], None, None),
        }


class TestRoute:
    async def test_the_route_returns_the_installed_catalogue(self, plane: ControlPlane) -> None:
        answer = await plane.http.get("/v1/catalogue")
        assert answer.status_code == 200
        assert Catalogue.model_validate(answer.json()) == catalogue()
