"""The hash chain over committed batches: whoever changes a recorded transfer must change every later batch too."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime
from uuid import UUID

EMPTY = bytes(32)
"""The chain before the first batch."""

Leaf = tuple[UUID, str, bytes, str, UUID, UUID, int, str, date, datetime, UUID | None, str]
"""id, key, digest, kind, debit, credit, amount, currency, value day, recorded at, of, actor."""


def digest_of(leaves: Iterable[Leaf]) -> bytes:
    """Return the SHA-256 over the transfers of a batch, in order."""
    total = hashlib.sha256()
    shown: tuple[datetime | None, str] = (None, "")
    for id_, key, digest, kind, debit, credit, amount, currency, value_day, recorded_at, of, actor in leaves:
        if recorded_at != shown[0]:  # one instant for a whole batch, as a rule
            shown = (recorded_at, recorded_at.astimezone(UTC).isoformat(timespec="microseconds"))
        text = (
            f"{id_.int}\x1f{key}\x1f{kind}\x1f{debit.int}\x1f{credit.int}\x1f{amount}\x1f{currency}\x1f{value_day}\x1f{shown[1]}"
            f"\x1f{of and of.int}\x1f{actor}\x1e"
        )
        total.update(text.encode() + digest)
    return total.digest()


def linked(previous: bytes, number: int, digest: bytes) -> bytes:
    """Return the chain after batch ``number``: SHA-256 of the chain before, the number and the batch's digest."""
    return hashlib.sha256(previous + number.to_bytes(8, "big") + digest).digest()
