"""What a block of the audit trail proves, and what is wrong with one that proves nothing; pure."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from itertools import zip_longest
from typing import Any
from uuid import UUID

import orjson

BLOCK_ROWS_MAX = 1_000
"""Most rows of one block."""

BLOCK_BYTES_MAX = 1_048_576
"""Canonical bytes after which a block takes no further row."""

STATE_BYTES_MAX = 32_768
"""Largest ``before`` or ``after``; of a larger one only its hash is kept."""

ACTION_CHARS_MAX = 100
SUBJECT_CHARS_MAX = 300

XID_END = 2**63 - 1
"""Beyond every transaction number."""

NOTHING = UUID(int=0)
GENESIS = bytes(32)
"""``previous_hash`` of the first block."""

LEAF_BYTES = 32
_HALF = 16
_DOMAIN = b"bursar.audit.block.1\0"


@dataclass(frozen=True, slots=True)
class Sealable:
    """One row as stored: id, transaction number and canonical bytes."""

    id: UUID
    xid: int
    content: bytes

    @property
    def leaf(self) -> bytes:
        """Id and half of the SHA-256 of the row: 32 bytes that name it and what it said."""
        return self.id.bytes + hashlib.sha256(self.content).digest()[:_HALF]


@dataclass(frozen=True, slots=True)
class Block:
    """One sealed block.

    Attributes:
        org: Whose.
        number: From 1, without gaps.
        cluster: Server whose transactions it holds.
        since: First key inside, (transaction, id).
        upto: First key after it.
        rows: How many.
        content_hash: SHA-256 over the canonical bytes of the rows in order.
        leaves: :attr:`Sealable.leaf` of each row in order.
        previous_hash: Hash of the block before; zeros for the first.
        key: Name of the signing key.
        sealed_at: When.
        hash: SHA-256 over all of the above.
        signature: Ed25519 over ``hash``.
    """

    org: UUID
    number: int
    cluster: int
    since: tuple[int, UUID]
    upto: tuple[int, UUID]
    rows: int
    content_hash: bytes
    leaves: bytes
    previous_hash: bytes
    key: str
    sealed_at: datetime
    hash: bytes = b""
    signature: bytes = b""

    def digest(self) -> bytes:
        """Return what ``hash`` must be."""
        parts = (
            self.org.bytes,
            _number(self.number),
            _number(self.cluster),
            _number(self.since[0]) + self.since[1].bytes,
            _number(self.upto[0]) + self.upto[1].bytes,
            _number(self.rows),
            self.content_hash,
            hashlib.sha256(self.leaves).digest(),
            self.previous_hash,
            _number(int(self.sealed_at.timestamp()) * 1_000_000 + self.sealed_at.microsecond),
            hashlib.sha256(self.key.encode()).digest(),
        )
        return hashlib.sha256(_DOMAIN + b"".join(parts)).digest()


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that is not as it was sealed.

    Attributes:
        kind: ``edited``, ``deleted``, ``inserted``, ``reordered`` (a row); ``altered``, ``missing``, ``unsigned``
            (a block); ``cut``, ``forked`` (the whole, against a head kept outside).
        block: Number of the block.
        entry: The row; None when a block as a whole is meant.
        what: For people.
    """

    kind: str
    block: int
    entry: UUID | None
    what: str


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain as it was at some time; kept outside, it proves what the chain held then."""

    org: UUID
    block: int
    hash: bytes
    key: str
    signature: bytes
    sealed_at: datetime


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def content_hash(rows: Iterable[Sealable]) -> bytes:
    """Return the SHA-256 over the canonical bytes of ``rows`` in order."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(row.content)
    return whole.digest()


def cut(rows: Sequence[Sealable]) -> int:
    """Return how many of ``rows`` (at least one) go into the next block."""
    size = 0
    for count, row in enumerate(rows[:BLOCK_ROWS_MAX]):
        if size > BLOCK_BYTES_MAX:
            return count
        size += len(row.content)
    return min(len(rows), BLOCK_ROWS_MAX)


