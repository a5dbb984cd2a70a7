"""Keep the vector service from people: a role that sees published relations only.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Where the owner may not make roles, the web role goes on with its own rights.
_ROLE = """
do $$ begin
  begin
    create role adsurvey_reader nologin;
  exception when duplicate_object or insufficient_privilege then null;
  end;
  if (select count(*) from pg_roles where rolname in ('adsurvey_reader', 'adsurvey_web')) = 2 then
    begin
      grant adsurvey_reader to adsurvey_web;
    exception when insufficient_privilege then null;
    end;
    grant usage on schema published to adsurvey_reader;
    grant select on all tables in schema published to adsurvey_reader;
    alter default privileges in schema published grant select on tables to adsurvey_reader;
    execute format('grant temporary on database %I to adsurvey_reader', current_database());
  end if;
end $$
"""
_NO_ROLE = """
do $$ begin
  if exists (select from pg_roles where rolname = 'adsurvey_reader') then
    alter default privileges in schema published revoke select on tables from adsurvey_reader;
    revoke select on all tables in schema published from adsurvey_reader;
    revoke usage on schema published from adsurvey_reader;
    execute format('revoke temporary on database %I from adsurvey_reader', current_database());
  end if;
end $$
"""


def upgrade() -> None:
    op.execute(_ROLE)


def downgrade() -> None:
    op.execute(_NO_ROLE)
