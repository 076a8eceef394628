"""Access to comparisons."""

from finished_runs import finished
from test_access import Guarded, guarded, settings  # noqa: F401


class TestCompareAccess:
    async def test_a_job_of_another_project_is_unknown(self, guarded: Guarded) -> None:  # noqa: F811
        mine = [await finished(guarded, seed, project="mine") for seed in (1, 2)]
        yours = await finished(guarded, 3, project="yours")
        assert await guarded.by("read", "GET", f"/v1/compare?a={mine[0]}&b={mine[1]}", project="mine") == 200
        made = await guarded.token("read", project="mine")
        for path in (f"/v1/compare?a={mine[0]}&b={yours}", f"/v1/compare?a={yours}&b={mine[0]}"):
            hidden = await guarded.as_(made["token"], "GET", path)
            unknown = await guarded.as_(made["token"], "GET", path.replace(yours, "nobody"))
            assert (hidden.status_code, unknown.status_code) == (404, 404)
            assert hidden.text.replace(yours, "nobody") == unknown.text

    async def test_a_cached_comparison_is_hidden_from_other_projects(self, guarded: Guarded) -> None:  # noqa: F811
        jobs = [await finished(guarded, seed, project="yours") for seed in (1, 2)]
        path = f"/v1/compare?a={jobs[0]}&b={jobs[1]}"
        assert (await guarded.http.get(path)).status_code == 200
        assert await guarded.by("read", "GET", path, project="mine") == 404

    async def test_a_comparison_needs_a_token_with_the_role_read(self, guarded: Guarded) -> None:  # noqa: F811
        jobs = [await finished(guarded, seed) for seed in (1, 2)]
        path = f"/v1/compare?a={jobs[0]}&b={jobs[1]}"
        assert await guarded.by("read", "GET", path) == 200
        assert (await guarded.as_(None, "GET", path)).status_code == 401