def fault(block: Block, *, number: int, previous: bytes, since: tuple[int, UUID]) -> Broken | None:
    """Return what is wrong with ``block`` itself, given where the chain before it ended; None when nothing is.

    Args:
        block: As stored.
        number: The number it must have.
        previous: Hash of the block before.
        since: Where the block before of the same cluster ended.
    """
    if block.number != number:
        return Broken("missing", number, None, f"block {number} is missing; block {block.number} follows")
    if block.digest() != block.hash or len(block.leaves) != LEAF_BYTES * block.rows:
        return Broken("altered", number, None, f"block {number} is not what was hashed")
    if block.previous_hash != previous or block.since != since:
        return Broken("altered", number, None, f"block {number} does not follow the block before it")
    return None


def first_difference(block: Block, rows: Sequence[Sealable]) -> Broken:
    """Return the first row of ``block`` that is not as it was sealed; ``rows`` are those in its range, in order."""
    sealed = [block.leaves[at : at + LEAF_BYTES] for at in range(0, len(block.leaves), LEAF_BYTES)]
    sealed_ids = {UUID(bytes=leaf[:_HALF]) for leaf in sealed}
    present_ids = {row.id for row in rows}
    for leaf, row in zip_longest(sealed, rows):
        wanted = UUID(bytes=leaf[:_HALF]) if leaf is not None else None
        if wanted is not None and (row is None or (row.id in sealed_ids and wanted not in present_ids)):
            return _row("deleted", block, wanted)
        if row is not None and row.id not in sealed_ids:
            return _row("inserted", block, row.id)
        if row is not None and row.leaf != leaf:
            return _row("edited" if row.id == wanted else "reordered", block, row.id)
    return Broken("altered", block.number, None, f"block {block.number} has another content than its rows")


def _row(kind: str, block: Block, entry: UUID) -> Broken:
    return Broken(kind, block.number, entry, f"entry {entry} of block {block.number} was {kind}")


def against(heads: Iterable[Head], hashes: Mapping[int, bytes], last: int) -> Broken | None:
    """Compare the chain with heads kept outside.

    Args:
        heads: What was kept.
        hashes: Hash by number of the blocks that heads name, as far as the chain has them.
        last: Number of the chain's last block; 0 without any.
    """
    for head in sorted(heads, key=lambda each: each.block):
        if head.block > last:
            return Broken(
                "cut", last, None, f"the chain ends at block {last}, but a head of block {head.block} was kept outside"
            )
        if hashes.get(head.block) != head.hash:
            return Broken(
                "forked", head.block, None, f"block {head.block} is another one than the head kept outside says"
            )
    return None


def state(value: object) -> Any:
    """Return ``value`` in JSON types, as ``before`` and ``after`` are stored.

    Exact numbers become text; a larger value than 32 KiB becomes its hash and size.

    Raises:
        TypeError: A type has no agreed form; binary data never belongs here.
    """
    if value is None:
        return None
    made = _json(value)
    raw = orjson.dumps(made, option=orjson.OPT_SORT_KEYS)
    if len(raw) <= STATE_BYTES_MAX:
        return made
    return {"kept": "hash only", "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def _json(value: object) -> Any:  # noqa: PLR0911  one line a type
    match value:
        case None | bool() | float():
            return value
        case Enum():
            return _json(value.value)
        case int():
            return value if abs(value) < 2**53 else str(value)
        case str():
            return storable(value)
        case Decimal():
            return f"{value:f}"
        case datetime() | date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return {storable(str(key)): _json(each) for key, each in value.items()}
        case set() | frozenset():
            return sorted((_json(each) for each in value), key=str)
        case list() | tuple():
            return [_json(each) for each in value]
        case _ if hasattr(value, "on_the_wire"):
            return _json(value.on_the_wire())
        case _:
            message = f"{type(value).__name__} has no form in the audit trail"
            raise TypeError(message)


def storable(text: str) -> str:
    """Return ``text`` as PostgreSQL can hold it: NUL becomes its symbol, half characters become escapes."""
    return text.replace("\0", "\u2400").encode("utf-8", "backslashreplace").decode()
