"""Use cases of parties: resolving mentions, merging and splitting, answering suggestions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.parties import store
from bursar.core.parties.rules import mentions as spelt
from bursar.core.parties.rules import names
from bursar.core.parties.rules.mentions import Read
from bursar.infra.db import Tx, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotFound, TooLarge

MENTIONS_MAX = 1_000_000
"""Most mentions resolved by one call."""

Mention = spelt.Mention

NAME_CHARS_MAX = 500

HINTED_MAX = 3
"""Pairs that one call suggests for one identifier of a text: what many share, such as one's own VAT number, joins nobody."""


@dataclass(slots=True)
class _Work:
    """What one call knows and makes."""

    now: datetime
    known_names: dict[str, UUID]
    known_identifiers: dict[tuple[str, str], UUID]
    index: names.Index = field(default_factory=names.Index)
    parties: list[Mapping[str, Any]] = field(default_factory=list)
    names: list[Mapping[str, Any]] = field(default_factory=list)
    identifiers: list[Mapping[str, Any]] = field(default_factory=list)
    suggestions: dict[tuple[UUID, UUID], Mapping[str, Any]] = field(default_factory=dict)
    hinted: Counter[tuple[str, str]] = field(default_factory=Counter)


async def resolve(tx: Tx, actor: Actor, *, mentions: Sequence[Mention], now: datetime) -> list[UUID | None]:
    """Return the party of each mention, making parties that are not known yet.

    Identifiers decide first, in the order of their schemes; then the normalised name; then a scored match among names
    that share a block, taken only from :data:`rules.names.CERTAIN` on, or from :data:`rules.names.LIKELY` on where an
    identifier found in the text (or one that collectors lend) says the same. A likely pair below that becomes a suggestion.
    Accounts of those who collect for others identify nobody.

    Args:
        tx: Writing transaction.
        actor: Needs ``party:write``.
        mentions: At most 1,000,000; equal ones cost nothing.
        now: Instant, aware.

    Returns:
        Shape (n,): party ids; None where a mention has neither a name nor a usable identifier.
    """
    actor.must("party:write")
    if len(mentions) > MENTIONS_MAX:
        raise TooLarge("The number of mentions", MENTIONS_MAX, "mentions")
    distinct = dict.fromkeys(mentions)
    read = {mention: Read.of(mention) for mention in distinct}
    keys = sorted({one.key for one in read.values() if one.key})
    pairs = sorted({pair for one in read.values() for pair in one.pairs})
    work = _Work(now, await store.by_keys(tx, keys), await store.by_identifiers(tx, pairs))
    if not _all_known(read.values(), work):
        await store.lock(tx)
        work = _Work(now, await store.by_keys(tx, keys), await store.by_identifiers(tx, pairs))
        await _fill_index(tx, work, [key for key in keys if key not in work.known_names])
    answers = {mention: _party_of(work, mention.name, one) for mention, one in read.items()}
    await store.add_parties(tx, work.parties)
    await store.add_names(tx, work.names)
    blocks = [{"block": block, "key": row["key"]} for row in work.names for block in names.blocks_of(row["key"])]
    await store.add_blocks(tx, blocks)
    await store.add_identifiers(tx, work.identifiers)
    await store.add_suggestions(tx, list(work.suggestions.values()))
    return [answers[mention] for mention in mentions]


def _all_known(read: Iterable[Read], work: _Work) -> bool:
    return all(
        (not one.key or one.key in work.known_names) and all(pair in work.known_identifiers for pair in one.pairs)
        for one in read
    )


async def _fill_index(tx: Tx, work: _Work, unknown: Sequence[str]) -> None:
    blocks = sorted({block for key in unknown for block in names.blocks_of(key)})
    for key, party in await store.in_blocks(tx, blocks, each_max=names.BLOCK_MAX) if blocks else ():
        work.index.add(key, names.blocks_of(key))
        work.known_names[key] = party


def _party_of(work: _Work, written: str, read: Read) -> UUID | None:
    """Decide one mention; what it teaches is added to ``work``."""
    key = read.key
    if not key and not read.usable:
        return None
    identified = [work.known_identifiers[pair] for pair in read.usable if pair in work.known_identifiers]
    hinted = {work.known_identifiers[pair]: pair for pair in read.hints if pair in work.known_identifiers}
    named = work.known_names.get(key) if key else None
    if identified:
        party = identified[0]
        for other in {*identified[1:], *([named] if named else [])} - {party}:
            _suggest(work, party, other, 0.9, "they share a name or an identifier")
    else:
        party = named or _by_likeness(work, written, key, hinted)
    for other, (scheme, value) in hinted.items():
        if other != party and work.hinted[scheme, value] < HINTED_MAX:
            work.hinted[scheme, value] += 1
            _suggest(work, party, other, 0.8, f"both are written with the {scheme} number {value}")
    _learn(work, party, written, read)
    return party


