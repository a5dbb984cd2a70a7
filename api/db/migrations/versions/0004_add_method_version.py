"""Add the method version to every figure: years in which it differs are not compared.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = ("district_estimate", "total_estimate")


def upgrade() -> None:
    for table in _TABLES:
        # Figures loaded before say nothing of their method: empty, comparable with none.
        op.add_column(
            table,
            sa.Column("method_version", sa.Text(), nullable=False, server_default=""),
            schema="published",
        )
        op.alter_column(table, "method_version", server_default=None, schema="published")


def downgrade() -> None:
    for table in _TABLES:
        op.drop_column(table, "method_version", schema="published")
