"""Use cases of webhooks: endpoints, announcing, delivering, replaying; and the outbox of mails."""

import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.notices import rules, store
from bursar.core.notices.rules import Attempt, Delivery, Endpoint
from bursar.core.notices.tables import delivery as delivery_table
from bursar.infra import jobs, mail
from bursar.infra.crypto import Keyring
from bursar.infra.db import Tx, new_id
from bursar.infra.http import Client
from bursar.infra.mail_tables import outbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound, TooMany

DELIVER = "notices.deliver"
SIGNING_USE = "webhook"

__all__ = ["Attempt", "Delivery", "Endpoint", "Means", "announce"]


@dataclass(frozen=True, slots=True)
class Means:
    """What webhooks need: the keys that seal and sign, and the way out (allow-list: any public host over https)."""

    keyring: Keyring
    client: Client


@dataclass(frozen=True, slots=True)
class Parcel:
    """Everything one attempt needs, read before it: no transaction is open while the receiver is waited for."""

    delivery: UUID
    number: int
    url: str
    body: str
    headers: Mapping[str, str]


def _place(org: UUID, id_: UUID) -> str:
    return f"{org}:webhook:{id_}"


async def endpoints(tx: Tx, actor: Actor) -> list[Endpoint]:
    """Return every endpoint.

    Raises:
        NotAllowed: The actor lacks ``webhook:read``.
    """
    actor.must("webhook:read")
    return await store.endpoints(tx)


async def endpoint(tx: Tx, actor: Actor, *, id_: UUID) -> Endpoint:
    """Return one endpoint.

    Raises:
        NotAllowed: The actor lacks ``webhook:read``.
        NotFound: There is none in this organisation.
    """
    actor.must("webhook:read")
    return store.endpoint_of(await _endpoint(tx, id_))


async def _endpoint(tx: Tx, id_: UUID, *, lock: bool = False) -> sa.Row[Any]:
    row = await store.find_endpoint(tx, id_, lock=lock)
    if row is None:
        raise NotFound("webhook", str(id_))
    return row


async def create(
    tx: Tx, actor: Actor, means: Means, *, url: str, events: Sequence[str], description: str = "", now: datetime
) -> tuple[Endpoint, str]:
    """Make an endpoint; returns it and its secret, which is shown this once.

    Raises:
        NotAllowed: The actor lacks ``webhook:write``.
        EgressRefused: The address is not https, or its host is not allowed.
        Invalid: An event pattern is malformed.
        TooMany: There are 20 already.
    """
    actor.must("webhook:write")
    means.client.check(url)
    if len(await store.endpoints(tx)) >= rules.ENDPOINTS_MAX:
        raise TooMany("webhooks", 86_400)
    id_, secret = new_id(), secrets.token_bytes(rules.SECRET_BYTES)
    sealed = means.keyring.seal(secret, place=_place(tx.org, id_))
    values = {"url": url, "events": list(rules.check_events(events)), "description": description, "active": True}
    await store.add_endpoint(tx, {"id": id_, "secret": sealed, "created_at": now, "changed_at": now, **values})
    await audit.record(tx, actor, action="webhook.created", subject=f"webhook:{id_}", now=now, after=values)
    return store.endpoint_of(await _endpoint(tx, id_)), rules.shown(secret)


async def change(
    tx: Tx,
    actor: Actor,
    means: Means,
    *,
    id_: UUID,
    now: datetime,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    active: bool | None = None,
) -> Endpoint:
    """Change an endpoint; what is None stays. Switching it on again forgets why it was off.

    Raises:
        NotAllowed: The actor lacks ``webhook:write``.
        NotFound: There is none in this organisation.
        EgressRefused: The address is not https, or its host is not allowed.
        Invalid: An event pattern is malformed.
    """
    actor.must("webhook:write")
    before = store.endpoint_of(await _endpoint(tx, id_, lock=True))
    if url is not None:
        means.client.check(url)
    asked = {
        "url": url,
        "events": None if events is None else list(rules.check_events(events)),
        "description": description,
        "active": active,
    }
    values: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if active is not None:
        values["disabled_why"] = None if active else "switched off by hand"
    await store.change_endpoint(tx, id_, {**values, "changed_at": now})
    old = {name: getattr(before, name) for name in values}
    await audit.record(tx, actor, action="webhook.changed", subject=f"webhook:{id_}", now=now, before=old, after=values)
    return store.endpoint_of(await _endpoint(tx, id_))