def _by_likeness(work: _Work, written: str, key: str, hinted: Collection[UUID]) -> UUID:
    """Return the party of a name not met before: that of a name alike with certainty, else a new one."""
    best, score = work.index.best(key, names.blocks_of(key)) if key else ("", 0.0)
    if score >= names.CERTAIN or (score >= names.LIKELY and work.known_names[best] in hinted):
        return work.known_names[best]
    party = new_id()
    work.parties.append(
        {
            "id": party,
            "name": written.strip()[:NAME_CHARS_MAX] or "unnamed",
            "merged_into": None,
            "created_at": work.now,
        }
    )
    if score >= names.LIKELY:
        _suggest(work, party, work.known_names[best], round(score, 4), f"“{key}” is spelt like “{best}”")
    return party


def _learn(work: _Work, party: UUID, written: str, read: Read) -> None:
    key = read.key
    if key and key not in work.known_names:
        blocks = names.blocks_of(key)
        source = "import" if any(row["id"] == party for row in work.parties[-1:]) else "certain"
        work.known_names[key] = party
        work.index.add(key, blocks)
        work.names.append(
            {
                "key": key,
                "party": party,
                "written": written[:NAME_CHARS_MAX],
                "source": source,
                "added_at": work.now,
            }
        )
    for scheme, value in read.pairs:
        if (scheme, value) not in work.known_identifiers:
            work.known_identifiers[scheme, value] = party
            work.identifiers.append({"scheme": scheme, "value": value, "party": party, "added_at": work.now})


def _suggest(work: _Work, one: UUID, other: UUID, certainty: float, because: str) -> None:
    first, second = sorted((one, other))
    work.suggestions.setdefault(
        (first, second),
        {
            "one": first,
            "other": second,
            "certainty": certainty,
            "because": because,
            "state": "open",
            "raised_at": work.now,
        },
    )


async def merge(tx: Tx, actor: Actor, *, keep: UUID, gone: UUID, now: datetime) -> UUID:
    """Merge ``gone`` into ``keep``: its names and identifiers lead there from now on; returns the change, to undo it by.

    Raises:
        NotFound: One of them does not exist.
        Conflict: One of them is merged into another already, or they are the same.
    """
    actor.must("party:merge")
    await store.lock(tx)
    await _standing(tx, keep)
    await _standing(tx, gone)
    if keep == gone:
        raise Conflict("A party cannot be merged into itself")
    moved = [row.key for row in await store.names_of(tx, gone)]
    pairs = [(row.scheme, row.value) for row in await store.identifiers_of(tx, gone)]
    await store.move(tx, names=moved, identifiers=pairs, of=gone, to=keep)
    await store.set_merged(tx, gone, into=keep)
    await store.answer(tx, keep, gone, state="merged", now=now)
    return await _note(tx, actor, "merge", keep, gone, moved, pairs, now)


async def split(
    tx: Tx,
    actor: Actor,
    *,
    party: UUID,
    name: str,
    keys: Sequence[str],
    pairs: Sequence[tuple[str, str]] = (),
    now: datetime,
) -> tuple[UUID, UUID]:
    """Split names and identifiers off into a new party called ``name``; returns the new party and the change.

    Raises:
        NotFound: There is no such party.
        Invalid: Something to split off does not belong to it, or nothing is left of it.
    """
    actor.must("party:merge")
    await store.lock(tx)
    await _standing(tx, party)
    has = {row.key for row in await store.names_of(tx, party)}
    has_pairs = {(row.scheme, row.value) for row in await store.identifiers_of(tx, party)}
    if not keys and not pairs:
        raise Invalid("Say which names or identifiers to split off")
    if not {*keys} <= has or not {*pairs} <= has_pairs:
        raise Invalid("A name or identifier to split off does not belong to the party")
    if {*keys} == has and {*pairs} == has_pairs:
        raise Invalid("Splitting everything off would leave nothing")
    new = new_id()
    await store.add_parties(
        tx, [{"id": new, "name": name.strip()[:NAME_CHARS_MAX], "merged_into": None, "created_at": now}]
    )
    await store.move(tx, names=keys, identifiers=pairs, of=party, to=new)
    await store.answer(tx, party, new, state="different", now=now)
    return new, await _note(tx, actor, "split", party, new, list(keys), list(pairs), now)


async def undo(tx: Tx, actor: Actor, *, change: UUID, now: datetime) -> None:
    """Undo a merge or a split: what it moved, and still lies where it was moved to, goes back.

    Raises:
        NotFound: There is no such change.
        Conflict: It was undone already, or is itself an undo.
    """
    actor.must("party:merge")
    await store.lock(tx)
    row = await store.one_change(tx, change)
    if row is None:
        raise NotFound("change", str(change))
    if row.undone or row.action == "undo":
        raise Conflict("That change was undone already")
    if row.action == "merge":
        await store.set_merged(tx, row.other, into=None)
        await store.move(tx, names=row.names, identifiers=row.identifiers, of=row.party, to=row.other)
    else:
        await _standing(tx, row.other)
        await store.move(tx, names=row.names, identifiers=row.identifiers, of=row.other, to=row.party)
        await store.set_merged(tx, row.other, into=row.party)
    await store.answer(tx, row.party, row.other, state="different" if row.action == "merge" else "merged", now=now)
    await _note(tx, actor, "undo", row.party, row.other, row.names, row.identifiers, now, undoes=change)


