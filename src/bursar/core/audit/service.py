"""Record changes, seal them, list them and prove that nobody touched them."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import rules, store
from bursar.core.audit.rules import Block, Broken, Head
from bursar.infra import mail
from bursar.infra.anchors import Anchors
from bursar.infra.crypto import Keyring, Signer, signed_by
from bursar.infra.db import Database, Tx
from bursar.infra.jobs import NOBODY
from bursar.kernel.actor import Actor
from bursar.kernel.errors import TooLarge

BLOCKS_A_PASS_MAX = 100
"""Blocks sealed in one transaction; the next pass goes on."""

BLOCKS_A_PAGE = 32
"""Blocks read at once while verifying: at most 32 MiB of rows."""

READERS = 2
"""Connections that read while verifying; PostgreSQL works on one page of blocks for each."""

BLOCKS_A_REQUEST_MAX = 5_000
"""Blocks verified within one HTTP request: five million entries, some ten seconds."""

SIGNING_USE = "audit"


@dataclass(frozen=True, slots=True)
class Means:
    """What the audit trail needs from outside; wiring makes it, sets ``app.state.audit`` and gives it to the worker.

    Attributes:
        keyring: Signs and knows the signing keys.
        anchors: Where heads are kept outside of the database; None without.
    """

    keyring: Keyring
    anchors: Anchors | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found.

    Attributes:
        rows: Sealed entries that were checked.
        blocks: Blocks that were checked.
        unsealed: Entries not yet sealed; nothing is proved of them.
        head: The end of the chain.
        broken: The first thing wrong; None when all is as it was sealed.
        anchored: How many heads kept outside agree with the chain.
    """

    rows: int
    blocks: int
    unsealed: int
    head: Head | None
    broken: Broken | None
    anchored: int


async def record(
    tx: Tx,
    actor: Actor,
    *,
    action: str,
    subject: str,
    now: datetime,
    before: object = None,
    after: object = None,
) -> UUID:
    """Add one entry in the caller's transaction; it exists exactly when the change does.

    Args:
        tx: Writing transaction of the change itself.
        actor: Who changed it; needs no right of its own.
        action: ``noun.verb``, at most 100 characters, such as ``member.roles_changed``.
        subject: What was changed, such as ``person:<id>``, at most 300 characters.
        now: Instant of the change.
        before: JSON-like state before; None when it did not exist. Never secrets.
        after: State after; None when it does not exist any more.

    Returns:
        The entry's id.

    Raises:
        TypeError: A value has no JSON form.
        ValueError: ``action`` or ``subject`` is too long.
    """
    if len(action) > rules.ACTION_CHARS_MAX or len(subject) > rules.SUBJECT_CHARS_MAX:
        message = f"audit: {action[:100]!r} on {subject[:100]!r} is too long"
        raise ValueError(message)
    values = {
        "at": now,
        "actor": rules.storable(actor.name),
        "request_id": rules.storable(actor.request_id),
        "action": action,
        "subject": rules.storable(subject),
        "before": rules.state(before),
        "after": rules.state(after),
    }
    return await store.add(tx, {name: value for name, value in values.items() if value is not None})


def listing(
    tx: Tx, actor: Actor, *, subject: str | None = None, by: str | None = None, action: str | None = None
) -> sa.Select[Any]:
    """Return the statement of entries, to be bounded by the caller's page.

    Raises:
        NotAllowed: The actor lacks ``audit:read``.
    """
    actor.must("audit:read")
    return store.listing(tx, subject=subject, actor=by, action=action)


async def head(tx: Tx, actor: Actor) -> Head | None:
    """Return the end of the chain, to be kept outside; None before the first block.

    Raises:
        NotAllowed: The actor lacks ``audit:read``.
    """
    actor.must("audit:read")
    last = await store.last_block(tx)
    return None if last is None else _head(last)


async def seal(db: Database, *, keyring: Keyring, now: datetime, anchors: Anchors | None = None) -> Sequence[Head]:
    """Seal what is committed and not sealed, in every organisation; safe to run anywhere at any time.

    Opens transactions of its own: one to ask who has something, one for each such organisation.

    Args:
        db: The database.
        keyring: Signs the blocks.
        now: Instant of sealing.
        anchors: Where the new heads are kept outside of the database.

    Returns:
        The new heads.
    """
    async with db.system("sealer", write=True) as tx:
        orgs = await store.unsealed(tx)
    signer = keyring.signer(SIGNING_USE)
    heads = [made for org in orgs if (made := await _seal_one(db, org, signer, now)) is not None]
    if anchors is not None:
        for made in heads:
            await asyncio.to_thread(anchors.keep, str(made.org), _anchor(made), day=made.sealed_at.date().isoformat())
    return heads


