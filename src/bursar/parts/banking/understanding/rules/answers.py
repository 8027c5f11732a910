"""Who answers what a row was for, in order: transfer, commitment, recurring, counterparty, rules, models. Pure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

import polars as pl

from bursar.kernel.errors import Invalid
from bursar.ml.tabular import Case, Judged
from bursar.parts.banking.rules.recurring import recurring

TRANSFER = "Transfer between own accounts"
TRANSFER_DAYS = 4
"""Days that a transfer may take from one account to the other."""
SERIES_CONFIRMED_MIN = 2
PARTY_CONFIRMED_MIN = 5
OVERRIDES_MAX = 0.10
"""A rule that is overridden more often becomes a suggestion."""
OVERRIDES_HITS_MIN = 10
"""Judged after this many hits; before, more than one override of any number demotes as well."""
CONDITION_WORDS_MAX = 10
ERROR_MAX = 0.02
AUDIT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Policy:
    """The stated largest share of wrong rows in the books, and the share of automatic rows audited blind."""

    error_max: float = ERROR_MAX
    audit_share: float = AUDIT_SHARE


@dataclass(frozen=True, slots=True)
class Row:
    """A transaction, as far as understanding it goes."""

    id: UUID
    account: str
    day: date
    amount: Decimal
    currency: str
    size: int
    label: str
    words: tuple[str, ...]
    counterparty_account: str
    party: UUID | None
    department: str
    hint: str
    batch: UUID
    row: int
    opinion: str = ""
    """The category that a language model thinks of; empty where it has none."""

    @property
    def case(self) -> Case:
        """What the model sees."""
        who = str(self.party) if self.party else self.label.casefold()
        return Case(who, self.department, self.size, self.amount > 0, self.words, self.hint, self.opinion)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a row was for.

    Attributes:
        stage: Who says so.
        category: What it was for.
        score: How sure the stage is, 0 to 1; only verdicts turn it into a promise.
        because: A sentence for people.
        facts: What the sentence rests on: ids of transactions, of the rule, counts.
        certain: A fact or a person's own rule: automatic without a measured bound.
    """

    stage: str
    category: str
    score: float
    because: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    certain: bool = False


def transfers(rows: Sequence[Row], pairs: Iterable[tuple[UUID, UUID, bool]]) -> dict[UUID, Answer]:
    """Return an answer for each row that has exactly one counterpart on another own account.

    Args:
        rows: The rows asked about.
        pairs: (row, counterpart, whether one names the other's account): same size, opposite sign, within four days.
    """
    partners: dict[UUID, list[tuple[UUID, bool]]] = defaultdict(list)
    for one, other, named in pairs:
        partners[one].append((other, named))
    found = {}
    for row in rows:
        near = partners.get(row.id, [])
        by_name = [other for other, says in near if says]
        chosen = by_name or [other for other, _ in near]
        if len(chosen) == 1:
            how = "and names that account" if by_name else "and no other row fits"
            found[row.id] = Answer(
                "transfer",
                TRANSFER,
                1.0 if by_name else 0.9,
                f"the same amount moved the other way on another own account within {TRANSFER_DAYS} days, {how}",
                {"transaction": str(chosen[0])},
                certain=bool(by_name),
            )
    return found


@dataclass(frozen=True, slots=True)
class Past:
    """A confirmed or undecided row of the same counterparties; category is None where nobody decided."""

    row: Row
    category: str | None


def repeated(rows: Sequence[Row], past: Sequence[Past]) -> dict[UUID, Answer]:
    """Return the category that a recurring series always had, for its members that nobody decided on."""
    everything = {one.row.id: one for one in past} | {row.id: Past(row, None) for row in rows}
    if len(everything) < SERIES_CONFIRMED_MIN + 1:
        return {}
    at = {str(one.row.id): one for one in everything.values()}
    frame = pl.DataFrame(
        {
            "account": [one.row.account for one in everything.values()],
            "payee": [one.row.case.party for one in everything.values()],
            "label": [one.row.label for one in everything.values()],
            "currency": [one.row.currency for one in everything.values()],
            "booking_date": [one.row.day for one in everything.values()],
            "amount": pl.Series([one.row.amount for one in everything.values()], dtype=pl.Decimal(38, 15)),
            "batch": list(at),
            "row": list(range(len(at))),
        }
    )
    asked, found = {row.id for row in rows}, {}
    for series in recurring(frame):
        members = [at[key] for key, _ in series.rows]
        decided = [one for one in members if one.category]
        if len(decided) < SERIES_CONFIRMED_MIN or len({one.category for one in decided}) > 1:
            continue
        category, last = str(decided[0].category), max(decided, key=lambda one: one.row.day)
        for one in members:
            if one.row.id in asked:
                found[one.row.id] = Answer(
                    "recurring",
                    category,
                    1 - 1 / (len(decided) + 1),
                    f"one of {len(members)} {series.cadence} payments; all {len(decided)} that were decided are {category}",
                    {"transaction": str(last.row.id), "cadence": series.cadence, "decided": len(decided)},
                )
    return found


def by_counterparty(rows: Sequence[Row], past: Sequence[Past]) -> dict[UUID, Answer]:
    """Return the category that every decided row of a counterparty had, where there are at least five."""
    tally: dict[UUID, Counter[str]] = defaultdict(Counter)
    newest: dict[UUID, Past] = {}
    for one in past:
        if one.row.party and one.category:
            tally[one.row.party][one.category] += 1
            known = newest.get(one.row.party)
            if known is None or one.row.day >= known.row.day:
                newest[one.row.party] = one
    found = {}
    for row in rows:
        seen = tally.get(row.party) if row.party else None
        if row.party and seen and len(seen) == 1 and seen.total() >= PARTY_CONFIRMED_MIN:
            category = next(iter(seen))
            found[row.id] = Answer(
                "counterparty",
                category,
                1 - 1 / (seen.total() + 1),
                f"all {seen.total()} decided rows of this counterparty are {category}",
                {"transaction": str(newest[row.party].row.id), "decided": seen.total()},
            )
    return found


