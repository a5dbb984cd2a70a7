"""Settings from `ADSURVEY_*` variables; built by `cli` or tests, passed down."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["Settings", "is_loopback"]

_CHECKOUT = Path(__file__).resolve().parents[1]


def _state_dir() -> Path:
    """`.adsurvey` of the checkout; of the working folder where there is no checkout."""
    is_checkout = (_CHECKOUT / "pyproject.toml").is_file()
    return (_CHECKOUT if is_checkout else Path.cwd()) / ".adsurvey"


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only; names other than localhost do not count."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """What differs between machines.

    Attributes
    ----------
    database_url : SecretStr or None
        SQLAlchemy URL of a PostGIS database owned by us; None means the private cluster.
    web_database_url : SecretStr or None
        The same database as the reading role `adsurvey_web`; needed with `database_url`.
    state_dir : Path
        Holds the private cluster (as root it lies under /var/lib/ad-survey instead); by
        default `.adsurvey` of the checkout, wherever the command runs.
    survey : Path or None
        Round that receives uploaded submissions; None refuses uploads.
    collect_url : str
        Address at which phones reach `adsurvey collect`; empty: no codes for phones on the
        field page.
    host_names : tuple of str
        Names, beside those of loopback, under which browsers may reach the service.
    behind_proxy : bool
        A proxy on this machine ends TLS and says so in `X-Forwarded-Proto`.
    session_hours : int
        After which a browser signs in again.
    argon2_time_cost, argon2_memory_kib : int
        Work of one password check; the defaults are those of RFC 9106's second choice.
    """

    model_config = SettingsConfigDict(env_prefix="ADSURVEY_", frozen=True)

    database_url: SecretStr | None = None
    web_database_url: SecretStr | None = None
    state_dir: Path = Field(default_factory=_state_dir)
    survey: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    durable: bool = True
    collect_url: str = Field(
        default="", pattern=r"^(|https://\S+|http://(127\.0\.0\.1|localhost)\S*)$"
    )
    host_names: tuple[str, ...] = ()
    behind_proxy: bool = False
    session_hours: int = Field(default=12, ge=1, le=24 * 14)
    argon2_time_cost: int = Field(default=3, ge=1)
    argon2_memory_kib: int = Field(default=65_536, ge=8)
