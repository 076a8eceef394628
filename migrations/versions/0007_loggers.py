"""Add how far each logger has copied the events and the curves."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("logger_positions",
    sa.Column("logger", sa.String(length=64), nullable=False),
    sa.Column("transaction_id", sa.BigInteger(), nullable=False),
    sa.Column("job_id", sa.String(length=32), nullable=False),
    sa.Column("sequence", sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint("logger", name=op.f("pk_logger_positions"))
    )
    op.create_table("logger_curves",
    sa.Column("logger", sa.String(length=64), nullable=False),
    sa.Column("series_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
    sa.Column("step", sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(["series_id"], ["metric_series.id"], name=op.f("fk_logger_curves_series_id")),
    sa.PrimaryKeyConstraint("logger", "series_id", name=op.f("pk_logger_curves"))
    )
    with op.batch_alter_table("logger_curves", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_logger_curves_series_id"), ["series_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("logger_curves", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_logger_curves_series_id"))

    op.drop_table("logger_curves")
    op.drop_table("logger_positions")