@dataclass(frozen=True, slots=True)
class When:
    """When a rule applies: everything that is given must hold."""

    words: tuple[str, ...] = ()
    party: str = ""
    account: str = ""
    department: str = ""
    way: str = ""
    size_min: int | None = None
    size_max: int | None = None

    def check(self) -> None:
        """Refuse conditions that say nothing, or too much.

        Raises:
            Invalid: Nothing is given, over 10 words, an unknown way, or an empty range.
        """
        if not any((self.words, self.party, self.account, self.department, self.size_min, self.size_max)):
            raise Invalid("A rule needs a condition", fix="Give words, a counterparty, an account or amounts.")
        if len(self.words) > CONDITION_WORDS_MAX:
            raise Invalid(f"A rule has at most {CONDITION_WORDS_MAX} words")
        if self.way not in {"", "in", "out"}:
            raise Invalid("The way of a rule is in or out")
        if self.size_min is not None and self.size_max is not None and self.size_min > self.size_max:
            raise Invalid("The least amount of a rule is over the largest")

    def holds(self, row: Row) -> bool:
        """Tell whether a row fulfils everything given."""
        return (
            set(self.words) <= set(row.words)
            and self.party in {"", str(row.party)}
            and self.account in {"", row.account}
            and self.department in {"", row.department}
            and self.way in {"", "in" if row.amount > 0 else "out"}
            and (self.size_min is None or row.size >= self.size_min)
            and (self.size_max is None or row.size <= self.size_max)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A person's rule in its current version, with what became of its answers."""

    id: UUID
    version: int
    place: int
    when: When
    category: str
    mode: str
    hits: int = 0
    overrides: int = 0

    @property
    def suggests(self) -> bool:
        """Whether it only suggests: made so, or overridden too often."""
        return self.mode == "suggest" or demoted(self.hits, self.overrides)


def demoted(hits: int, overrides: int) -> bool:
    """Tell whether a rule was overridden in more than a tenth of its hits (and more than once)."""
    return overrides > 1 and overrides > OVERRIDES_MAX * max(hits, OVERRIDES_HITS_MIN)


def by_rules(rows: Sequence[Row], rules: Sequence[Rule]) -> dict[UUID, Answer]:
    """Return what the first rule that holds says of each row."""
    ordered = sorted(rules, key=lambda rule: (rule.place, rule.id))
    found = {}
    for row in rows:
        rule = next((rule for rule in ordered if rule.when.holds(row)), None)
        if rule:
            note = f"; overridden {rule.overrides} times of {rule.hits}" if rule.overrides else ""
            found[row.id] = Answer(
                "rule",
                rule.category,
                1.0 - (rule.overrides + 1) / (rule.hits + 20),
                f"rule {rule.place}, version {rule.version}{note}",
                {"rule": str(rule.id), "version": rule.version},
                certain=not rule.suggests,
            )
    return found


def measured(judged: Sequence[Judged]) -> float:
    """Return how often a stage was right about a category, one right and one wrong answer added (Laplace)."""
    rows = sum(one.weight for one in judged)
    return (sum(one.weight for one in judged if one.right) + 1) / (rows + 2)


def by_language(rows: Sequence[Row], shares: Mapping[str, float]) -> dict[UUID, Answer]:
    """Return what the language model thinks; its score is how often people agreed so far, never what it claims itself.

    Args:
        rows: The rows asked about, with the opinions there are.
        shares: How often the language model was right, by category; what was never judged counts as even.
    """
    return {
        row.id: Answer(
            "language",
            row.opinion,
            shares.get(row.opinion, 0.5),
            f"a language model thinks so; of its judged answers {row.opinion!r} about {shares.get(row.opinion, 0.5):.0%} were right"
            if row.opinion in shares
            else "a language model thinks so; nobody has judged that answer yet",
            {"opinion": row.opinion},
        )
        for row in rows
        if row.opinion
    }


def preferred(
    modelled: Mapping[UUID, Answer], thought: Mapping[UUID, Answer], *, sure: Callable[[Answer], bool]
) -> dict[UUID, Answer]:
    """Return the model's answers; the language model's where there is none, or an unsure one with a lower score."""
    found = dict(modelled)
    for id_, one in thought.items():
        model = modelled.get(id_)
        if model is None or (not sure(model) and one.score > model.score):
            found[id_] = one
    return found


def ranked(modelled: Sequence[Answer], thought: Answer | None) -> list[Answer]:
    """Return the model's and the language model's answers, the higher score first."""
    return sorted([*modelled, *([thought] if thought else [])], key=lambda one: -one.score)


def with_others(answer: Answer, *others: Answer | None) -> Answer:
    """Return an answer with what the models would have said, so that each is judged on every row."""
    beside = {
        other.stage: {"category": other.category, "score": other.score}
        for other in others
        if other is not None and other.stage != answer.stage
    }
    return replace(answer, facts={**answer.facts, **beside}) if beside else answer


def audited(id_: UUID, share: float) -> bool:
    """Tell whether an automatic row is among those audited blind: by a hash of its id, so nobody can choose."""
    draw = int.from_bytes(blake2b(id_.bytes, digest_size=8, person=b"audit").digest()) / 2**64
    return draw < share
