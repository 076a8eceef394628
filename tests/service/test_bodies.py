"""Limits on request bodies, and specs in YAML."""

import json
import time
from typing import Any

import pytest
from control_plane import ControlPlane, train_spec

pytestmark = pytest.mark.one_database

YAML = {"Content-Type": "application/yaml; charset=utf-8"}
SPEC = """
# a comment
kind: train
name: a training
detector: {type: retinanet}
data: {type: shapes, num_train: 40, num_val: 10}
training:
  batch_size: 8   # eight
"""


JSON = {"Content-Type": "application/json"}


class TestLimits:
    @pytest.mark.parametrize(
        ("changes", "code", "message"),
        [
            ({"name": "x" * 1_000_001}, "too_large", "bytes"),
            ({f"key{n}": n for n in range(10_001)}, "too_large", "values"),
            ({"data": [[[]]] * 4_000}, "too_large", "values"),
            ({"seed": 10**20}, "spec", "whole number"),
            ({"seed": -(10**20)}, "spec", "whole number"),
        ],
    )
    async def test_a_body_beyond_a_limit_is_refused_with_the_limit(
        self, plane: ControlPlane, changes: dict[str, Any], code: str, message: str
    ) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(**changes))
        assert (answer.status_code, answer.json()["code"]) == (413 if code == "too_large" else 422, code)
        assert message in answer.json()["detail"]

    async def test_deep_nesting_is_refused_but_not_brackets_in_strings(self, plane: ControlPlane) -> None:
        deep = b'{"kind": "train", "data": ' + b"[" * 50 + b"]" * 50 + b"}"
        answer = await plane.http.post("/v1/jobs", content=deep, headers=JSON)
        assert (answer.status_code, answer.json()["details"]) == (422, {"max_depth": 40})
        spec = train_spec(name="[" * 50 + "1" * 30 + '\\" {')
        (reason,) = (await plane.http.post("/v1/jobs", json=spec)).json()["reasons"]
        assert reason["loc"] == "name"

    async def test_a_fraction_of_many_digits_is_accepted(self, plane: ControlPlane) -> None:
        body = json.dumps(train_spec()).replace('"batch_size": 8', f'"batch_size": 8.{"0" * 30}')
        assert (await plane.http.post("/v1/jobs", content=body, headers=JSON)).status_code == 202

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "utf-16-be"])
    async def test_other_encodings_than_utf_8_are_refused(self, plane: ControlPlane, encoding: str) -> None:
        body = json.dumps(train_spec()).encode(encoding)
        answer = await plane.http.post("/v1/jobs", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "spec")
        assert "UTF-8" in answer.json()["detail"]

    async def test_other_bodies_have_their_own_limits(self, plane: ControlPlane) -> None:
        token = {"name": "one", "role": "read"} | {f"key{n}": n for n in range(5_001)}
        answer = await plane.http.post("/v1/tokens", json=token)
        assert (answer.status_code, answer.json()["details"]) == (413, {"max_values": 5000})
        answer = await plane.http.put("/v1/projects/lab", content=b"{}" + b" " * 100_000, headers=JSON)
        assert (answer.status_code, answer.json()["details"]) == (413, {"max_bytes": 100_000})


class TestReasons:
    async def test_the_first_fifty_faults_are_explained_and_the_rest_counted(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(**{f"key{n:03}": n for n in range(120)}))
        reasons = answer.json()["reasons"]
        assert [reason["code"] for reason in reasons] == ["extra_forbidden"] * 50 + ["more_faults"]
        assert reasons[-1]["message"] == "this and 69 more faults are not explained; correct the faults above first"
        assert reasons[-1]["loc"] == "key050"

    async def test_faults_in_a_search_space_are_limited_too(self, plane: ControlPlane) -> None:
        base = {name: value for name, value in train_spec().items() if name != "name"}
        space = {"training.epochs": {"type": "choice", "values": [f"x{n}" for n in range(120)]}}
        sweep = {"kind": "sweep", "name": "s", "base": base, "space": space, "budget": {"trials": 4}}
        reasons = (await plane.http.post("/v1/jobs", json=sweep)).json()["reasons"]
        assert (len(reasons), reasons[-1]["code"]) == (51, "more_faults")

    async def test_a_long_name_is_shortened_in_the_refusal(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(**{"x" * 100_000: 1}, kind="y" * 100_000))
        assert answer.status_code == 422
        assert len(answer.content) < 2_000


class TestNumbersOfASpace:
    @pytest.mark.parametrize("high", [10**300, 2**53 + 1])
    async def test_bounds_beyond_exact_integers_are_refused(self, plane: ControlPlane, high: int) -> None:
        answer = await plane.http.post("/v1/jobs", json=self.sweep(1, high))
        assert answer.status_code == 422

    async def test_a_huge_grid_is_refused(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=self.sweep(200, 2**53) | {"searcher": {"type": "grid"}})
        assert answer.status_code == 422

    @staticmethod
    def sweep(count: int, high: int) -> dict[str, Any]:
        base = {name: value for name, value in train_spec().items() if name != "name"}
        space = {f"training.f{n}": {"type": "integers", "low": 0, "high": high} for n in range(count)}
        return {"kind": "sweep", "name": "s", "base": base, "space": space, "budget": {"trials": 4}}


class TestYaml:
    async def test_a_spec_in_yaml_is_the_same_job_as_in_json(self, plane: ControlPlane) -> None:
        key = {"Idempotency-Key": "k"}
        written = await plane.http.post("/v1/jobs", content=SPEC, headers=YAML | key)
        sent = await plane.http.post("/v1/jobs", json=train_spec(), headers=key)
        assert (written.status_code, sent.status_code) == (202, 202)
        assert written.json()["job_id"] == sent.json()["job_id"]

    async def test_a_typo_in_yaml_is_named_as_in_json(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", content=SPEC.replace("batch_size", "batchsize"), headers=YAML)
        assert answer.status_code == 422
        assert answer.json()["reasons"][0]["loc"] == "training.batchsize"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("kind: train\nname: [", "line 2"),
            ("kind: train\nname: 2026-01-01", "quotation marks"),
            ("kind: &a train\nname: *a", "aliases"),
            ("!!python/object/apply:os.system ['true']", "not valid YAML"),
            ("kind: train\nseed: .nan", "JSON cannot"),
            ("[" * 3000, "JSON cannot|not valid YAML"),
            ("just words", "JSON object"),
        ],
    )
    async def test_an_invalid_document_is_refused(self, plane: ControlPlane, text: str, message: str) -> None:
        answer = await plane.http.post("/v1/jobs", content=text, headers=YAML)
        assert answer.status_code == 422
        assert any(word in answer.json()["detail"] for word in message.split("|")), answer.json()["detail"]

    async def test_an_alias_bomb_is_refused_early(self, plane: ControlPlane) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        began = time.process_time()
        answer = await plane.http.post("/v1/jobs", content="\n".join(lines), headers=YAML)
        assert answer.status_code == 422
        assert time.process_time() - began < 5

    async def test_a_long_document_is_refused_unparsed(self, plane: ControlPlane) -> None:
        began = time.process_time()
        answer = await plane.http.post("/v1/jobs", content=SPEC + "# and so on\n[[{}]]\n" * 100_000, headers=YAML)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert time.process_time() - began < 1

    async def test_text_plain_is_not_parsed_as_yaml(self, plane: ControlPlane) -> None:
        answer = await plane.http.post(
            "/v1/jobs", content=json.dumps(train_spec()), headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 422
