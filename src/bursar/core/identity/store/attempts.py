"""How often a secret was tried, by account and by address; one row lock serialises the tries of one account."""

import hashlib
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from bursar.core.identity.rules import attempts as rules
from bursar.core.identity.tables import attempt
from bursar.infra.db import Tx


def subject(kind: str, name: str) -> bytes:
    """Return the key under which tries of ``name`` are counted; the name itself is not kept."""
    return hashlib.sha256(f"{kind}\0{name}".encode("utf-8", "backslashreplace")).digest()


async def knock(tx: Tx, subject_: bytes, *, tries_max: int, doubling: bool, now: datetime) -> tuple[timedelta, int]:
    """Count a try as failed before it is made, unless it must wait.

    Returns:
        How long to wait (then nothing was counted), and failures in a row before this try.
    """
    first = {"since": now, "tries": 0, "failures": 0, "at": now}
    await tx.run(insert(attempt).values(subject=subject_, **first).on_conflict_do_nothing())
    row = await tx.one(sa.select(attempt).where(attempt.c.subject == subject_).with_for_update())
    assert row is not None
    tries = rules.Tries(row.since, row.tries, row.failures, row.at)
    wait = rules.wait(tries if row.tries else None, tries_max=tries_max, doubling=doubling, now=now)
    if wait:
        return wait, row.failures
    made = rules.counted(tries, now=now)
    facts = {"since": made.since, "tries": made.count, "failures": made.failures, "at": made.at}
    await tx.run(sa.update(attempt).where(attempt.c.subject == subject_).values(facts))
    return timedelta(0), row.failures


async def forgive(tx: Tx, subject_: bytes) -> None:
    """Take back one try that was not wrong; failures before it stay."""
    less = {"tries": sa.func.greatest(attempt.c.tries - 1, 0), "failures": sa.func.greatest(attempt.c.failures - 1, 0)}
    await tx.run(sa.update(attempt).where(attempt.c.subject == subject_).values(less))


async def clear(tx: Tx, subject_: bytes) -> None:
    """Forget the tries of an account after a right one."""
    await tx.run(sa.delete(attempt).where(attempt.c.subject == subject_))


async def forget(tx: Tx, *, before: datetime) -> int:
    """Remove tries whose last one was before ``before``; returns how many accounts and addresses that were."""
    old = sa.delete(attempt).where(attempt.c.at < before, attempt.c.failures < rules.FAILURES_MAX)
    return (await tx.run(old)).rowcount
