"""Add the highest number of each model's versions, so that no number is given twice."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("model_names",
    sa.Column("project", sa.String(length=64), nullable=False),
    sa.Column("name", sa.String(length=100), nullable=False),
    sa.Column("last_version", sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint("project", "name", name=op.f("pk_model_names"))
    )
    op.execute("INSERT INTO model_names SELECT project, name, max(version) FROM model_versions GROUP BY project, name")


def downgrade() -> None:
    op.drop_table("model_names")