async def prove_all(db: Database, means: Means, *, now: datetime) -> Mapping[UUID, Verdict]:
    """Verify every organisation and keep the head of each sound chain outside; alert the operator of each broken one.

    Returns:
        The broken ones.
    """
    async with db.system("auditor") as tx:
        orgs = await store.organisations(tx)
    broken = {}
    for org in orgs:
        actor = Actor(org, "system:auditor", frozenset({"audit:read"}))
        verdict = await verify(db, actor, keyring=means.keyring, anchors=means.anchors)
        if verdict.broken is not None:
            broken[org] = verdict
            async with db.writing(Actor(NOBODY, "system:auditor")) as tx:
                body = f"Organisation {org}: {verdict.broken.what} ({verdict.broken.kind}), found {now.isoformat()}."
                await mail.alert(tx, title="The audit trail was touched", body=body)
        elif verdict.head is not None and means.anchors is not None:
            day = verdict.head.sealed_at.date().isoformat()
            await asyncio.to_thread(means.anchors.keep, str(org), _anchor(verdict.head), day=day)
    return broken


async def _seal_one(db: Database, org: UUID, signer: Signer, now: datetime) -> Head | None:
    """Seal one organisation; None when there was nothing or somebody else is at it."""
    async with db.writing(Actor(org, "system:sealer")) as tx:
        if not await store.lock(tx):
            return None
        last = await store.last_block(tx)
        made = 0
        for cluster, (end, horizon) in (await store.ends(tx)).items():
            since, upto = end, (horizon, rules.NOTHING)
            while made < BLOCKS_A_PASS_MAX and (rows := await store.rows_from(tx, cluster, since, upto)):
                last = _sealed(org, last, cluster, since, upto, rows, signer, now)
                await store.insert_block(tx, last)
                since = last.upto
                made += 1
        return _head(last) if made and last is not None else None


def _sealed(
    org: UUID,
    last: Block | None,
    cluster: int,
    since: tuple[int, UUID],
    upto: tuple[int, UUID],
    rows: Sequence[rules.Sealable],
    signer: Signer,
    now: datetime,
) -> Block:
    """Return the next block, made of the first of ``rows``."""
    count = rules.cut(rows)
    inside = rows[:count]
    block = Block(
        org=org,
        number=last.number + 1 if last else 1,
        cluster=cluster,
        since=since,
        upto=(rows[count].xid, rows[count].id) if count < len(rows) else upto,
        rows=count,
        content_hash=rules.content_hash(inside),
        leaves=b"".join(row.leaf for row in inside),
        previous_hash=last.hash if last else rules.GENESIS,
        key=signer.kid,
        sealed_at=now.astimezone(UTC),
    )
    made = replace(block, hash=block.digest())
    return replace(made, signature=signer.sign(made.hash))


async def verify(
    db: Database,
    actor: Actor,
    *,
    keyring: Keyring,
    anchors: Anchors | None = None,
    heads: Iterable[Head] = (),
    blocks_max: int | None = None,
) -> Verdict:
    """Prove that every sealed entry is as it was sealed, or name the first thing that is not.

    Reads the organisation's trail once, 32 blocks at a time, on two connections.

    Args:
        db: The database.
        actor: Needs ``audit:read``.
        keyring: Knows the signing keys; blocks of a retired key are proved by the chain up to a known key.
        anchors: Heads kept outside of the database.
        heads: Further heads, exported earlier.
        blocks_max: Refuse a longer trail; None for any length.

    Raises:
        NotAllowed: The actor lacks the right.
        TooLarge: The trail has more than ``blocks_max`` blocks.
    """
    actor.must("audit:read")
    kept = [*heads, *(_from_anchor(each) for each in (anchors.records(str(actor.org)) if anchors else ()))]
    publics = {kid: signer.public for kid, signer in keyring.signers(SIGNING_USE).items()}
    walk = _Walk(publics)
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(db.reading(actor)) for _ in range(READERS)]
        tx = readers[0]
        last = await store.last_block(tx)
        length = last.number if last is not None else 0
        if blocks_max is not None and length > blocks_max:
            raise TooLarge("the audit trail to verify here (`bursar audit verify` has no limit)", blocks_max, "blocks")
        await _walked(walk, readers, length)
        if walk.suspect is not None:
            rows = await store.rows_from(tx, walk.suspect.cluster, walk.suspect.since, walk.suspect.upto)
            walk.broken = rules.first_difference(walk.suspect, rows)
        walk.finish()
        hashes = await store.hashes(tx, {each.block for each in kept})
        broken = walk.broken or rules.against(kept, hashes, walk.number)
        unsealed = 0
        for cluster, (since, _) in (await store.ends(tx)).items():
            unsealed += await store.count_from(tx, cluster, since)
    end = _head(walk.last) if walk.last is not None else None
    return Verdict(walk.rows, walk.number, unsealed, end, broken, 0 if broken else len(kept))


