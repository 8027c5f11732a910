"""Cursor pagination: keyset pages with an opaque, signed cursor bound to one list of one organisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import orjson
import sqlalchemy as sa

from bursar.infra.marks import marked, unmarked
from bursar.infra.web_models import Listed
from bursar.kernel.errors import Refusal

LIMIT_MAX = 200
"""Most items on a page."""

LIMIT_DEFAULT = 50
"""Items on a page when the caller names no limit."""

CURSOR_MAX_CHARS = 2_000
"""Longest cursor accepted."""

Row = TypeVar("Row")
Item = TypeVar("Item")

_READERS: dict[str, Callable[[str], Any]] = {
    "s": str,
    "i": int,
    "u": UUID,
    "t": datetime.fromisoformat,
    "d": date.fromisoformat,
    "n": Decimal,
    "b": lambda text: text == "1",
}


class BadCursor(Refusal):
    """The cursor does not belong to this list; start again without `after`."""


def _packed(value: object) -> list[str]:  # noqa: PLR0911  one line a type
    match value:
        case bool():
            return ["b", "1" if value else "0"]
        case str():
            return ["s", value]
        case int():
            return ["i", str(value)]
        case UUID():
            return ["u", str(value)]
        case datetime():
            return ["t", value.isoformat()]
        case date():
            return ["d", value.isoformat()]
        case Decimal():
            return ["n", str(value)]
        case _:
            message = f"a cursor cannot hold {type(value).__name__}"
            raise TypeError(message)


def pack(values: Sequence[object], key: bytes, scope: str) -> str:
    """Return the opaque cursor of the sort key ``values``, signed with ``key`` for the list named ``scope``."""
    return marked(orjson.dumps([_packed(value) for value in values]), key=key, scope=scope)


def unpack(cursor: str, key: bytes, scope: str) -> tuple[Any, ...]:
    """Return the sort key inside ``cursor``.

    Raises:
        BadCursor: It was not made by :func:`pack` with the same ``key`` and ``scope``.
    """
    body = unmarked(cursor, key=key, scope=scope)
    if body is None:
        raise BadCursor
    return tuple(_READERS[kind](text) for kind, text in orjson.loads(body))


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is wanted; services and stores pass it on.

    Attributes:
        limit: Items on the page, 1 to :data:`LIMIT_MAX`.
        after: Sort key of the last item seen; None for the first page.
        key: Secret that signs cursors.
        scope: The list that cursors are bound to.
    """

    limit: int = LIMIT_DEFAULT
    after: tuple[Any, ...] | None = None
    key: bytes = b""
    scope: str = ""

    def of(
        self, statement: sa.Select[Any], *columns: sa.ColumnElement[Any], newest_first: bool = True
    ) -> sa.Select[Any]:
        """Add keyset condition, order and limit to ``statement``.

        Args:
            statement: Selects the list without order.
            columns: The sort key; together unique and never null, such as ``t.c.at, t.c.id``.
            newest_first: Descending order of every column.

        Returns:
            The statement; it yields one row more than the page, which tells :meth:`listed` whether to go on.
        """
        if self.after is not None:
            if len(self.after) != len(columns):
                raise BadCursor
            seen = sa.tuple_(
                *(sa.bindparam(None, value, column.type) for value, column in zip(self.after, columns, strict=True))
            )
            here = sa.tuple_(*columns)
            statement = statement.where(here < seen if newest_first else here > seen)
        order = [column.desc() if newest_first else column.asc() for column in columns]
        return statement.order_by(*order).limit(self.limit + 1)

    def listed(
        self, rows: Sequence[Row], *, key: Callable[[Row], Sequence[object]], out: Callable[[Row], Item]
    ) -> Listed[Item]:
        """Return the page made of at most ``limit`` of ``rows`` and the cursor of the next one.

        Args:
            rows: What the statement of :meth:`of` yielded.
            key: The sort key of a row, in the order of the columns given to :meth:`of`.
            out: Translates a row for the wire.
        """
        page = rows[: self.limit]
        more = len(rows) > self.limit
        cursor = pack(key(page[-1]), self.key, self.scope) if more else None
        return Listed[Any](data=[out(row) for row in page], next=cursor)