async def remove(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> None:
    """Delete an endpoint and its delivery log; what is on its way is not sent.

    Raises:
        NotAllowed: The actor lacks ``webhook:write``.
        NotFound: There is none in this organisation.
    """
    actor.must("webhook:write")
    before = store.endpoint_of(await _endpoint(tx, id_))
    await store.remove_endpoint(tx, id_)
    old = {"url": before.url, "events": list(before.events)}
    await audit.record(tx, actor, action="webhook.removed", subject=f"webhook:{id_}", now=now, before=old)


async def rotate(tx: Tx, actor: Actor, means: Means, *, id_: UUID, now: datetime) -> tuple[Endpoint, str]:
    """Give an endpoint a new secret; for 24 hours both sign. Returns the new one, which is shown this once.

    Raises:
        NotAllowed: The actor lacks ``webhook:write``.
        NotFound: There is none in this organisation.
    """
    actor.must("webhook:write")
    row = await _endpoint(tx, id_, lock=True)
    secret = secrets.token_bytes(rules.SECRET_BYTES)
    values = {
        "secret": means.keyring.seal(secret, place=_place(tx.org, id_)),
        "previous_secret": row.secret,
        "previous_until": now + rules.ROTATION,
        "changed_at": now,
    }
    await store.change_endpoint(tx, id_, values)
    await audit.record(tx, actor, action="webhook.rotated", subject=f"webhook:{id_}", now=now)
    return store.endpoint_of(await _endpoint(tx, id_)), rules.shown(secret)


def keys(actor: Actor, means: Means) -> list[str]:
    """Return the public keys (``whpk_…``) that v1a signatures verify with; the current one first.

    Raises:
        NotAllowed: The actor lacks ``webhook:read``.
    """
    actor.must("webhook:read")
    return [rules.public_key(signer.public) for signer in means.keyring.signers(SIGNING_USE).values()]


async def announce(
    tx: Tx, *, type_: str, data: Mapping[str, Any], now: datetime, only: UUID | None = None
) -> UUID | None:
    """Tell subscribed endpoints, in the caller's transaction, that something changed.

    Args:
        tx: Writing transaction of the change itself.
        type_: ``noun.verb`` in the past, such as ``finding.raised``.
        data: Ids and where to read more; JSON values, under 20 kB.
        now: Instant of the change.
        only: One endpoint that gets it whatever it subscribed to.

    Returns:
        The event's id; None when nobody listens, and nothing is stored then.
    """
    body = rules.body_of(type_, data, at=now)
    listening = [
        each
        for each in await store.endpoints(tx)
        if each.active and (each.id == only if only else rules.wants(each.events, type_))
    ]
    if not listening:
        return None
    id_ = new_id()
    await store.add_message(tx, {"id": id_, "type": type_, "body": body, "at": now})
    await _deliver(tx, id_, [each.id for each in listening], now)
    await store.forget(tx, before=now - rules.KEEP)
    return id_


async def _deliver(tx: Tx, message: UUID, to: Sequence[UUID], now: datetime) -> list[UUID]:
    ids = [new_id() for _ in to]
    rows = [
        {"id": id_, "endpoint": each, "message": message, "next_at": now} for id_, each in zip(ids, to, strict=True)
    ]
    await store.add_deliveries(tx, rows)
    await jobs.enqueue_all(tx, DELIVER, [{"delivery": str(id_), "number": 1} for id_ in ids])
    return ids


async def ping(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> UUID:
    """Send a ``webhook.tested`` event to one endpoint; returns the event's id.

    Raises:
        NotAllowed: The actor lacks ``webhook:write``.
        NotFound: There is none in this organisation.
        Conflict: The endpoint is switched off.
    """
    actor.must("webhook:write")
    await _endpoint(tx, id_)
    found = await announce(tx, type_="webhook.tested", data={"webhook": str(id_)}, now=now, only=id_)
    if found is None:
        raise Conflict("The webhook is switched off")
    return found


async def deliveries(
    tx: Tx, actor: Actor, *, id_: UUID, state: str | None, limit: int, after: UUID | None
) -> list[Delivery]:
    """Return deliveries to an endpoint, the newest first.

    Raises:
        NotAllowed: The actor lacks ``webhook:read``.
        NotFound: There is no such endpoint in this organisation.
    """
    actor.must("webhook:read")
    await _endpoint(tx, id_)
    chosen = store.deliveries(tx, endpoint_id=id_, state=state)
    if after is not None:
        chosen = chosen.where(delivery_table.c.id < after)
    return [store.delivery_of(row) for row in await tx.all(chosen.order_by(delivery_table.c.id.desc()).limit(limit))]


async def delivery(tx: Tx, actor: Actor, *, id_: UUID) -> tuple[Delivery, str, list[Attempt]]:
    """Return a delivery, the body it carries and its log.

    Raises:
        NotAllowed: The actor lacks ``webhook:read``.
        NotFound: There is none in this organisation.
    """
    actor.must("webhook:read")
    row = await store.find_delivery(tx, id_)
    if row is None:
        raise NotFound("delivery", str(id_))
    return store.delivery_of(row), row.body, await store.attempts(tx, id_)


async def replay(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> UUID:
    """Deliver the same event to the same endpoint once more, under the same event id; returns the new delivery's id.

    Raises:
        NotAllowed: The actor lacks ``webhook:write``.
        NotFound: There is no such delivery in this organisation.
        Conflict: It is still on its way.
    """
    actor.must("webhook:write")
    row = await store.find_delivery(tx, id_, lock=True)
    if row is None:
        raise NotFound("delivery", str(id_))
    if row.state == "pending":
        raise Conflict("The delivery is still on its way")
    (made,) = await _deliver(tx, row.message, [row.endpoint], now)
    await audit.record(tx, actor, action="webhook.replayed", subject=f"delivery:{id_}", now=now)
    return made


async def parcel(tx: Tx, means: Means, *, id_: UUID, number: int, now: datetime) -> Parcel | None:
    """Return what attempt ``number`` needs; None when it has been made already or the endpoint is gone or off."""
    row = await store.find_delivery(tx, id_, lock=True)
    if row is None or row.state != "pending" or row.attempts != number - 1:
        return None
    target = await _endpoint(tx, row.endpoint)
    if not target.active:
        await store.change_delivery(tx, id_, {"state": "failed", "next_at": None, "ended_at": now})
        return None
    place = _place(tx.org, target.id)
    sealed = [target.secret]
    if target.previous_until is not None and target.previous_until > now:
        sealed.append(target.previous_secret)
    headers = rules.headers(
        row.message,
        row.body,
        at=now,
        secrets=[means.keyring.open(each, place=place) for each in sealed],
        sign=[signer.sign for signer in means.keyring.signers(SIGNING_USE).values()],
    )
    return Parcel(id_, number, target.url, row.body, headers)


async def record_attempt(tx: Tx, *, id_: UUID, made: Attempt, now: datetime, rng: random.Random) -> datetime | None:
    """Write the log of one attempt and decide what follows; returns the instant of the next one, if any.

    2xx delivers; 410 switches the endpoint off; anything else, a redirect too, is tried again on schedule.
    """
    row = await store.find_delivery(tx, id_, lock=True)
    if row is None or row.state != "pending" or row.attempts != made.number - 1:
        return None
    facts = {"number": made.number, "at": made.at, "status": made.status, "ms": made.ms, "error": made.error}
    await store.add_attempt(tx, {"delivery": id_, **facts})
    wait = rules.next_wait(made.number, rng)
    delivered = made.status is not None and 200 <= made.status < 300
    if delivered or made.status == rules.GONE or wait is None:
        state = "delivered" if delivered else "failed"
        await store.change_delivery(
            tx, id_, {"state": state, "attempts": made.number, "next_at": None, "ended_at": now}
        )
        if made.status == rules.GONE:
            off = {"active": False, "disabled_why": "the receiver answered 410 Gone", "changed_at": now}
            await store.change_endpoint(tx, row.endpoint, off)
        return None
    await store.change_delivery(tx, id_, {"attempts": made.number, "next_at": now + wait})
    await jobs.enqueue(tx, DELIVER, {"delivery": str(id_), "number": made.number + 1}, at=now + wait)
    return now + wait


async def mails(tx: Tx, actor: Actor, *, state: str | None, limit: int, after: UUID | None) -> Sequence[sa.Row[Any]]:
    """Return the outbox without contents, the newest first.

    Raises:
        NotAllowed: The actor lacks ``settings:read``.
        Invalid: The state is unknown.
    """
    actor.must("settings:read")
    if state is not None and state not in {"queued", "sending", "sent", "unknown", "dead"}:
        raise Invalid(f"{state[:40]!r} is no state of a mail")
    chosen = store.mails(tx, state=state)
    if after is not None:
        chosen = chosen.where(outbox.c.id < after)
    return await tx.all(chosen.order_by(outbox.c.id.desc()).limit(limit))


async def send_again(tx: Tx, actor: Actor, *, id_: UUID, now: datetime) -> None:
    """Send a mail in doubt once more.

    Raises:
        NotAllowed: The actor lacks ``settings:write``.
        NotFound: There is none in this organisation.
        Conflict: It is not in doubt.
    """
    actor.must("settings:write")
    await mail.send_again(tx, id_=id_)
    await audit.record(tx, actor, action="mail.sent_again", subject=f"mail:{id_}", now=now)
