"""Create the relation of provinces and the country.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_GRANTS = """
do $$ begin
  if exists (select from pg_roles where rolname = 'adsurvey_web') then
    grant select on published.total_estimate to adsurvey_web;
  end if;
end $$
"""
_TEXTS = ("crop", "admin_level", "domain_id", "domain_name", "estimate_type", "method", "why")
_FIGURES = ("value_ha", "se_ha", "ci_low_ha", "ci_high_ha", "level", "cv", "df")


def upgrade() -> None:
    op.create_geospatial_table(
        "total_estimate",
        sa.Column("id", sa.Text(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in (*_TEXTS, "reliability", "status", "disclosure", "run_id")
        ),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("harvest_year", "n_segments")
        ),
        sa.Column("reference_date", sa.Date(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in _FIGURES),
        sa.Column("unobserved_share", sa.Double(), nullable=False),
        sa.Column(
            "geom",
            Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4326,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
                nullable=False,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["restricted.run.run_id"],
            name=op.f("fk_total_estimate_run_id_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_total_estimate")),
        schema="published",
    )
    op.create_geospatial_index(
        "idx_total_estimate_geom",
        "total_estimate",
        ["geom"],
        unique=False,
        schema="published",
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(
        op.f("ix_published_total_estimate_run_id"),
        "total_estimate",
        ["run_id"],
        unique=False,
        schema="published",
    )
    op.execute(_GRANTS)


def downgrade() -> None:
    op.drop_index(
        op.f("ix_published_total_estimate_run_id"),
        table_name="total_estimate",
        schema="published",
    )
    op.drop_geospatial_index(
        "idx_total_estimate_geom",
        table_name="total_estimate",
        schema="published",
        postgresql_using="gist",
        column_name="geom",
    )
    op.drop_geospatial_table("total_estimate", schema="published")
