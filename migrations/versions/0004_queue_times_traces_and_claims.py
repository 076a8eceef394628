"""Add queue times, traces, claims of attempts and the schema floor."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("traceparent", sa.String(length=55), nullable=True))
    op.add_column("attempts", sa.Column("claimed_by_sha256", sa.String(length=64), nullable=True))
    op.create_table("schema_floor",
    sa.Column("revision", sa.String(length=32), nullable=False),
    sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_floor"))
    )
    op.execute("INSERT INTO schema_floor (revision) VALUES ('0003')")


def downgrade() -> None:
    op.drop_table("schema_floor")
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_column("claimed_by_sha256")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("traceparent")
        batch_op.drop_column("queued_at")
