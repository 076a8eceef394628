"""POST /v1/jobs?parent= and GET /v1/jobs/{job_id}/lineage"""

from typing import Any

import pytest
from control_plane import ControlPlane, train_spec
from test_access import Guarded, guarded, settings  # noqa: F401

from fgd_core.spec.lineage import JobLineage, changed_fields

pytestmark = pytest.mark.one_database


async def submitted(plane: ControlPlane, parent: str | None = None, **changes: Any) -> str:
    query = {"parent": parent} if parent is not None else {}
    answer = await plane.http.post("/v1/jobs", json=train_spec(**changes), params=query)
    assert answer.status_code == 202, answer.text
    assert answer.json()["parent_id"] == parent
    return str(answer.json()["job_id"])


async def lineage(plane: ControlPlane, job_id: str) -> JobLineage:
    answer = await plane.http.get(f"/v1/jobs/{job_id}/lineage")
    return JobLineage.model_validate(answer.json())


class TestLineage:
    async def test_each_job_of_the_line_says_what_it_changed(self, guarded: Guarded) -> None:  # noqa: F811
        first = await submitted(guarded, name="first")
        second = await submitted(guarded, first, name="second", training={"batch_size": 4})
        third = await submitted(guarded, second, name="third", training={"batch_size": 4}, seed=7)
        other = await submitted(guarded, second, name="other", training={"batch_size": 2})
        found = await lineage(guarded, third)
        assert [each.name for each in found.line] == ["first", "second", "third"]
        changes = [[(each.path, each.before, each.after) for each in job.changes] for job in found.line]
        assert changes[0] == []
        assert ("training.batch_size", 8, 4) in changes[1]
        assert changes[2] == [("seed", 0, 7)]
        assert (found.unknown_parent, found.children) == (False, [])
        of_second = await lineage(guarded, second)
        assert [child.job_id for child in of_second.children] == [other, third]

    async def test_a_deleted_parent_is_unknown(self, guarded: Guarded) -> None:  # noqa: F811
        first = await submitted(guarded, name="first")
        second = await submitted(guarded, first, name="second")
        await guarded.http.post(f"/v1/jobs/{first}/cancel")
        assert (await guarded.http.delete(f"/v1/jobs/{first}")).is_success
        found = await lineage(guarded, second)
        assert ([each.name for each in found.line], found.unknown_parent) == (["second"], True)

    async def test_a_job_that_does_not_exist_is_no_parent(self, guarded: Guarded) -> None:  # noqa: F811
        answer = await guarded.http.post("/v1/jobs", json=train_spec(), params={"parent": "nobody"})
        assert answer.status_code == 422
        assert [(each["loc"], each["code"]) for each in answer.json()["reasons"]] == [("query.parent", "unknown_job")]
        assert (await guarded.http.get("/v1/jobs")).json()["items"] == []

    async def test_a_parent_of_another_project_is_unknown(self, guarded: Guarded) -> None:  # noqa: F811
        yours = await guarded.submit(train_spec(project="yours"))
        made = await guarded.token("submit", project="mine")
        headers = {"Authorization": f"Bearer {made['token']}"}
        answer = await guarded.http.post("/v1/jobs", json=train_spec(), params={"parent": yours}, headers=headers)
        assert answer.status_code == 422


def test_lists_are_compared_as_a_whole_and_missing_fields_are_named() -> None:
    changes = changed_fields({"a": [1, 2], "b": {"c": 1}, "name": "x"}, {"a": [1, 3], "d": True, "name": "y"})
    assert [(each.path, each.before, each.after) for each in changes] == [
        ("a", [1, 2], [1, 3]),
        ("d", None, True),
        ("b.c", 1, None),
    ]
