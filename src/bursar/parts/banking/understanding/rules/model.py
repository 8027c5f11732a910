"""What the local model says of rows: counts by context, those of merged counterparties together. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from uuid import UUID

from bursar.ml.tabular import Context, Guess, contexts_of
from bursar.parts.banking.understanding.rules.answers import Answer, Row


@dataclass(frozen=True, slots=True)
class Seen:
    """What a context knows of one category: weight, times seen, the newest day and transaction."""

    weight: float
    times: int
    day: date
    example: UUID


def aliases_of(same: Mapping[UUID, UUID]) -> dict[UUID, list[UUID]]:
    """Return all parties that each of some parties is by now, itself first, from what each is today."""
    found: dict[UUID, list[UUID]] = {}
    for id_, today in same.items():
        found.setdefault(today, []).append(id_)
    return {id_: sorted(found[today], key=lambda one: (one != id_, one)) for id_, today in same.items()}


def spelt(row: Row, aliases: Mapping[UUID, Sequence[UUID]]) -> list[tuple[Context, ...]]:
    """Return the contexts of a row under its party, then those under each party merged with it, in the same order."""
    parties = aliases.get(row.party, (row.party,)) if row.party else (row.party,)
    return [contexts_of(replace(row, party=party).case) for party in parties]


def joined(
    counts: Mapping[int, Mapping[str, Seen]], rows: Iterable[Sequence[Sequence[Context]]]
) -> dict[int, Mapping[str, Seen]]:
    """Return counts in which the contexts of a row hold those of its other spellings too.

    Args:
        counts: What each context knows by itself.
        rows: What :func:`spelt` returned for each row.
    """
    found = dict(counts)
    for first, *others in rows:
        for place, context in enumerate(first):
            ids = {context.id, *(other[place].id for other in others)}
            if len(ids) > 1:
                found[context.id] = _summed([counts[id_] for id_ in sorted(ids) if id_ in counts])
    return {id_: here for id_, here in found.items() if here}


def _summed(several: Iterable[Mapping[str, Seen]]) -> dict[str, Seen]:
    total: dict[str, Seen] = {}
    for here in several:
        for category, one in here.items():
            old = total.get(category, Seen(0.0, 0, one.day, one.example))
            newest = max(old, one, key=lambda seen: seen.day)
            total[category] = Seen(old.weight + one.weight, old.times + one.times, newest.day, newest.example)
    return total


def by_model(guesses: Sequence[Guess], seen: Mapping[int, Mapping[str, Seen]]) -> list[Answer]:
    """Return the model's likeliest answers, explained by example."""
    found = []
    for guess in guesses:
        context: Context = guess.because
        here = seen[context.id]
        one, of = here[guess.category], sum(other.times for other in here.values())
        found.append(
            Answer(
                "model",
                guess.category,
                guess.score,
                f"{one.times} of {of} rows with {context.told} went to {guess.category}, the last on {one.day}",
                {"transaction": str(one.example), "times": one.times, "of": of, "context": context.told},
            )
        )
    return found
