"""Confinement: which files a spec may read."""

import ast
import asyncio
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from control_plane import ControlPlane, ManualClock, evaluate_spec, train_spec
from memory_cluster import MemoryCluster

from fgd_core.spec.jobs import JOB_SPEC
from fgd_core.spec.readable import JOBS, ROOTS
from service.api import spec_paths
from service.jobs.admission import reasons
from service.jobs.named_paths import paths
from service.settings import Settings

pytestmark = pytest.mark.one_database

ROOT = Path(__file__).parents[2]


def codes(spec: dict[str, Any], settings: Settings) -> dict[str, str]:
    job = JOB_SPEC.validate_python(spec)
    return {reason.loc: reason.code for reason in reasons(job, asyncio.run(spec_paths.facts(paths(job), settings)))}


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.pt").touch()
    (tmp_path / "secret.pt").touch()
    return tmp_path


def guarded(tmp_path: Path, **changes: Any) -> Settings:
    defaults: dict[str, Any] = {"home": tmp_path, "auth": "tokens", "data_roots": (tmp_path / "data",)}
    return Settings(**defaults | changes)


class TestOnTheServersDisk:
    def test_a_file_inside_the_roots_is_accepted(self, roots: Path) -> None:
        assert codes(evaluate_spec(f"{roots}/data/a.pt"), guarded(roots, local_cluster=True)) == {}

    @pytest.mark.parametrize("path", ["secret.pt", "data/../secret.pt", "data/link.pt", "data/up/secret.pt", "data-2"])
    def test_no_path_leads_out_of_the_roots(self, roots: Path, path: str) -> None:
        (roots / "data" / "link.pt").symlink_to(roots / "secret.pt")
        (roots / "data" / "up").symlink_to(roots)
        settings = guarded(roots, local_cluster=True)
        assert codes(evaluate_spec(f"{roots}/{path}"), settings) == {"checkpoint": "outside_data_roots"}

    def test_existing_and_missing_files_outside_get_the_same_answer(self, roots: Path) -> None:
        settings = guarded(roots, local_cluster=True)
        for path in (f"{roots}/secret.pt", f"{roots}/none.pt"):
            assert codes(evaluate_spec(path), settings) == {"checkpoint": "outside_data_roots"}

    def test_a_root_may_be_a_symbolic_link(self, roots: Path) -> None:
        (roots / "link").symlink_to(roots / "data")
        settings = guarded(roots, local_cluster=True, data_roots=(roots / "link",))
        for name in ("link", "data"):
            assert codes(evaluate_spec(f"{roots}/{name}/a.pt"), settings) == {}

    def test_a_loop_of_links_is_a_missing_file(self, roots: Path) -> None:
        (roots / "data" / "loop").symlink_to(roots / "data" / "loop")
        settings = guarded(roots, local_cluster=True)
        assert codes(evaluate_spec(f"{roots}/data/loop"), settings) == {"checkpoint": "missing_path"}


class TestOnAnotherDisk:
    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("data/a.pt", None),
            ("data/deep/../a.pt", None),
            ("data/../secret.pt", "outside_data_roots"),
            ("data/x/../../secret.pt", "outside_data_roots"),
            ("secret.pt", "outside_data_roots"),
        ],
    )
    def test_paths_are_compared_with_the_roots_textually(self, roots: Path, path: str, code: str | None) -> None:
        expected = {"checkpoint": code} if code else {}
        assert codes(evaluate_spec(f"{roots}/{path}"), guarded(roots)) == expected

    def test_two_leading_slashes_do_not_escape(self, roots: Path) -> None:
        assert codes(evaluate_spec("//etc/passwd"), guarded(roots)) == {"checkpoint": "outside_data_roots"}


def test_the_reason_names_the_roots(roots: Path) -> None:
    job = JOB_SPEC.validate_python(evaluate_spec("/etc/passwd"))
    (reason,) = reasons(job, asyncio.run(spec_paths.facts(paths(job), guarded(roots))))
    assert str(roots / "data") in reason.message


def test_every_path_of_a_spec_is_confined(roots: Path) -> None:
    split = {"images": "/etc", "annotations": "/etc/passwd"}
    spec = train_spec(
        detector={"type": "retinanet", "weights": "/etc/shadow"}, data={"type": "coco", "train": split, "val": split}
    )
    assert len(codes(spec, guarded(roots))) == 5


