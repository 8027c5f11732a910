"""Statements compiled once, for the few reads that nearly every request makes.

Building, caching and executing a statement through SQLAlchemy costs about 150 microseconds of CPU; a :class:`Prepared` one
costs about 35, because its text is compiled once and goes to psycopg as it is. Everything else stays the same: it runs in
the transaction it is given, under row-level security, and its time is observed.
"""

import time
from collections import namedtuple
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa
from psycopg.rows import tuple_row
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from bursar.infra.db_tx import Tx, observe, refusal_of

_DIALECT: sa.Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Prepared:
    """A ``select`` with named parameters, written as a constant of a ``store.py``.

    Args:
        statement: Uses ``sa.bindparam("name")`` for every fact; values that psycopg itself adapts and returns (UUID, text,
            numbers, instants, JSON); one row each time is what it is for, so it is bounded by its key.
        expanding: Not supported: no ``in_`` over a list.

    Raises:
        ValueError: A parameter has no name, so its value would be frozen into the constant.
    """

    __slots__ = ("_names", "_row", "source", "text")

    def __init__(self, statement: sa.Select[Any]) -> None:
        compiled = statement.compile(dialect=_DIALECT)
        fixed = [name for name, value in compiled.params.items() if value is not None]
        if fixed:
            message = f"give every value a bindparam; these are literal: {', '.join(sorted(fixed))}"
            raise ValueError(message)
        self.source = statement
        self.text = str(compiled)
        self._names = frozenset(compiled.params)
        self._row: type[NamedTuple] = namedtuple("Row", [column.key for column in statement.selected_columns])  # type: ignore[assignment,misc]  # noqa: PYI024

    async def all(self, tx: Tx, **facts: Any) -> Sequence[Any]:
        """Return every row as a named tuple.

        Raises:
            ValueError: A parameter is missing or unknown.
            Busy: A lock was not to be had.
            TooSlow: It ran longer than the statement timeout.
        """
        if facts.keys() != self._names:
            message = f"the statement takes {sorted(self._names)}, not {sorted(facts)}"
            raise ValueError(message)
        start = time.perf_counter()
        try:
            cursor = tx.driver.cursor(row_factory=tuple_row)
            rows = await (await cursor.execute(self.text, facts, prepare=True)).fetchall()
        except psycopg.Error as error:
            raise refusal_of(sa.exc.DBAPIError(self.text, None, error)) from error
        finally:
            observe(time.perf_counter() - start, self.source)
        return [self._row._make(row) for row in rows]

    async def one(self, tx: Tx, **facts: Any) -> Any:
        """Return the row as a named tuple, or None when there is none.

        Raises:
            sqlalchemy.exc.MultipleResultsFound: There is more than one (a bug).
        """
        rows = await self.all(tx, **facts)
        if len(rows) > 1:
            raise sa.exc.MultipleResultsFound
        return rows[0] if rows else None
