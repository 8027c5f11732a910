"""An incremental classifier of counts that backs off from the particular to the general, and its calibration.

A row has *contexts*: the same party at the same department and amount, the party alone, the words, the department … Each
context remembers how often it went to which category, newer counts weighing more. A prediction starts at the most
general context and lets each more particular one correct it by as much as it has seen (interpolated back-off, Jelinek and
Mercer 1980). Learning and predicting are O(contexts); nothing is ever trained from scratch. Counts are held by the caller
(a dict here, a table in the product), so that learning can be part of the caller's transaction.
"""

import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

CANDIDATES_GENERAL = 12
"""Categories taken from general contexts where no particular one knows any."""

WORDS_MAX = 16
WORDS_PULL = 1.5
"""How strongly what the words say together is pulled to the general."""
LABELS_MIN = 30
"""Fewest judged rows of a category before any of it may be automatic."""

ONE_SIDED_90 = 1.2816
"""Normal quantile of the one-sided 90 % bound."""

Counts = Mapping[str, float]
"""Weight by category."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of a row before it is understood.

    Attributes:
        party: Id or key of the counterparty; empty when unknown.
        department: Department or cost centre; empty when unknown.
        size: Absolute amount in hundredths.
        inflow: Whether money came in.
        words: Distinct words of its texts.
        hint: The source's own category; empty when it gives none.
        opinion: What somebody else thinks it is (a language model); empty when nobody does.
    """

    party: str
    department: str
    size: int
    inflow: bool
    words: tuple[str, ...] = ()
    hint: str = ""
    opinion: str = ""


class Context(NamedTuple):
    """One context: its hash, what it says to people, how strongly it is pulled to the general, how it forgets."""

    id: int
    told: str
    pull: float
    decay: float


def bucket(size: int) -> int:
    """Return the amount bucket: four to each tenfold (hundredths)."""
    return round(4 * math.log10(size)) if size > 0 else -1


def hashed(*parts: str) -> int:
    """Return 63 bits that stand for some texts."""
    raw = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=8).digest()) >> 1


def contexts_of(case: Case) -> tuple[Context, ...]:
    """Return the contexts of a row, the most general first; words and opinions stand between department and party."""
    way = "in" if case.inflow else "out"
    amount = f"{way}{bucket(case.size)}"
    found = [Context(hashed("all", way), "everything", 1.0, 0.999)]
    if case.department:
        found.append(Context(hashed("d", way, case.department), f"department {case.department}", 20.0, 0.998))
        found.append(Context(hashed("da", case.department, amount), f"{case.department}, such amounts", 5.0, 0.99))
    if case.hint:
        found.append(Context(hashed("h", way, case.hint), f"the source's category {case.hint}", 3.0, 0.99))
    found += [Context(hashed("w", way, word), f"the word {word}", 0.0, 0.99) for word in case.words[:WORDS_MAX]]
    if case.opinion:
        found.append(Context(hashed("o", way, case.opinion), f"the opinion {case.opinion}", 1.0, 0.99))
    if case.party:
        p = case.party
        found.append(Context(hashed("p", way, p), "this counterparty", 1.0, 0.98))
        found.append(Context(hashed("pa", p, amount), "this counterparty, such amounts", 1.0, 0.97))
        if case.department:
            found.append(Context(hashed("pd", way, p, case.department), "this counterparty and department", 0.7, 0.97))
            found.append(
                Context(
                    hashed("pda", p, case.department, amount),
                    "this counterparty and department, such amounts",
                    0.7,
                    0.97,
                )
            )
        found.append(Context(hashed("px", way, p, str(case.size)), "this counterparty, this very amount", 1.5, 0.97))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Guess:
    """One likely category: how likely (uncalibrated, 0 to 1) and the context that speaks for it most."""

    category: str
    score: float
    because: Context


def predict(contexts: Sequence[Context], counts: Mapping[int, Counts], *, most: int = 3) -> list[Guess]:
    """Return the likeliest categories, the likeliest first; empty when nothing was ever learned.

    Args:
        contexts: What :func:`contexts_of` returned.
        counts: Weights by context; contexts never seen may be missing.
        most: How many to return.
    """
    known = [(context, counts[context.id]) for context in contexts if counts.get(context.id)]
    if not known:
        return []
    candidates = _candidates(known)
    chances = dict.fromkeys(candidates, 0.0)
    speaker: dict[str, tuple[float, Context]] = {}
    words = [(context, seen) for context, seen in known if context.pull == 0.0]
    for context, own in known:
        seen, pull = own, context.pull
        if pull == 0.0:
            if not words:
                continue
            seen, pull = _together([one for _, one in words], candidates), WORDS_PULL
            words = []
        total = sum(seen.values())
        keep = pull / (total + pull)
        for category in candidates:
            gain = seen.get(category, 0.0) / (total + pull)
            chances[category] = chances[category] * keep + gain
            share, best = speaker.get(category, (0.0, context))
            if gain and gain >= share * keep:
                speaker[category] = (gain, context)
            elif category in speaker:
                speaker[category] = (share * keep, best)
    ranked = sorted(candidates, key=lambda category: (-chances[category], category))[:most]
    return [Guess(one, chances[one], speaker[one][1]) for one in ranked if one in speaker]


