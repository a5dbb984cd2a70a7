"""Reading as somebody: row-level security takes role and areas from the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select

from api.disclosure import ALL_AREAS, Reader

__all__ = ["Database", "reading_as"]

#: What callers outside this package hold and hand back.
Database = Engine


@contextmanager
def reading_as(engine: Engine, reader: Reader) -> Iterator[Connection]:
    """A transaction in which guarded relations show what this reader may see.

    The settings are local to the transaction, so that a pooled connection keeps nothing.
    """
    areas = ALL_AREAS if reader.sees_everywhere else ",".join(sorted(reader.areas))
    with engine.begin() as connection:
        connection.execute(
            select(
                func.set_config("app.role", str(reader.role), True),
                func.set_config("app.areas", areas, True),
            )
        )
        yield connection
