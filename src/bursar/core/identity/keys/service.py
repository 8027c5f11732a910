"""Make, rotate, list and revoke API keys. The secret is shown once; its SHA-256 is kept.

A key never does more than who made it: what it may do is its scopes within the present rights of its maker, and it ends
when they leave.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.identity.rules import rights as right_rules
from bursar.core.identity.rules import sessions as rules
from bursar.core.identity.service import must_be_fresh
from bursar.core.identity.store import organisations
from bursar.core.identity.store import sessions as store
from bursar.infra.crypto import api_key, digest
from bursar.infra.db import Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound, TooMany


async def make(
    tx: Tx, actor: Actor, *, name: str, scopes: Sequence[str], networks: Iterable[str], days: int, now: datetime
) -> tuple[store.Row, str]:
    """Make an API key.

    Args:
        tx: Writing transaction.
        actor: Needs ``key:write``, and every right that the key shall have.
        name: What it is for.
        scopes: Its rights.
        networks: Addresses and networks it may be used from; none means everywhere.
        days: Until it expires, 1 to 365.
        now: The present instant.

    Returns:
        The key's row and its text, which exists nowhere else.

    Raises:
        NotAllowed: The actor lacks ``key:write``.
        StepUpNeeded: Give the password again first.
        Invalid: A name, scope, network or lifetime is malformed, or a scope is not held.
        TooMany: There are 200 live keys.
    """
    actor.must("key:write")
    must_be_fresh(actor)
    await organisations.own(tx, lock=True)
    if await store.key_count(tx) >= rules.KEYS_MAX:
        raise TooMany("API keys", 86_400)
    facts = {
        "lineage": new_id(),
        "slot": 0,
        "name": rules.check_name(name),
        "scopes": list(right_rules.check_scopes(scopes, actor.rights)),
        "networks": list(rules.check_networks(networks)),
    }
    return await _add(tx, actor, facts, days=days, action="key.made", now=now)


async def rotate(tx: Tx, actor: Actor, *, id_: str, days: int, now: datetime) -> tuple[store.Row, str]:
    """Make the successor of a key; both work until the old one is revoked or expires.

    Raises:
        NotAllowed, StepUpNeeded: As :func:`make`.
        NotFound: There is no such live key.
        Invalid: The caller does not hold a scope of the key, or ``days`` is out of range.
        Conflict: Two keys of this line live already; revoke the old one first.
    """
    actor.must("key:write")
    must_be_fresh(actor)
    await organisations.own(tx, lock=True)
    row = await store.lock_key(tx, id_)
    if row is None:
        raise NotFound("key", id_)
    living = []
    for each in await store.lineage(tx, row.lineage):
        if each.expires_at <= now:
            await store.revoke_key(tx, each.id, now=now)
        else:
            living.append(each)
    if len(living) > 1:
        raise Conflict("two keys of this line live already; revoke the one that is no longer used first")
    facts = {
        "lineage": row.lineage,
        "slot": 1 - living[0].slot if living else 0,
        "name": row.name,
        "scopes": list(right_rules.check_scopes(row.scopes, actor.rights)),
        "networks": list(row.networks),
    }
    return await _add(tx, actor, facts, days=days, action="key.rotated", now=now)


async def revoke(tx: Tx, actor: Actor, *, id_: str, now: datetime) -> None:
    """End a key; it stops working within a second. No step-up is asked: a leak must be stopped at once.

    Raises:
        NotAllowed: The actor lacks ``key:write``.
        NotFound: There is no such live key.
    """
    actor.must("key:write")
    row = await store.revoke_key(tx, id_, now=now)
    if row is None:
        raise NotFound("key", id_)
    before = {"name": row.name, "scopes": list(row.scopes)}
    await audit.record(tx, actor, action="key.revoked", subject=f"key:{id_}", before=before, now=now)


def listing(tx: Tx, actor: Actor) -> sa.Select[Any]:
    """Return the statement of living keys, to be bounded by the caller's page.

    Raises:
        NotAllowed: The actor lacks ``key:read``.
    """
    actor.must("key:read")
    return store.keys(tx)


async def _add(
    tx: Tx, actor: Actor, facts: dict[str, Any], *, days: int, action: str, now: datetime
) -> tuple[store.Row, str]:
    if not 1 <= days <= rules.KEY_LIFE_DAYS_MAX:
        raise Invalid(f"a key lives 1 to {rules.KEY_LIFE_DAYS_MAX} days", fix="Rotate it when it expires.")
    id_, text = api_key()
    values = {
        **facts,
        "id": id_,
        "secret_hash": digest(text),
        "made_by": actor.person,
        "created_at": now,
        "expires_at": now + timedelta(days=days),
    }
    await store.add_key(tx, values)
    after = {
        "name": facts["name"],
        "scopes": facts["scopes"],
        "networks": facts["networks"],
        "expires_at": values["expires_at"],
    }
    await audit.record(tx, actor, action=action, subject=f"key:{id_}", after=after, now=now)
    row = await store.lock_key(tx, id_)
    assert row is not None
    return row, text
