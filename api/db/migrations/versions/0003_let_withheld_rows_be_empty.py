"""Let withheld rows be empty: their counts and unobserved share tell of the figure.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = ("n_segments", "unobserved_share")
_TABLES = ("district_estimate", "total_estimate")


def upgrade() -> None:
    for table in _TABLES:
        for column in _COLUMNS:
            op.alter_column(table, column, nullable=True, schema="published")


def downgrade() -> None:
    # Rows that are empty by now cannot be filled again.
    for table in _TABLES:
        op.execute(f"delete from published.{table} where n_segments is null")  # noqa: S608
        for column in _COLUMNS:
            op.alter_column(table, column, nullable=False, schema="published")
