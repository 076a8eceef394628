"""Add the retry state of archiving driver logs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("archive_tries", sa.Integer(), server_default="0", nullable=False))
    op.add_column("attempts", sa.Column("archive_after", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_column("archive_after")
        batch_op.drop_column("archive_tries")
