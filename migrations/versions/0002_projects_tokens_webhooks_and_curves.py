"""Add projects, API tokens, the audit trail, leases, webhooks, curves with buckets, pauses and retry budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("api_tokens",
    sa.Column("id", sa.String(length=16), nullable=False),
    sa.Column("name", sa.String(length=100), nullable=False),
    sa.Column("role", sa.String(length=16), nullable=False),
    sa.Column("project", sa.String(length=64), nullable=True),
    sa.Column("token_sha256", sa.String(length=64), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_by", sa.String(length=100), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
    sa.UniqueConstraint("token_sha256", name=op.f("uq_api_tokens_token_sha256"))
    )
    op.create_table("audit_entries",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("actor", sa.String(length=100), nullable=False),
    sa.Column("token_id", sa.String(length=16), nullable=True),
    sa.Column("action", sa.String(length=64), nullable=False),
    sa.Column("target", sa.String(length=300), nullable=False),
    sa.Column("project", sa.String(length=64), nullable=True),
    sa.Column("status", sa.Integer(), nullable=False),
    sa.Column("request_id", sa.String(length=64), nullable=False),
    sa.Column("details", sa.JSON(none_as_null=True), nullable=True),
    sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries"))
    )
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_entries_at"), ["at"], unique=False)

    op.create_table("leases",
    sa.Column("name", sa.String(length=64), nullable=False),
    sa.Column("holder", sa.String(length=100), nullable=False),
    sa.Column("fencing_token", sa.BigInteger(), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("name", name=op.f("pk_leases"))
    )
    op.create_table("projects",
    sa.Column("name", sa.String(length=64), nullable=False),
    sa.Column("weight", sa.Double(), nullable=False),
    sa.Column("max_running_jobs", sa.Integer(), nullable=True),
    sa.Column("max_gpus", sa.Integer(), nullable=True),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint("name", name=op.f("pk_projects"))
    )
    op.create_table("webhooks",
    sa.Column("id", sa.String(length=16), nullable=False),
    sa.Column("project", sa.String(length=64), nullable=True),
    sa.Column("url", sa.Text(), nullable=False),
    sa.Column("secret", sa.String(length=100), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_by", sa.String(length=100), nullable=False),
    sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks"))
    )
    op.create_table("metric_series",
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
    sa.Column("job_id", sa.String(length=32), nullable=False),
    sa.Column("trial", sa.String(length=64), nullable=False),
    sa.Column("name", sa.String(length=200), nullable=False),
    sa.Column("rolled_up_to", sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metric_series_job_id")),
    sa.PrimaryKeyConstraint("id", name=op.f("pk_metric_series")),
    sa.UniqueConstraint("job_id", "trial", "name", name=op.f("uq_metric_series_job_id_trial_name"))
    )
    op.create_table("webhook_deliveries",
    sa.Column("id", sa.String(length=16), nullable=False),
    sa.Column("webhook_id", sa.String(length=16), nullable=False),
    sa.Column("job_id", sa.String(length=32), nullable=False),
    sa.Column("sequence", sa.Integer(), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("tries", sa.Integer(), nullable=False),
    sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("last_error", sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_webhook_deliveries_job_id")),
    sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id")),
    sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    sa.UniqueConstraint("webhook_id", "job_id", "sequence", name=op.f("uq_webhook_deliveries_webhook_id_job_id_sequence"))
    )
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_deliveries_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_webhook_deliveries_next_try_at"), ["next_try_at"], unique=False)

    op.create_table("metric_buckets",
    sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("bucket", sa.BigInteger(), nullable=False),
    sa.Column("min_step", sa.BigInteger(), nullable=False),
    sa.Column("min_value", sa.Double(), nullable=False),
    sa.Column("max_step", sa.BigInteger(), nullable=False),
    sa.Column("max_value", sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(["series_id"], ["metric_series.id"], name=op.f("fk_metric_buckets_series_id")),
    sa.PrimaryKeyConstraint("series_id", "bucket", name=op.f("pk_metric_buckets")),
    sqlite_with_rowid=False
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("log_kept_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("cause", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("spec_changes", sa.JSON(none_as_null=True), nullable=True))

    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("transaction_id", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.create_index(batch_op.f("ix_events_transaction_id_job_id_sequence"), ["transaction_id", "job_id", "sequence"], unique=False)

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("project", sa.String(length=64), nullable=False, server_default="default"))
        batch_op.add_column(sa.Column("submitted_by", sa.String(length=100), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("preemptible", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("stop_requested_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("resumes_itself", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("losses", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        batch_op.drop_constraint(batch_op.f("uq_jobs_idempotency_key"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_jobs_project_idempotency_key"), ["project", "idempotency_key"])

    op.execute("UPDATE jobs SET failures = retries, stop_requested_at = cancel_requested_at")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("cancel_requested_at")
        batch_op.drop_column("retries")

    # Points get a numeric curve id as key. They are copied to another table first: constraint names must be unique.
    op.execute("CREATE TABLE metric_points_0001 AS SELECT job_id, trial, name, step, value FROM metric_points")
    op.drop_table("metric_points")
    op.create_table(
        "metric_points",
        sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["metric_series.id"], name=op.f("fk_metric_points_series_id")),
        sa.PrimaryKeyConstraint("series_id", "step", name=op.f("pk_metric_points")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO metric_series (job_id, trial, name, rolled_up_to) "
        "SELECT DISTINCT job_id, trial, name, 0 FROM metric_points_0001"
    )
    op.execute(
        "INSERT INTO metric_points (series_id, step, value) SELECT s.id, p.step, p.value FROM metric_points_0001 p "
        "JOIN metric_series s ON s.job_id = p.job_id AND s.trial = p.trial AND s.name = p.name"
    )
    op.drop_table("metric_points_0001")


def downgrade() -> None:
    # An older server does not know these states: a paused job is queued again, a pausing job continues to run.
    op.execute("UPDATE jobs SET state = 'queued' WHERE state = 'paused'")
    op.execute("UPDATE jobs SET state = 'running' WHERE state = 'pausing'")
    # Two projects may have used the same key, which must be unique for an older server.
    op.execute("UPDATE jobs SET idempotency_key = NULL WHERE project <> 'default'")
    op.execute(
        "CREATE TABLE metric_points_0002 AS SELECT s.job_id, s.trial, s.name, p.step, p.value FROM metric_points p "
        "JOIN metric_series s ON s.id = p.series_id"
    )
    op.drop_table("metric_points")
    op.create_table(
        "metric_points",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("trial", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_metric_points_job_id")),
        sa.PrimaryKeyConstraint("job_id", "trial", "name", "step", name=op.f("pk_metric_points")),
    )
    op.execute("INSERT INTO metric_points SELECT job_id, trial, name, step, value FROM metric_points_0002")
    op.drop_table("metric_points_0002")

    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("retries", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_constraint(batch_op.f("uq_jobs_project_idempotency_key"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_jobs_idempotency_key"), ["idempotency_key"])

    op.execute("UPDATE jobs SET retries = failures, cancel_requested_at = stop_requested_at")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("version")
        batch_op.drop_column("losses")
        batch_op.drop_column("failures")
        batch_op.drop_column("resumes_itself")
        batch_op.drop_column("stop_requested_at")
        batch_op.drop_column("preemptible")
        batch_op.drop_column("priority")
        batch_op.drop_column("submitted_by")
        batch_op.drop_column("project")

    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_transaction_id_job_id_sequence"))
        batch_op.drop_column("transaction_id")

    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_column("spec_changes")
        batch_op.drop_column("cause")
        batch_op.drop_column("log_kept_at")

    op.drop_table("metric_buckets")
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_webhook_deliveries_next_try_at"))
        batch_op.drop_index(batch_op.f("ix_webhook_deliveries_job_id"))

    op.drop_table("webhook_deliveries")
    op.drop_table("metric_series")
    op.drop_table("webhooks")
    op.drop_table("projects")
    op.drop_table("leases")
    with op.batch_alter_table("audit_entries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_entries_at"))

    op.drop_table("audit_entries")
    op.drop_table("api_tokens")
