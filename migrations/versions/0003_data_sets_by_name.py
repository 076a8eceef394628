"""Add registered data sets and their checks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("datasets",
    sa.Column("id", sa.String(length=32), nullable=False),
    sa.Column("name", sa.String(length=100), nullable=False),
    sa.Column("project", sa.String(length=64), nullable=False),
    sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_by", sa.String(length=100), nullable=False),
    sa.Column("check_job_id", sa.String(length=32), nullable=True),
    sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("outcome", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("fingerprints", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("check_error", sa.JSON(none_as_null=True), nullable=True),
    sa.ForeignKeyConstraint(["check_job_id"], ["jobs.id"], name=op.f("fk_datasets_check_job_id")),
    sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    sa.UniqueConstraint("project", "name", name=op.f("uq_datasets_project_name"))
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_datasets_check_job_id"), ["check_job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_datasets_created_at_id"), ["created_at", "id"], unique=False)

    op.create_table("job_datasets",
    sa.Column("job_id", sa.String(length=32), nullable=False),
    sa.Column("dataset_id", sa.String(length=32), nullable=False),
    sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_job_datasets_dataset_id")),
    sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_datasets_job_id")),
    sa.PrimaryKeyConstraint("job_id", "dataset_id", name=op.f("pk_job_datasets"))
    )
    with op.batch_alter_table("job_datasets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_datasets_dataset_id"), ["dataset_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("job_datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_datasets_dataset_id"))

    op.drop_table("job_datasets")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_datasets_created_at_id"))
        batch_op.drop_index(batch_op.f("ix_datasets_check_job_id"))

    op.drop_table("datasets")
