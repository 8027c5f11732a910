"""How tables are declared: those of organisations, and the few that are outside of them; and ids for their rows."""

import itertools
import os
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)
"""Every table of every feature; migrations are compared with it. Check constraints are named by hand."""


def tenant_table(name: str, *items: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    """Declare a table whose rows belong to organisations; column ``org`` is added and leads the primary key.

    Raises:
        ValueError: No column is a primary key, or a unique key does not begin with ``org``.
    """
    table = sa.Table(name, metadata, sa.Column("org", sa.Uuid, primary_key=True), *items, **options)
    if len(table.primary_key) == 1 and not options.get("info", {}).get("one_per_org"):
        message = f"{name}: give the column that identifies a row within its organisation primary_key=True"
        raise ValueError(message)
    keys: list[Iterable[sa.Column[Any]]] = [c.columns for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
    keys += [index.columns for index in table.indexes if index.unique]
    for key in keys:
        if next(iter(key)).name != "org":
            message = (
                f"{name}: a unique key across organisations tells that a value exists elsewhere; begin it with org"
            )
            raise ValueError(message)
    return table


def global_table(name: str, *items: sa.schema.SchemaItem, reason: str, **options: Any) -> sa.Table:
    """Declare a table outside of organisations; ``reason`` says why nobody's data can leak through it."""
    return sa.Table(name, metadata, *items, info={"global": reason}, **options)


def global_tables() -> dict[str, str]:
    """Return the declared tables without an organisation, each with its reason."""
    return {table.name: table.info["global"] for table in metadata.tables.values() if "global" in table.info}


_counter = itertools.count(int.from_bytes(os.urandom(2)))


def new_id() -> UUID:
    """Return a new time-ordered id (UUID version 7, RFC 9562): 48 bits of milliseconds, 12 of a counter, 62 random."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | (next(_counter) & 0xFFF) << 64 | 0b10 << 62
    return UUID(int=value | int.from_bytes(os.urandom(8)) >> 2)
