"""All SQL of cash."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx
from bursar.parts.banking.cash.rules.paths import Key
from bursar.parts.banking.cash.tables import watch

ACCOUNTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Watch:
    """The least balance somebody set, None where nobody did; whether the account was low when last looked at."""

    least: Decimal | None
    low: bool


async def watches(tx: Tx) -> dict[Key, Watch]:
    """Return what is watched, by account and currency."""
    rows = await tx.all(sa.select(watch).where(tx.own(watch)).order_by(watch.c.account).limit(ACCOUNTS_MAX))
    return {(row.account, row.currency): Watch(row.least, row.low) for row in rows}


async def put(tx: Tx, key: Key, values: Mapping[str, Any], *, now: datetime) -> None:
    """Write the least balance or the state of an account."""
    account, currency = key
    changed = {**values, "changed_at": now}
    add = pg.insert(watch).values(org=tx.org, account=account, currency=currency, **changed)
    await tx.run(add.on_conflict_do_update(index_elements=["org", "account", "currency"], set_=changed))