async def _standing(tx: Tx, id_: UUID) -> None:
    row = await store.one(tx, id_)
    if row is None:
        raise NotFound("party", str(id_))
    if row.merged_into is not None:
        raise Conflict(f"The party is merged into {row.merged_into} already")


async def _note(
    tx: Tx, actor: Actor, action: str, party: UUID, other: UUID, keys: Sequence[str], pairs: Sequence[Sequence[str]], now: datetime,
    undoes: UUID | None = None,
) -> UUID:  # fmt: skip
    id_ = new_id()
    await store.add_change(
        tx,
        {"id": id_, "at": now, "actor": actor.name, "action": action, "party": party, "other": other, "names": list(keys),
         "identifiers": [list(pair) for pair in pairs], "undoes": undoes},
    )  # fmt: skip
    done = {"merge": "party.merged", "split": "party.split", "undo": "party.change_undone"}[action]
    told = {"change": str(id_), "other": str(other), "names": len(keys), "identifiers": len(pairs)}
    await audit.record(tx, actor, action=done, subject=f"party:{party}", now=now, after=told)
    return id_


async def keep_apart(tx: Tx, actor: Actor, *, one: UUID, other: UUID, now: datetime) -> None:
    """Remember that two parties are different; they are never suggested again."""
    actor.must("party:merge")
    await _standing(tx, one)
    await _standing(tx, other)
    await store.answer(tx, one, other, state="different", now=now)
    await audit.record(
        tx, actor, action="party.kept_apart", subject=f"party:{one}", now=now, after={"other": str(other)}
    )


async def rename(tx: Tx, actor: Actor, *, party: UUID, name: str, now: datetime) -> None:
    """Give a party another display name; the names it appears under stay.

    Raises:
        Invalid: The name is empty or over 500 characters.
        NotFound: There is no such party.
    """
    actor.must("party:write")
    if not 0 < len(name.strip()) <= NAME_CHARS_MAX or "\x00" in name:
        raise Invalid(f"A name has 1 to {NAME_CHARS_MAX} characters")
    before = await store.one(tx, party)
    if before is None or not await store.rename(tx, party, to=name.strip()):
        raise NotFound("party", str(party))
    names_ = [{"name": before.name}, {"name": name.strip()}]
    await audit.record(
        tx, actor, action="party.renamed", subject=f"party:{party}", now=now, before=names_[0], after=names_[1]
    )


async def current(tx: Tx, actor: Actor, *, parties: Sequence[UUID]) -> dict[UUID, tuple[UUID, str]]:
    """Return for each id the party it is today (after merges) and its name."""
    actor.must("party:read")
    return await store.current(tx, parties)


async def spellings(tx: Tx, actor: Actor, *, parties: Sequence[UUID]) -> dict[UUID, frozenset[str]]:
    """Return for each id every name that the party it is today (after merges) is written by."""
    today = await current(tx, actor, parties=parties)
    written = await store.spellings(tx, [root for root, _ in today.values()]) if today else []
    by_party: dict[UUID, set[str]] = defaultdict(set)
    for party, text in written:
        by_party[party].add(text)
    return {id_: frozenset({name} | by_party[root]) for id_, (root, name) in today.items()}


async def same(tx: Tx, *, parties: Sequence[UUID]) -> dict[UUID, UUID]:
    """Return the party that each id is today, for these ids and every other that was merged into the same parties.

    It needs no right, because it tells no name; whoever keeps ids of parties joins rows by it. Undoing a merge undoes it.
    """
    return await store.same(tx, parties) if parties else {}


def listing(tx: Tx, actor: Actor, *, starts: str = "") -> sa.Select[Any]:
    """Select the parties that stand for themselves, without order; ``starts`` narrows by the beginning of the name."""
    actor.must("party:read")
    return store.listing(tx, starts=starts)


def suggestions(tx: Tx, actor: Actor) -> sa.Select[Any]:
    """Select the open suggestions with both names, without order."""
    actor.must("party:read")
    return store.open_suggestions(tx)


@dataclass(frozen=True, slots=True)
class Known:
    """A party with everything that leads to it."""

    id: UUID
    name: str
    merged_into: UUID | None
    names: Sequence[tuple[str, str]]
    identifiers: Sequence[tuple[str, str]]


async def get(tx: Tx, actor: Actor, *, party: UUID) -> Known:
    """Return a party with its names (key, as written) and identifiers (scheme, value).

    Raises:
        NotFound: There is no such party.
    """
    actor.must("party:read")
    row = await store.one(tx, party)
    if row is None:
        raise NotFound("party", str(party))
    spelt = [(name.key, name.written) for name in await store.names_of(tx, party)]
    pairs = [(one.scheme, one.value) for one in await store.identifiers_of(tx, party)]
    return Known(row.id, row.name, row.merged_into, spelt, pairs)
