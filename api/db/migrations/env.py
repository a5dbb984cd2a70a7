"""Alembic environment: runs on a connection that `api.db.store` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context
from geoalchemy2 import alembic_helpers

from api.db.models import Base

OURS = {"people", "published", "restricted"}


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Look at our schemas only: PostGIS keeps tables of its own."""
    return kind != "schema" or name in OURS


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_schemas=True,
    include_name=include_name,
    include_object=alembic_helpers.include_object,
    process_revision_directives=alembic_helpers.writer,
    render_item=alembic_helpers.render_item,
    version_table_schema="restricted",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