def _candidates(known: Sequence[tuple[Context, Counts]]) -> list[str]:
    """Return the categories worth scoring: all of particular contexts, the commonest of general ones."""
    found: dict[str, None] = {}
    for context, seen in reversed(known):
        if context.pull <= 1.5:
            particular = context.pull != 0.0 and context.told != "everything"
            most = len(seen) if particular else CANDIDATES_GENERAL
        else:
            most = CANDIDATES_GENERAL
        if len(seen) <= most:
            found.update(dict.fromkeys(seen))
        else:
            found.update(dict.fromkeys(sorted(seen, key=lambda one: (-seen[one], one))[:most]))
    return list(found)


def _together(seen: Sequence[Counts], candidates: Sequence[str]) -> dict[str, float]:
    """Return the counts of several words as one: the purer a word, the more it says."""
    summed = dict.fromkeys(candidates, 0.0)
    for counts in seen:
        total = sum(counts.values())
        purity = max(counts.values()) / total
        strength = purity * purity * min(total, 10.0) / total
        for category in candidates:
            if category in counts:
                summed[category] += counts[category] * strength
    return {category: weight for category, weight in summed.items() if weight}


def learn(counts: MutableMapping[int, dict[str, float]], contexts: Iterable[Context], category: str) -> None:
    """Add one labelled row to counts held in memory; in the product one SQL statement does the same."""
    for context in contexts:
        seen = counts.setdefault(context.id, {})
        for known in seen:
            seen[known] *= context.decay
        seen[category] = seen.get(category, 0.0) + 1.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One answer that a person judged: its score, whether it was right, how many rows it stands for."""

    score: float
    right: bool
    weight: float = 1.0


def upper_error(error: float, rows: float) -> float:
    """Return the one-sided 90 % upper bound of an error share.

    Args:
        error: Share observed, 0 to 1.
        rows: Effective number of rows, > 0.

    Source:
        Wilson's score interval (1927).
    """
    z2 = ONE_SIDED_90**2
    centre = error + z2 / (2 * rows)
    spread = ONE_SIDED_90 * math.sqrt(error * (1 - error) / rows + z2 / (4 * rows * rows))
    return min(1.0, (centre + spread) / (1 + z2 / rows))


AUTOMATIC_ERROR_TIMES = 5.0
"""Among the automatic rows alone the error may be this many times the error of the books, never more."""


def cutoff(judged: Sequence[Judged], error_max: float) -> float | None:
    """Return the least score from which rows of one category may be automatic; None when none may.

    The books hold automatic rows (wrong at most as the upper bound says) and rows people decided on. A score is allowed
    when upper bound times the share of rows from it on stays within ``error_max``, and the bound alone within five times it.

    Args:
        judged: Answers of one category; audited rows carry the number of automatic rows they stand for.
        error_max: Largest share of wrong rows in the books, 0 to 1.
    """
    if len(judged) < LABELS_MIN:
        return None
    everything = sum(one.weight for one in judged)
    ordered = sorted(judged, key=lambda one: -one.score)
    rows = wrong = squares = 0.0
    best = None
    for place, one in enumerate(ordered):
        rows += one.weight
        squares += one.weight**2
        wrong += 0.0 if one.right else one.weight
        last_of_score = place + 1 == len(ordered) or ordered[place + 1].score < one.score
        if not last_of_score:
            continue
        bound = upper_error(wrong / rows, rows * rows / squares)
        if bound * rows / everything <= error_max and bound <= AUTOMATIC_ERROR_TIMES * error_max:
            best = one.score
    return best


def calibrated(judged: Sequence[Judged], score: float) -> float | None:
    """Return how often answers of about this score were right; None below 30 judged rows.

    Source:
        Isotonic regression by pooling adjacent violators (Ayer et al. 1955), weighted.
    """
    if len(judged) < LABELS_MIN:
        return None
    pools: list[list[float]] = []
    for one in sorted(judged, key=lambda one: one.score):
        pools.append([one.weight, one.weight if one.right else 0.0, one.score])
        while len(pools) > 1 and pools[-2][1] * pools[-1][0] >= pools[-1][1] * pools[-2][0]:
            weight, right, top = pools.pop()
            pools[-1] = [pools[-1][0] + weight, pools[-1][1] + right, top]
    for weight, right, top in pools:
        if score <= top:
            return right / weight
    return pools[-1][1] / pools[-1][0]
