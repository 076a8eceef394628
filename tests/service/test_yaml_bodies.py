"""A spec sent as it is written in a file."""

import json
import time

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
            ("!!python/object/apply:os.system ['true']", "no YAML"),
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
        began = time.monotonic()
        answer = await plane.http.post("/v1/jobs", content="\n".join(lines), headers=YAML)
        assert answer.status_code == 422
        assert time.monotonic() - began < 5

    async def test_one_too_long_to_be_read_in_a_moment_is_refused_unread(self, plane: ControlPlane) -> None:
        began = time.monotonic()
        answer = await plane.http.post("/v1/jobs", content=SPEC + "# and so on\n[[{}]]\n" * 100_000, headers=YAML)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert time.monotonic() - began < 1

    async def test_json_is_not_taken_for_yaml(self, plane: ControlPlane) -> None:
        answer = await plane.http.post(
            "/v1/jobs", content=json.dumps(train_spec()), headers={"Content-Type": "text/plain"}
        )
        assert answer.status_code == 422
