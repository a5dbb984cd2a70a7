"""Tables. `published` is what managers may read; `restricted` is for analysts.

`people` holds users, their sessions and tokens, failed sign-ins, and the audit trail.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from geoalchemy2 import Geometry
from sqlalchemy import (
    BigInteger,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "AuditEvent",
    "Base",
    "DistrictEstimate",
    "ProjectIndicator",
    "RasterLayer",
    "Run",
    "Session",
    "SignInAttempt",
    "TotalEstimate",
    "User",
]


class Base(DeclarativeBase):
    """Base of the models; names of constraints are stable for migrations."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, dict[str, Any]: JSONB}  # noqa: RUF012  # SQLAlchemy's way


class Run(Base):
    """A loaded run: one per country and harvest year."""

    __tablename__ = "run"
    __table_args__ = (UniqueConstraint("country", "harvest_year"), {"schema": "restricted"})

    run_id: Mapped[str] = mapped_column(primary_key=True)
    country: Mapped[str]
    harvest_year: Mapped[int]
    title: Mapped[str]
    reference_date: Mapped[date] = mapped_column(Date)
    release_date: Mapped[date] = mapped_column(Date)
    loaded_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    record: Mapped[dict[str, Any]]


class _OfRun:
    """Rows that go when their run goes."""

    run_id: Mapped[str] = mapped_column(
        ForeignKey("restricted.run.run_id", ondelete="CASCADE"), index=True
    )


class _Figure(_OfRun):
    """Hectares of one crop in one domain, emptied where they must not be shown."""

    id: Mapped[str] = mapped_column(primary_key=True)
    crop: Mapped[str]
    harvest_year: Mapped[int]
    reference_date: Mapped[date] = mapped_column(Date)
    value_ha: Mapped[float | None]
    se_ha: Mapped[float | None]
    ci_low_ha: Mapped[float | None]
    ci_high_ha: Mapped[float | None]
    level: Mapped[float | None]
    cv: Mapped[float | None]
    df: Mapped[float | None]
    n_segments: Mapped[int | None]
    estimate_type: Mapped[str]
    method: Mapped[str]
    method_version: Mapped[str]
    why: Mapped[str]
    reliability: Mapped[str]
    status: Mapped[str]
    unobserved_share: Mapped[float | None]
    disclosure: Mapped[str]
    geom: Mapped[Any] = mapped_column(Geometry("MULTIPOLYGON", srid=4326, spatial_index=True))


class DistrictEstimate(_Figure, Base):
    """Hectares of one crop in one district."""

    __tablename__ = "district_estimate"
    __table_args__ = {"schema": "published"}  # noqa: RUF012

    district_pcode: Mapped[str] = mapped_column(index=True)
    district_name: Mapped[str]
    province_pcode: Mapped[str]
    province_name: Mapped[str]


class TotalEstimate(_Figure, Base):
    """Hectares of one crop in one province or the country."""

    __tablename__ = "total_estimate"
    __table_args__ = {"schema": "published"}  # noqa: RUF012

    admin_level: Mapped[str]
    domain_id: Mapped[str]
    domain_name: Mapped[str]


class ProjectIndicator(_OfRun, Base):
    """Baseline and latest value of one indicator of an AD project."""

    __tablename__ = "project_indicator"
    __table_args__ = {"schema": "published"}  # noqa: RUF012

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = mapped_column(index=True)
    project_name: Mapped[str]
    district_pcodes: Mapped[str]
    start_year: Mapped[int]
    harvest_year: Mapped[int]
    indicator_code: Mapped[str]
    unit: Mapped[str]
    direction: Mapped[str]
    baseline_value: Mapped[float]
    baseline_year: Mapped[int]
    target_value: Mapped[float | None]
    latest_value: Mapped[float | None]
    latest_ci_low: Mapped[float | None]
    latest_ci_high: Mapped[float | None]
    latest_year: Mapped[int | None]
    n_respondents: Mapped[int | None]
    n_villages: Mapped[int | None]
    method: Mapped[str]
    disclosure: Mapped[str]
    geom: Mapped[Any] = mapped_column(Geometry("MULTIPOLYGON", srid=4326, spatial_index=True))


class RasterLayer(_OfRun, Base):
    """A raster that analysts may see as tiles; the path never leaves the service."""

    __tablename__ = "raster_layer"
    __table_args__ = {"schema": "restricted"}  # noqa: RUF012

    layer_id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    path: Mapped[str]
    classes: Mapped[dict[str, Any]]
    #: P-codes of the districts and provinces that it shows; row-level security reads them.
    areas: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))


class User(Base):
    """Somebody who may sign in. Never deleted: the audit trail names them."""

    __tablename__ = "user_account"
    __table_args__ = {"schema": "people"}  # noqa: RUF012

    name: Mapped[str] = mapped_column(primary_key=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    areas: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    password_changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Session(Base):
    """A browser that signed in, or a program's token; the secret itself is stored nowhere."""

    __tablename__ = "session"
    __table_args__ = {"schema": "people"}  # noqa: RUF012

    session_id: Mapped[str] = mapped_column(primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("people.user_account.name"), index=True)
    kind: Mapped[str]
    label: Mapped[str]
    secret_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class SignInAttempt(Base):
    """Tries of one name, one address or both since a moment; the key is a digest."""

    __tablename__ = "sign_in_attempt"
    __table_args__ = {"schema": "people"}  # noqa: RUF012

    key: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class AuditEvent(Base):
    """What somebody did or read; the web role can add events and change none."""

    __tablename__ = "audit_event"
    __table_args__ = {"schema": "people"}  # noqa: RUF012

    event_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    actor: Mapped[str]
    role: Mapped[str]
    session_id: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
    reason: Mapped[str]
