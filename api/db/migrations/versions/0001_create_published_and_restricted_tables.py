"""Create published and restricted tables.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# In a database of someone else's the role may not exist yet; then its owner grants later.
_GRANTS = """
do $$ begin
  if exists (select from pg_roles where rolname = 'adsurvey_web') then
    grant usage on schema published, restricted to adsurvey_web;
    grant select on published.district_estimate, published.project_indicator to adsurvey_web;
    grant select on restricted.raster_layer to adsurvey_web;
    -- The vector service keeps its catalogue functions in the session's temporary schema.
    execute format('grant connect, temporary on database %I to adsurvey_web', current_database());
  end if;
end $$
"""


def upgrade() -> None:
    op.create_table(
        "run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("harvest_year", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("reference_date", sa.Date(), nullable=False),
        sa.Column("release_date", sa.Date(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
        sa.UniqueConstraint("country", "harvest_year", name=op.f("uq_run_country_harvest_year")),
        schema="restricted",
    )
    op.create_geospatial_table(
        "district_estimate",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("crop", sa.Text(), nullable=False),
        sa.Column("harvest_year", sa.Integer(), nullable=False),
        sa.Column("district_pcode", sa.Text(), nullable=False),
        sa.Column("district_name", sa.Text(), nullable=False),
        sa.Column("province_pcode", sa.Text(), nullable=False),
        sa.Column("province_name", sa.Text(), nullable=False),
        sa.Column("reference_date", sa.Date(), nullable=False),
        sa.Column("value_ha", sa.Double(), nullable=True),
        sa.Column("se_ha", sa.Double(), nullable=True),
        sa.Column("ci_low_ha", sa.Double(), nullable=True),
        sa.Column("ci_high_ha", sa.Double(), nullable=True),
        sa.Column("level", sa.Double(), nullable=True),
        sa.Column("cv", sa.Double(), nullable=True),
        sa.Column("df", sa.Double(), nullable=True),
        sa.Column("n_segments", sa.Integer(), nullable=False),
        sa.Column("estimate_type", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("reliability", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("unobserved_share", sa.Double(), nullable=False),
        sa.Column("disclosure", sa.Text(), nullable=False),
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
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["restricted.run.run_id"],
            name=op.f("fk_district_estimate_run_id_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_district_estimate")),
        schema="published",
    )
    op.create_geospatial_index(
        "idx_district_estimate_geom",
        "district_estimate",
        ["geom"],
        unique=False,
        schema="published",
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(
        op.f("ix_published_district_estimate_district_pcode"),
        "district_estimate",
        ["district_pcode"],
        unique=False,
        schema="published",
    )
    op.create_index(
        op.f("ix_published_district_estimate_run_id"),
        "district_estimate",
        ["run_id"],
        unique=False,
        schema="published",
    )
    op.create_geospatial_table(
        "project_indicator",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("project_name", sa.Text(), nullable=False),
        sa.Column("district_pcodes", sa.Text(), nullable=False),
        sa.Column("start_year", sa.Integer(), nullable=False),
        sa.Column("harvest_year", sa.Integer(), nullable=False),
        sa.Column("indicator_code", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("baseline_value", sa.Double(), nullable=False),
        sa.Column("baseline_year", sa.Integer(), nullable=False),
        sa.Column("target_value", sa.Double(), nullable=True),
        sa.Column("latest_value", sa.Double(), nullable=True),
        sa.Column("latest_ci_low", sa.Double(), nullable=True),
        sa.Column("latest_ci_high", sa.Double(), nullable=True),
        sa.Column("latest_year", sa.Integer(), nullable=True),
        sa.Column("n_respondents", sa.Integer(), nullable=True),
        sa.Column("n_villages", sa.Integer(), nullable=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("disclosure", sa.Text(), nullable=False),
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
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["restricted.run.run_id"],
            name=op.f("fk_project_indicator_run_id_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_indicator")),
        schema="published",
    )
    op.create_geospatial_index(
        "idx_project_indicator_geom",
        "project_indicator",
        ["geom"],
        unique=False,
        schema="published",
        postgresql_using="gist",
        postgresql_ops={},
    )
    op.create_index(
        op.f("ix_published_project_indicator_project_id"),
        "project_indicator",
        ["project_id"],
        unique=False,
        schema="published",
    )
    op.create_index(
        op.f("ix_published_project_indicator_run_id"),
        "project_indicator",
        ["run_id"],
        unique=False,
        schema="published",
    )
    op.create_table(
        "raster_layer",
        sa.Column("layer_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("classes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["restricted.run.run_id"],
            name=op.f("fk_raster_layer_run_id_run"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("layer_id", name=op.f("pk_raster_layer")),
        schema="restricted",
    )
    op.create_index(
        op.f("ix_restricted_raster_layer_run_id"),
        "raster_layer",
        ["run_id"],
        unique=False,
        schema="restricted",
    )
    # The web role reads what is published, and which raster a layer id means. Nothing else:
    # it owns nothing, and PUBLIC loses what PostgreSQL gives by default.
    op.execute("revoke all on schema published, restricted from public")
    op.execute("revoke create on schema public from public")
    op.execute(
        "do $$ begin execute format('revoke temporary on database %I from public', "
        "current_database()); end $$"
    )
    op.execute(_GRANTS)


def downgrade() -> None:
    op.drop_index(
        op.f("ix_restricted_raster_layer_run_id"), table_name="raster_layer", schema="restricted"
    )
    op.drop_table("raster_layer", schema="restricted")
    op.drop_index(
        op.f("ix_published_project_indicator_run_id"),
        table_name="project_indicator",
        schema="published",
    )
    op.drop_index(
        op.f("ix_published_project_indicator_project_id"),
        table_name="project_indicator",
        schema="published",
    )
    op.drop_geospatial_index(
        "idx_project_indicator_geom",
        table_name="project_indicator",
        schema="published",
        postgresql_using="gist",
        column_name="geom",
    )
    op.drop_geospatial_table("project_indicator", schema="published")
    op.drop_index(
        op.f("ix_published_district_estimate_run_id"),
        table_name="district_estimate",
        schema="published",
    )
    op.drop_index(
        op.f("ix_published_district_estimate_district_pcode"),
        table_name="district_estimate",
        schema="published",
    )
    op.drop_geospatial_index(
        "idx_district_estimate_geom",
        table_name="district_estimate",
        schema="published",
        postgresql_using="gist",
        column_name="geom",
    )
    op.drop_geospatial_table("district_estimate", schema="published")
    op.drop_table("run", schema="restricted")