async def _walked(walk: "_Walk", readers: Sequence[Tx], last: int) -> None:
    """Walk the chain up to block ``last``; each reader fetches its page while the pages before are still on their way."""
    starts = range(0, last, BLOCKS_A_PAGE)
    waiting: dict[int, asyncio.Task[list[tuple[Block, int, bytes]]]] = {}
    try:
        for at, start in enumerate(starts):
            for ahead in range(at, min(at + len(readers), len(starts))):
                if ahead not in waiting:
                    page = store.blocks_after(readers[ahead % len(readers)], starts[ahead], BLOCKS_A_PAGE)
                    waiting[ahead] = asyncio.create_task(page)
            found = await waiting.pop(at)
            await asyncio.to_thread(walk.take, found)
            if walk.broken is None and walk.suspect is None and walk.number != min(start + BLOCKS_A_PAGE, last):
                what = f"block {walk.number + 1} is missing"
                walk.broken = Broken("missing", walk.number + 1, None, what)
            if walk.broken is not None or walk.suspect is not None:
                return
    finally:
        await asyncio.gather(*waiting.values(), return_exceptions=True)


class _Walk:
    """Where a verification stands."""

    def __init__(self, publics: Mapping[str, bytes]) -> None:
        self._publics = publics
        self._ends: dict[int, tuple[int, UUID]] = {}
        self._foreign = 0
        self.number = 0
        self.rows = 0
        self.last: Block | None = None
        self.broken: Broken | None = None
        self.suspect: Block | None = None

    def take(self, page: Sequence[tuple[Block, int, bytes]]) -> None:
        """Check the next blocks; stops at the first that is wrong."""
        for block, count, content in page:
            since = self._ends.get(block.cluster, (0, rules.NOTHING))
            previous = self.last.hash if self.last else rules.GENESIS
            self.broken = rules.fault(block, number=self.number + 1, previous=previous, since=since) or self._signature(
                block
            )
            if self.broken is not None:
                return
            if count != block.rows or hashlib.sha256(content).digest() != block.content_hash:
                self.suspect = block
                return
            self._ends[block.cluster] = block.upto
            self.number, self.last = block.number, block
            self.rows += count

    def finish(self) -> None:
        """Demand that the chain ends under a key that is known."""
        if self.broken is None and self._foreign:
            what = f"blocks from {self._foreign} on are signed by a key that is not configured"
            self.broken = Broken("unsigned", self._foreign, None, what)

    def _signature(self, block: Block) -> Broken | None:
        public = self._publics.get(block.key)
        if public is None:
            self._foreign = self._foreign or block.number
            return None
        if not signed_by(public, block.signature, block.hash):
            return Broken("unsigned", block.number, None, f"the signature of block {block.number} is wrong")
        self._foreign = 0
        return None


def _head(block: Block) -> Head:
    return Head(block.org, block.number, block.hash, block.key, block.signature, block.sealed_at)


def _anchor(head_: Head) -> Mapping[str, Any]:
    return {
        "org": str(head_.org),
        "block": head_.block,
        "hash": head_.hash.hex(),
        "key": head_.key,
        "signature": head_.signature.hex(),
        "sealed_at": head_.sealed_at.isoformat(),
    }


def _from_anchor(record_: Mapping[str, Any]) -> Head:
    return Head(
        UUID(record_["org"]),
        record_["block"],
        bytes.fromhex(record_["hash"]),
        record_["key"],
        bytes.fromhex(record_["signature"]),
        datetime.fromisoformat(record_["sealed_at"]),
    )
