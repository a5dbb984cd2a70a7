"""Reading as somebody: row-level security takes role and areas from the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import OperationalError

from api.disclosure import ALL_AREAS, Reader
from api.errors import DatabaseError

__all__ = ["Database", "answering", "reading_as"]

#: What callers outside this package hold and hand back.
Database = Engine


@contextmanager
def answering(engine: Engine) -> Iterator[Connection]:
    """A connection; DatabaseError where no server answers, without its text.

    Raises
    ------
    DatabaseError
    """
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError:
        raise DatabaseError("the database does not answer; try again in a moment") from None


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
