"""Create users, sessions, sign-in attempts and the audit trail; guard raster layers by area.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_WEB_ROLE = """
do $$ begin
  if exists (select from pg_roles where rolname = 'adsurvey_web') then
    grant usage on schema people to adsurvey_web;
    grant select, insert on people.user_account, people.session to adsurvey_web;
    grant update (password_hash, role, areas, password_changed_at, disabled_at)
      on people.user_account to adsurvey_web;
    grant update (ended_at) on people.session to adsurvey_web;
    grant select, insert, update, delete on people.sign_in_attempt to adsurvey_web;
    -- Events are added, and read by administrators; nobody changes or deletes them.
    grant select, insert on people.audit_event to adsurvey_web;
  end if;
end $$
"""
# Who reads is told by `set_config(..., true)` in the reading transaction; without it: nothing.
_POLICIES = (
    "alter table restricted.raster_layer enable row level security",
    """create policy within_areas on restricted.raster_layer for select using (
         current_setting('app.role', true) in ('analyst', 'admin')
         and (current_setting('app.areas', true) = '*'
              or areas && string_to_array(current_setting('app.areas', true), ',')))""",
    "alter table people.audit_event enable row level security",
    """create policy read_by_admin on people.audit_event for select
         using (current_setting('app.role', true) = 'admin')""",
    "create policy added_by_all on people.audit_event for insert with check (true)",
)


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "user_account",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("areas", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("password_changed_at", moment, nullable=False),
        sa.Column("disabled_at", moment, nullable=True),
        sa.CheckConstraint("role in ('field', 'analyst', 'manager', 'admin')", name="known_role"),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9._-]{1,39}$'", name="plain_name"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_user_account")),
        schema="people",
    )
    op.create_table(
        "session",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.CheckConstraint("kind in ('browser', 'token')", name="known_kind"),
        sa.ForeignKeyConstraint(
            ["user_name"],
            ["people.user_account.name"],
            name=op.f("fk_session_user_name_user_account"),
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_session_secret_sha256")),
        schema="people",
    )
    op.create_index(op.f("ix_people_session_user_name"), "session", ["user_name"], schema="people")
    op.create_table(
        "sign_in_attempt",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("since", moment, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_attempt")),
        schema="people",
    )
    op.create_table(
        "audit_event",
        sa.Column("event_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "action <> 'export' or length(trim(reason)) >= 10", name="export_has_reason"
        ),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_audit_event")),
        schema="people",
    )
    op.create_index(op.f("ix_people_audit_event_at"), "audit_event", ["at"], schema="people")
    op.add_column(
        "raster_layer",
        sa.Column(
            "areas", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        schema="restricted",
    )
    op.execute(
        "update restricted.raster_layer l set areas = coalesce((select array_agg(distinct code) "
        "from published.district_estimate d, unnest(array[d.district_pcode, d.province_pcode]) "
        "as code where d.run_id = l.run_id), '{}')"
    )
    op.execute("revoke all on schema people from public")
    op.execute(_WEB_ROLE)
    for statement in _POLICIES:
        op.execute(statement)


def downgrade() -> None:
    op.execute("drop policy within_areas on restricted.raster_layer")
    op.execute("alter table restricted.raster_layer disable row level security")
    op.drop_column("raster_layer", "areas", schema="restricted")
    for table in ("audit_event", "sign_in_attempt", "session", "user_account"):
        op.drop_table(table, schema="people")
