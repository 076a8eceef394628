"""Upgrades to a newer version with a newer schema, one replica after the other, while a run trains."""

import subprocess
import tempfile
from pathlib import Path

from deploy.verifying import engine
from deploy.verifying.faults import check_job, probing, started
from deploy.verifying.images import build_one, copy_of_context
from deploy.verifying.system import REPLICAS, System, crash, wait_for

# The migration of a next version: it adds a column and an index.
MIGRATION = '''"""A note on a job"""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("verified_note", sa.Text(), nullable=True))
    op.create_index("ix_jobs_verified_note", "jobs", ["verified_note"])


def downgrade() -> None:
    op.drop_index("ix_jobs_verified_note", "jobs")
    op.drop_column("jobs", "verified_note")
'''


def roll(system: System, ap: float, *, base: str) -> None:
    """Run the upgrade and its checks.

    Args:
        ap: of the same run, undisturbed.
    """
    results, compose, api = system.results, system.compose, system.api
    results.begin("rolling upgrade")
    newer = f"{compose.env['FGD_IMAGE']}-next"
    build_s = _build_newer(newer, base)
    before = api.ask("GET", "/readyz").json["schema_revision"]
    results.note(f"the next version is built ({build_s:.0f} s); the database is at {before}")
    job_id = started(system, "rolled over", epochs=1)
    with probing(system, f"/v1/jobs/{job_id}") as prober:
        compose("run", "--rm", "--no-deps", "migrate", FGD_IMAGE=newer)
        old = compose.containers("api")
        ready = api.ask("GET", "/readyz").json
        claim = "the old replicas work with the new schema"
        results.check(
            claim, ready["ready"] and ready["schema_revision"] == "9999", f"{before} -> {ready['schema_revision']}"
        )
        crash(old[0])
        took_s = wait_for("the old replica to be back", lambda: engine.health(old[0]) == "healthy", timeout_s=120)
        results.check("an old replica that dies starts again on the new schema", True, f"{took_s:.0f} s")
        compose(
            "up",
            "--detach",
            "--no-build",
            "--no-deps",
            "--no-recreate",
            "--scale",
            f"api={2 * REPLICAS}",
            "api",
            FGD_IMAGE=newer,
        )
        new = [container for container in compose.containers("api") if container not in old]
        wait_for("the new replicas", lambda: all(engine.health(id_) == "healthy" for id_ in new), timeout_s=120)
        for container in old:
            subprocess.run(["docker", "stop", container], check=True, capture_output=True)
            subprocess.run(["docker", "rm", container], check=True, capture_output=True)
    remaining = {engine.inspect(container)["Config"]["Image"] for container in compose.containers("api")}
    claim = "all replicas have the new version, and no request failed"
    figure = f"{len(prober.failures)} of {prober.asked} requests failed, the longest took {prober.longest_s:.2f} s"
    results.check(claim, remaining == {newer} and not prober.failures, f"{figure} {prober.failures[:2] or ''}")
    check_job(system, job_id, ap, causes=["succeeded"])


def _build_newer(tag: str, base: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        context = copy_of_context(Path(folder))
        versions = context / "migrations" / "versions"
        newest = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
        (versions / "9999_a_note_on_a_job.py").write_text(MIGRATION.format(newest=newest))
        return build_one("service", tag, base=base, context=context)
