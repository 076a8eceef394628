"""The recipes: each is the published job, with the published settings and levels."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from pydantic import JsonValue

from fgd_core.detectors import build_detector
from fgd_core.detectors.weights.classes import COCO_CLASSES
from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.matching import load_weights
from fgd_core.detectors.weights.mmdetection import mmdetection_weights
from fgd_core.spec.kinds.distill import DistillSpec
from fgd_core.spec.methods import Ld
from fgd_core.spec.paths import field
from fgd_core.spec.recipes import Publication
from fgd_core.training.distiller import Distiller
from service.catalogue.recipes import recipes
from service.client.client import FgdClient
from service.client.commands.recipes import as_markdown, recipe_table
from service.client.spec_file import read_spec
from tests.client.conftest import Fgd
from tests.client.live_server import LiveServer
from tests.client.test_catalogue_command import shown
from tests.detectors.mmdetection_layouts import filled
from tests.published_teachers import config_of, layout_of, tiny

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "paper"
NAMES = sorted(recipes())

# FGD's weights in the authors' configurations, by kind of student: alpha, beta, gamma, lambda, temperature.
PUBLISHED = {
    "retinanet": (1e-3, 5e-4, 5e-4, 5e-6, 0.5),
    "solo": (1e-3, 5e-4, 5e-4, 5e-6, 0.5),
    "gfl": (1e-3, 5e-4, 5e-4, 5e-6, 0.5),
    "reppoints": (1.6e-3, 8e-4, 8e-4, 8e-6, 0.5),
    "fcos": (1.6e-3, 8e-4, 8e-4, 8e-6, 0.8),
    "faster_rcnn": (5e-5, 2.5e-5, 5e-5, 5e-7, 0.5),
    "mask_rcnn": (5e-5, 2.5e-5, 5e-5, 5e-7, 0.5),
}
# The weights of other methods in the authors' configurations.
OTHERS: Mapping[str, Mapping[str, JsonValue]] = {
    "retinanet_r50_from_mask_rcnn_swin": {"weight": 6, "pairing": "index", "levels": 4},
    "pkd_faster_rcnn_r50_from_r101": {"weight": 6, "levels": 4},
    "pkd_retinanet_r50_from_x101": {"weight": 10, "levels": 4},
    "pkd_reppoints_r50_from_x101": {"weight": 10, "levels": 4},
    "mgd_retinanet_r50_from_x101": {"alpha": 2e-5, "lambda_": 0.65},
    "mgd_reppoints_r50_from_x101": {"alpha": 2e-5, "lambda_": 0.65},
    "cwd_retinanet_r50_from_x101": {"weight": 5, "temperature": 1, "levels": 4, "on": "features"},
    "ld_gfl_r50_from_r101": {"classes": 10, "temperature": 10, "class_temperature": 2},
    "crosskd_gfl_r50_from_r101": {"classes": 1, "boxes": 0, "sides": 4, "depth": 3},
    "crosskd_retinanet_r50_from_r101": {"classes": 1, "boxes": 1, "sides": 0, "depth": 3, "box_measure": "giou"},
}
# Fields of a method that a recipe sets to another value than the method publishes for the pair.
NOT_DEFAULTS = {"retinanet_r50_from_mask_rcnn_swin": {"pairing"}, "ld_gfl_r50_from_r101": {"main", "valuable"}}
# Methods whose authors clip gradients, and copy the teacher's neck and head.
OF_THE_AUTHORS_OF_FGD = ("fgd", "mgd")
# Students with the shorter of both schedules.
ONE_SCHEDULE = ("gfl", "solo")
TWO_STAGES = ("faster_rcnn", "mask_rcnn")


def job(name: str) -> DistillSpec:
    spec = read_spec(f"recipe:{name}")
    assert isinstance(spec, DistillSpec)
    return spec


def weights_of(spec: DistillSpec) -> Mapping[str, JsonValue]:
    """Return the published weights of a recipe."""
    if spec.method.type != "fgd":
        return OTHERS[spec.name]
    names = ("alpha", "beta", "gamma", "lambda_", "temperature")
    return {"scale": 1, "mask": "official", **dict(zip(names, PUBLISHED[spec.student.type], strict=True))}


def heading(publication: Publication) -> list[str]:
    """Return the comments that the file of a recipe must begin with."""
    lines = [f"{publication.student}, taught by {publication.teacher}."]
    for what, ap in (("boxes", publication.boxes), ("masks", publication.masks)):
        if ap is not None:
            reached = "not published" if ap.distilled is None else str(ap.distilled)
            figures = f"teacher {ap.teacher}, student alone {ap.student}, distilled {reached}"
            beside = f" ({ap.without_inheriting} with inherit: nothing)" if ap.without_inheriting is not None else ""
            lines.append(f"AP of {what} on val2017: {figures}{beside}.")
    lines.append(f"Figures: {publication.source}.")
    lines.append(f"Settings: {publication.config}.")
    lines += [f"Differs: {each}." for each in publication.differs]
    return lines


class TestEachRecipe:
    @pytest.mark.parametrize("name", NAMES)
    def test_its_file_begins_with_its_publication(self, name: str) -> None:
        lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
        first_lines = heading(recipes()[name].publication)
        assert [line.removeprefix("# ") for line in lines[: len(first_lines)]] == first_lines
        assert not lines[len(first_lines)].startswith("#")

    @pytest.mark.parametrize("name", NAMES)
    def test_its_weights_are_the_published_ones(self, name: str) -> None:
        spec = job(name)
        method = spec.method.model_dump()
        assert {field: method[field] for field in method if field in weights_of(spec)} == weights_of(spec)
        published = spec.method.published(spec.student, spec.teacher.detector).model_dump()
        differing = {field for field, value in method.items() if value != published[field]}
        assert differing == NOT_DEFAULTS.get(name, set())

    def test_the_sums_of_ld_over_images_are_divided_by_the_number_of_gpus_of_the_authors(self) -> None:
        method = job("ld_gfl_r50_from_r101").method
        assert isinstance(method, Ld)
        assert (8 * method.main, 8 * method.valuable) == (0.25, 0.25)

    @pytest.mark.parametrize("name", NAMES)
    def test_its_schedule_is_the_published_one(self, name: str) -> None:
        spec = job(name)
        is_short = spec.student.type in ONE_SCHEDULE
        milestones = tuple(round(part * spec.training.epochs, 6) for part in spec.training.schedule.milestones)
        assert (spec.training.epochs, *milestones) == ((12, 8, 11) if is_short else (24, 16, 22))
        published: dict[str, JsonValue] = {
            "batch_size": 16,
            "clip_norm": 35 if spec.method.type in OF_THE_AUTHORS_OF_FGD else None,
            "warmup_steps": 500,
            "optimizer.type": "sgd",
            "optimizer.momentum": 0.9,
            "optimizer.weight_decay": 1e-4,
            "optimizer.learning_rate": 0.02 if spec.student.type in TWO_STAGES else 0.01,
        }
        training = spec.training.model_dump(mode="json")
        assert {path: field(training, path) for path in published} == published

    @pytest.mark.parametrize("name", NAMES)
    def test_neck_and_head_are_shared_where_the_authors_do_and_the_kinds_are_equal(self, name: str) -> None:
        spec = job(name)
        assert spec.teacher.detector is not None
        is_same = spec.teacher.detector.type == spec.student.type
        is_shared = is_same and spec.method.type in OF_THE_AUTHORS_OF_FGD
        assert spec.inherit == ("neck_and_head" if is_shared else "nothing")

    @pytest.mark.parametrize("name", NAMES)
    def test_the_teacher_must_reach_the_published_ap(self, name: str) -> None:
        boxes = recipes()[name].publication.boxes
        # The gate measures the AP of boxes; of SOLO only that of masks is published.
        assert job(name).teacher.expected_ap == (pytest.approx(boxes.teacher / 100) if boxes is not None else None)

    @pytest.mark.parametrize("name", NAMES)
    def test_exactly_the_published_levels_are_distilled(self, name: str) -> None:
        spec = job(name)
        assert spec.teacher.detector is not None
        student, teacher = (build_detector(tiny(each), 80) for each in (spec.student, spec.teacher.detector))
        distiller = Distiller(spec.method, student, teacher)
        assert tuple(distiller.level_names) == recipes()[name].publication.levels

    @pytest.mark.parametrize("name", NAMES)
    def test_a_file_of_mmdetection_fills_the_whole_teacher(self, name: str) -> None:
        settings = job(name).teacher.detector
        assert settings is not None
        config = config_of(recipes()[name].teacher_file)
        # Reading caffe weights computes with the numbers of the first convolution; other files need no numbers.
        device = "cpu" if "caffe" in config else "meta"
        with torch.device(device):
            file = WeightsFile(
                state=filled(layout_of(recipes()[name].teacher_file), device=device),
                config=config,
                path=Path(recipes()[name].teacher_file),
                classes=COCO_CLASSES,
                version="2.11.0",
            )
            offer = mmdetection_weights(file, settings, COCO_CLASSES)
            teacher = build_detector(settings, len(COCO_CLASSES))
            loaded = load_weights(teacher, offer, classes=COCO_CLASSES, role="teacher", source="mmdetection")
        assert loaded.is_complete, (loaded.event.missing, loaded.event.mismatched, loaded.event.unexpected)

    def test_the_index_has_every_file(self) -> None:
        assert {path.stem for path in FOLDER.glob("*.yaml")} == {*NAMES, "index"}


class TestTable:
    def test_the_readme_has_the_table(self) -> None:
        assert as_markdown(recipes().values()) in (FOLDER / "README.md").read_text()

    def test_it_fits_into_80_columns(self) -> None:
        text = shown(recipe_table(recipes().values(), width=80))
        assert "…" not in text
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        (line,) = [line for line in text.splitlines() if line.startswith("mask_rcnn_r50_from_cascade_x101")]
        assert line.split()[1:] == ["fgd", "39.2", "/", "35.4", "42.1", "/", "37.8", "47.3", "/", "41.1"]
        (line,) = [line for line in text.splitlines() if line.startswith("solo_r50_from_r101")]
        assert line.split()[1:] == ["fgd", "–", "/", "33.1", "–", "/", "36.0", "–", "/", "37.1"]


class TestCommand:
    def test_it_lists_all(self, fgd: Fgd) -> None:
        ended = fgd("recipes")
        assert ended.exit_code == 0
        assert [name for name in NAMES if name not in ended.out] == []
        assert "Cascade Mask R-CNN" in ended.out

    def test_json_has_the_figures_and_the_checkpoints_file(self, fgd: Fgd) -> None:
        by_name = {recipe["name"]: recipe for recipe in fgd("recipes", "--json").json}
        gfl = by_name["gfl_r50_from_r101"]
        assert gfl["publication"]["boxes"]["distilled"] == 43.5
        assert gfl["teacher_file"] == "gfl_r101_fpn_mstrain_2x_coco_20200629_200126-dd12f847.pth"

    @pytest.mark.parametrize("name", NAMES)
    def test_a_shown_recipe_can_be_submitted(self, fgd: Fgd, tmp_path: Path, name: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(fgd("recipes", "show", name).out)
        assert read_spec(str(path)) == read_spec(f"recipe:{name}", under=tmp_path)

    def test_a_misspelt_name_gets_a_suggestion(self, fgd: Fgd) -> None:
        ended = fgd("recipes", "show", "gfl_r50_from_r100")
        assert ended.exit_code == 1
        assert "did you mean 'gfl_r50_from_r101'?" in ended.err


class TestSubmit:
    def test_a_recipe_is_submitted_by_its_name(
        self, fgd: Fgd, server: LiveServer, client: FgdClient, tmp_path: Path
    ) -> None:
        no_gpu = ("--set", "resources={cpus: 1, gpus: 0}")
        ended = fgd(
            "submit", "recipe:gfl_r50_from_r101", "--under", tmp_path, *no_gpu, "--server", server.url, "--json"
        )
        assert ended.exit_code == 0, ended.out
        spec = client.job(ended.json["job_id"]).spec
        assert isinstance(spec, DistillSpec)
        assert spec.teacher.checkpoint == str(tmp_path / "teachers" / recipes()["gfl_r50_from_r101"].teacher_file)
        assert spec.data.model_dump()["train"]["images"] == str(tmp_path / "coco2017" / "train2017")

    def test_without_a_folder_its_paths_start_from_the_current_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert job("fcos_r50_from_r101").teacher.checkpoint.startswith(str(tmp_path / "teachers"))
