"""Drafts: a text is changed by paths, keeps its comments, and is checked as its submission would be."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from control_plane import ControlPlane, train_spec

from fgd_core.spec.choices import choices
from fgd_core.spec.jobs import JOB_SPEC
from service.api import spec_text
from service.catalogue import catalogue
from service.catalogue.recipes import recipe_text, recipes
from service.catalogue.starts import starts

EXAMPLES = Path(__file__).parents[2] / "examples"
DISTILLED = (EXAMPLES / "demo" / "distilled.yaml").read_text("utf-8")


async def draft(plane: ControlPlane, **fields: Any) -> dict[str, Any]:
    answer = await plane.http.post("/v1/drafts", json=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestText:
    @pytest.mark.parametrize(
        ("before", "changes", "removed", "after"),
        [
            ("epochs: 3 # few\nseed: 0\n", {"epochs": 12}, [], "epochs: 12 # few\nseed: 0\n"),
            ("a: {b: 1, c: 2} # both\n", {"a.c": 3, "a.d": "x"}, [], "a: {b: 1, c: 3, d: x} # both\n"),
            ("a:\n  b: 1\n\n# of c\nc: 2\n", {"a.d.e": [1]}, [], "a:\n  b: 1\n  d:\n    e: [1]\n\n# of c\nc: 2\n"),
            ("name: # mine\nseed: 1\n", {"name": "x: y"}, [], "name: 'x: y' # mine\nseed: 1\n"),
            ("a:\n  b: 1\nc: 2 # c\n", {}, ["a.b"], "c: 2 # c\n"),
            ("a:\n  b: 1\n  c: 2\n# of d\nd: 3\n", {}, ["a.c"], "a:\n  b: 1\n# of d\nd: 3\n"),
            ("a: {b: 1, c: 2}\n", {}, ["a.c"], "a: {b: 1}\n"),
            ("a:\n  - b: 1 # b\n    c: 2\n", {"a.0.c": 5}, [], "a:\n  - b: 1 # b\n    c: 5\n"),
            ("s:\n  method.scale: {low: 1} # s\n", {"s.method.scale.low": 2}, [], "s:\n  method.scale: {low: 2} # s\n"),
            ("", {"kind": "train", "data.type": "shapes"}, [], "kind: train\ndata:\n  type: shapes\n"),
        ],
    )  # fmt: skip
    def test_an_edit_changes_its_field_and_keeps_the_rest(
        self, before: str, changes: dict[str, Any], removed: list[str], after: str
    ) -> None:
        assert spec_text.edited(before, changes, removed) == after

    def test_an_edit_that_the_layout_cannot_take_loses_comments_but_no_value(self) -> None:
        before = "a: # of a\n  - - b: 1\n    - c\n"
        after = spec_text.edited(before, {"a.0.0": {"d": [1, {"e": None}]}})
        assert yaml.safe_load(after) == {"a": [[{"d": [1, {"e": None}]}, "c"]]}

    def test_every_field_of_an_example_can_be_changed(self) -> None:
        for path in list(spec_text.lines(DISTILLED))[::4]:
            after = spec_text.edited(DISTILLED, {path: {"type": "x", "of": [{"y": "z: #"}]}})
            assert "# half of the teacher's training images" in after or path.startswith("data")


class TestStarts:
    def test_each_kind_of_job_has_one_that_lacks_only_what_the_user_must_say(self) -> None:
        assert set(starts()) == {entry.name for entry in catalogue().jobs}
        for kind, text in starts().items():
            assert yaml.safe_load(text)["kind"] == kind

    def test_choices_mean_the_same_spec_and_are_shorter(self) -> None:
        for name in recipes():
            spec = JOB_SPEC.validate_python(yaml.safe_load(recipe_text(name)))
            assert JOB_SPEC.validate_python(choices(spec)) == spec
            assert len(str(choices(spec))) < len(str(spec.model_dump(mode="json"))) / 2


class TestDraft:
    async def test_reasons_name_the_line_that_sets_the_field(self, plane: ControlPlane) -> None:
        text = "kind: train\nname: x\ndetector: {type: retinanet}\ndata: {type: shapes}\ntraining:\n  epocs: 3\n"
        [reason] = (await draft(plane, text=text))["reasons"]
        assert (reason["loc"], reason["line"]) == ("training.epocs", 6)
        assert "did you mean 'epochs'?" in reason["message"]

    async def test_text_that_is_no_yaml_gets_its_line(self, plane: ControlPlane) -> None:
        found = await draft(plane, text="kind: train\nname: [\n", changes={"seed": 1})
        assert (found["spec"], found["reasons"][0]["line"]) == (None, 3)
        assert found["text"] == "kind: train\nname: [\n"

    async def test_it_is_refused_as_its_submission_would_be(self, plane: ControlPlane) -> None:
        spec = train_spec(resources={"cpus": 64}) | {"data": {"type": "registered", "name": "missing"}}
        found = await draft(plane, text=yaml.safe_dump(spec))
        refusal = await plane.http.post("/v1/jobs", json=spec)
        assert refusal.status_code == 422
        assert [{**reason, "line": None} for reason in found["reasons"]] == [
            {**reason, "line": None} for reason in refusal.json()["reasons"]
        ]

    async def test_it_says_what_the_job_takes_and_when_it_could_start(self, plane: ControlPlane) -> None:
        await plane.submit(train_spec(priority=5, resources={"cpus": 2}))
        waits = await draft(plane, text=yaml.safe_dump(train_spec(resources={"cpus": 1})))
        assert waits["placement"] | {"message": None} == {
            "cpus": 1, "gpus": 0, "workers": 1, "num_ahead": 1, "code": "busy", "message": None, "not_before": None
        }  # fmt: skip
        first = await draft(plane, text=yaml.safe_dump(train_spec(priority=9)))
        assert (first["placement"]["num_ahead"], first["placement"]["code"]) == (0, "starts_now")

    async def test_one_like_a_job_has_its_choices_and_can_be_submitted(self, plane: ControlPlane) -> None:
        job_id = await plane.submit(train_spec(name="pattern", training={"batch_size": 8, "epochs": 12}))
        found = await draft(plane, start=f"job:{job_id}", changes={"seed": 3})
        assert (found["reasons"], found["spec"]["seed"]) == ([], 3)
        assert found["text"].startswith("kind: train\nname: pattern\n")
        # 12 epochs are the default.
        assert found["spec"]["training"] == {"batch_size": 8}
        assert (await plane.http.post("/v1/jobs", json=found["spec"])).status_code == 202

    async def test_a_recipe_keeps_its_comments(self, plane: ControlPlane) -> None:
        name = next(iter(recipes()))
        found = await draft(plane, start=f"recipe:{name}", changes={"name": "mine"})
        assert found["text"].count("#") == recipe_text(name).count("#")

    async def test_asking_leaves_no_trace(self, plane: ControlPlane) -> None:
        await draft(plane, start="kind:train")
        assert (await plane.http.get("/v1/audit")).json()["items"] == []
        assert (await plane.http.get("/v1/jobs")).json()["items"] == []

    @pytest.mark.parametrize("start", ["kind:trian", "recipe:none", "job:none", "file:x"])
    async def test_an_unknown_start_is_refused(self, plane: ControlPlane, start: str) -> None:
        answer = await plane.http.post("/v1/drafts", json={"start": start})
        assert answer.status_code == (422 if start == "file:x" else 404)
