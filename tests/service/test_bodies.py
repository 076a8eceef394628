"""What a body may hold, and a spec sent as it is written in a file."""

import json
import time
from typing import Any

import pytest
from control_plane import ControlPlane, train_spec

YAML = {"Content-Type": "application/yaml; charset=utf-8"}
SPEC = """
# as in a file
kind: train
name: a training
detector: {type: retinanet}
data: {type: shapes, num_train: 40, num_val: 10}
training:
  batch_size: 8   # eight
"""


JSON = {"Content-Type": "application/json"}


class TestBounds:
    @pytest.mark.parametrize(
        ("changes", "code", "says"),
        [
            ({"name": "x" * 1_000_001}, "too_large", "bytes"),
            ({f"key{n}": n for n in range(10_001)}, "too_large", "values"),
            ({"data": [[[]]] * 4_000}, "too_large", "values"),
            ({"seed": 10**20}, "spec", "whole number"),
            ({"seed": -(10**20)}, "spec", "whole number"),
        ],
    )
    async def test_a_body_beyond_them_is_refused_by_what_is_too_much(
        self, plane: ControlPlane, changes: dict[str, Any], code: str, says: str
    ) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(**changes))
        assert (answer.status_code, answer.json()["code"]) == (413 if code == "too_large" else 422, code)
        assert says in answer.json()["detail"]

    async def test_what_nests_too_deep_is_refused_and_what_only_looks_so_is_not(self, plane: ControlPlane) -> None:
        deep = b'{"kind": "train", "data": ' + b"[" * 50 + b"]" * 50 + b"}"
        answer = await plane.http.post("/v1/jobs", content=deep, headers=JSON)
        assert (answer.status_code, answer.json()["details"]) == (422, {"max_depth": 40})
        spec = train_spec(name="[" * 50 + "1" * 30 + '\\" {')
        (reason,) = (await plane.http.post("/v1/jobs", json=spec)).json()["reasons"]
        assert reason["loc"] == "name"

    async def test_fractions_of_many_digits_are_numbers_as_others(self, plane: ControlPlane) -> None:
        body = json.dumps(train_spec()).replace('"batch_size": 8', f'"batch_size": 8.{"0" * 30}')
        assert (await plane.http.post("/v1/jobs", content=body, headers=JSON)).status_code == 202

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "utf-16-be"])
    async def test_only_utf_8_is_json(self, plane: ControlPlane, encoding: str) -> None:
        body = json.dumps(train_spec()).encode(encoding)
        answer = await plane.http.post("/v1/jobs", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "spec")
        assert "UTF-8" in answer.json()["detail"]

    async def test_bodies_that_are_no_specs_have_bounds_of_their_own(self, plane: ControlPlane) -> None:
        token = {"name": "one", "role": "read"} | {f"key{n}": n for n in range(5_001)}
        answer = await plane.http.post("/v1/tokens", json=token)
        assert (answer.status_code, answer.json()["details"]) == (413, {"max_values": 5000})
        answer = await plane.http.put("/v1/projects/lab", content=b"{}" + b" " * 100_000, headers=JSON)
        assert (answer.status_code, answer.json()["details"]) == (413, {"max_bytes": 100_000})


class TestFaultsExplained:
    async def test_the_first_fifty_are_and_the_rest_is_counted(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(**{f"key{n:03}": n for n in range(120)}))
        reasons = answer.json()["reasons"]
        assert [reason["code"] for reason in reasons] == ["extra_forbidden"] * 50 + ["more_faults"]
        assert reasons[-1]["message"] == "this and 69 more faults are not explained; correct the faults above first"
        assert reasons[-1]["loc"] == "key050"

    async def test_so_it_is_with_the_values_of_a_space(self, plane: ControlPlane) -> None:
        base = {name: value for name, value in train_spec().items() if name != "name"}
        space = {"training.epochs": {"type": "choice", "values": [f"x{n}" for n in range(120)]}}
        sweep = {"kind": "sweep", "name": "s", "base": base, "space": space, "budget": {"trials": 4}}
        reasons = (await plane.http.post("/v1/jobs", json=sweep)).json()["reasons"]
        assert (len(reasons), reasons[-1]["code"]) == (51, "more_faults")

    async def test_a_long_name_is_shortened_in_every_word_of_the_refusal(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=train_spec(**{"x" * 100_000: 1}, kind="y" * 100_000))
        assert answer.status_code == 422
        assert len(answer.content) < 2_000


