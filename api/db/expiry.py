"""Rows whose time is over: audit trail, sessions, layers whose rasters are gone."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, delete, func, or_, select

from api.db.audit import Action, note
from api.db.models import AuditEvent, RasterLayer, Session

__all__ = ["purge_database"]


def purge_database(
    engine: Engine, *, audit_before: datetime, actor: str, now: datetime, dry_run: bool = False
) -> dict[str, int]:
    """Delete what has expired, in one transaction that is itself told in the audit trail.

    Parameters
    ----------
    engine : Engine
        Of the database's owner.
    audit_before : datetime
        Events before it go, and sessions and tokens that ended before it.

    Returns
    -------
    dict
        How many of what; empty where nothing had expired.
    """
    old = AuditEvent.at < audit_before
    over = or_(Session.ended_at < audit_before, Session.expires_at < audit_before)
    with engine.begin() as connection:
        paths = connection.execute(select(RasterLayer.layer_id, RasterLayer.path)).all()
        gone = [row.layer_id for row in paths if not Path(row.path).is_file()]
        n_events = connection.scalar(select(func.count()).select_from(AuditEvent).where(old)) or 0
        n_over = connection.scalar(select(func.count()).select_from(Session).where(over)) or 0
        counts = {
            "audit events": n_events,
            "sessions and tokens": n_over,
            "layers of purged rasters": len(gone),
        }
        found = {what: count for what, count in counts.items() if count}
        if found and not dry_run:
            connection.execute(delete(AuditEvent).where(old))
            connection.execute(delete(Session).where(over))
            connection.execute(delete(RasterLayer).where(RasterLayer.layer_id.in_(gone)))
            about = ", ".join(f"{count} {what}" for what, count in found.items())
            note(connection, Action.PURGE, actor=actor, about=about, now=now)
    return found