def test_files_of_a_job_need_a_reference_instead_of_a_path(roots: Path) -> None:
    settings = Settings(home=roots, auth="tokens")
    path = f"{settings.storage.dir}/jobs/abc/best.pt"
    assert codes(evaluate_spec(path), settings) == {"checkpoint": "path_of_a_job"}
    assert codes(evaluate_spec(f"{settings.storage.dir}/sets/best.pt"), settings) == {}


def test_without_tokens_every_path_is_allowed(roots: Path) -> None:
    assert codes(evaluate_spec("/etc/passwd"), Settings(home=roots)) == {}


class Call(NamedTuple):
    file: str
    name: str
    keywords: dict[str | None, str]
    """Source text of its keyword arguments."""


@cache
def calls() -> list[Call]:
    """Return every call in the source of the product."""
    files = [file for package in ("fgd_core", "workers", "service") for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 100
    return [
        Call(str(file.relative_to(ROOT)), ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords})
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
    ]


class TestNoCodeExecution:
    """Checks the source itself, so that a new unsafe call fails here before anybody can use it."""

    def test_every_checkpoint_is_loaded_with_weights_only(self) -> None:
        loads = [call for call in calls() if call.name.endswith("torch.load")]
        assert loads
        assert [call for call in loads if call.keywords.get("weights_only") != "True"] == []

    def test_nothing_is_unpickled(self) -> None:
        unpickling = re.compile(
            r"^_?(pickle|cloudpickle|dill|joblib|marshal|shelve)\.(?!UnpicklingError$)|^yaml\.(load|unsafe_load|full_load)$"
        )
        # These names appear after `from pickle import loads`.
        disguised = re.compile(r"^(loads|Unpickler|unsafe_load)$")
        assert [call for call in calls() if unpickling.match(call.name) or disguised.match(call.name)] == []

    def test_no_array_is_loaded_with_pickles(self) -> None:
        assert [call for call in calls() if call.keywords.get("allow_pickle", "False") != "False"] == []

    def test_no_shell_and_no_eval(self) -> None:
        running = re.compile(
            r"^(os\.(system|popen)|eval|exec|compile|subprocess\.getoutput|.*create_subprocess_shell)$"
        )
        assert [call for call in calls() if running.match(call.name) or "shell" in call.keywords] == []

    def test_the_entrypoint_of_a_ray_job_contains_nothing_of_a_spec(self) -> None:
        """Ray runs an entry point in a shell. Ours are the interpreter from the settings and a module, then either a
        kind and an id, or the sizes of nodes and a number of seconds."""
        entrypoints = {call.keywords["entrypoint"] for call in calls() if "entrypoint" in call.keywords}
        assert entrypoints == {
            "f'{shlex.quote(settings.python)} -m workers {job.kind} {attempt.id}'",
            "f'{shlex.quote(python)} -m workers.demand {shlex.quote(nodes)}{seconds}'",
        }


class TestEnvironmentOfARun:
    async def test_it_holds_the_roots_that_the_run_may_read(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock, tmp_path: Path
    ) -> None:
        confined = settings.model_copy(update={"data_roots": (tmp_path / "data", tmp_path / "more")})
        environment = await self.started(confined, cluster, clock)
        assert (environment[ROOTS], environment[JOBS]) == (f"{tmp_path}/data:{tmp_path}/more", "")

    async def test_it_holds_no_roots_if_everything_may_be_read(
        self, settings: Settings, cluster: MemoryCluster, clock: ManualClock
    ) -> None:
        assert {ROOTS, JOBS}.isdisjoint(await self.started(settings, cluster, clock))

    def test_with_tokens_files_of_other_jobs_are_excluded(self, roots: Path) -> None:
        settings = Settings(home=roots, auth="tokens")
        assert settings.jobs_of_others == settings.storage.dir / "jobs"

    @staticmethod
    async def started(settings: Settings, cluster: MemoryCluster, clock: ManualClock) -> Mapping[str, str]:
        plane = ControlPlane(settings, cluster, clock)
        await plane.submit(train_spec())
        await plane.tick()
        await plane.close()
        return cluster.submissions[-1].environment