class TestNumbersOfASpace:
    @pytest.mark.parametrize("high", [10**300, 2**53 + 1])
    async def test_bounds_that_no_searcher_can_hold_are_refused(self, plane: ControlPlane, high: int) -> None:
        answer = await plane.http.post("/v1/jobs", json=self.sweep(1, high))
        assert answer.status_code == 422

    async def test_a_grid_without_measure_is_too_large_and_no_mistake_of_the_server(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", json=self.sweep(200, 2**53) | {"searcher": {"type": "grid"}})
        assert answer.status_code == 422

    @staticmethod
    def sweep(count: int, high: int) -> dict[str, Any]:
        base = {name: value for name, value in train_spec().items() if name != "name"}
        space = {f"training.f{n}": {"type": "integers", "low": 0, "high": high} for n in range(count)}
        return {"kind": "sweep", "name": "s", "base": base, "space": space, "budget": {"trials": 4}}


class TestYaml:
    async def test_it_is_the_same_job_as_in_json(self, plane: ControlPlane) -> None:
        key = {"Idempotency-Key": "k"}
        written = await plane.http.post("/v1/jobs", content=SPEC, headers=YAML | key)
        sent = await plane.http.post("/v1/jobs", json=train_spec(), headers=key)
        assert (written.status_code, sent.status_code) == (202, 202)
        assert written.json()["job_id"] == sent.json()["job_id"]

    async def test_a_typo_is_named_as_in_json(self, plane: ControlPlane) -> None:
        answer = await plane.http.post("/v1/jobs", content=SPEC.replace("batch_size", "batchsize"), headers=YAML)
        assert answer.status_code == 422
        assert answer.json()["reasons"][0]["loc"] == "training.batchsize"

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("kind: train\nname: [", "line 2"),
            ("kind: train\nname: 2026-01-01", "quotation marks"),
            ("kind: &a train\nname: *a", "aliases"),
            ("!!python/object/apply:os.system ['true']", "not valid YAML"),
            ("kind: train\nseed: .nan", "JSON cannot"),
            ("[" * 3000, "JSON cannot|no YAML"),
            ("just words", "JSON object"),
        ],
    )
    async def test_what_is_no_spec_is_refused_by_name(self, plane: ControlPlane, text: str, says: str) -> None:
        answer = await plane.http.post("/v1/jobs", content=text, headers=YAML)
        assert answer.status_code == 422
        assert any(word in answer.json()["detail"] for word in says.split("|")), answer.json()["detail"]

    async def test_lines_that_stand_for_more_than_memory_holds_cost_nothing(self, plane: ControlPlane) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        began = time.process_time()
        answer = await plane.http.post("/v1/jobs", content="\n".join(lines), headers=YAML)
        assert answer.status_code == 422
        assert time.process_time() - began < 5

    async def test_one_too_long_to_be_read_in_a_moment_is_refused_unread(self, plane: ControlPlane) -> None:
        began = time.process_time()
        answer = await plane.http.post("/v1/jobs", content=SPEC + "# and so on\n[[{}]]\n" * 100_000, headers=YAML)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert time.process_time() - began < 1

    async def test_json_is_not_taken_for_yaml(self, plane: ControlPlane) -> None:
        answer = await plane.http.post(
            "/v1/jobs", content=json.dumps(train_spec()), headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 422
