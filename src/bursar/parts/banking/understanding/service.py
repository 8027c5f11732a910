"""Use cases of understanding: answer rows, keep a queue of cards, take decisions, keep rules and the stated error."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from bursar.core.audit import service as audit
from bursar.core.parties import service as parties
from bursar.infra.db import Tx
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound
from bursar.ml.tabular import Case, contexts_of, cutoff, predict
from bursar.parts.banking.papers import service as papers
from bursar.parts.banking.transactions import rules as rows_rules
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.transactions import store as rows_store
from bursar.parts.banking.understanding import store
from bursar.parts.banking.understanding.opinions import store as opinions
from bursar.parts.banking.understanding.promises import service as promises
from bursar.parts.banking.understanding.rules import answers as rules
from bursar.parts.banking.understanding.rules import model
from bursar.parts.banking.understanding.rules.answers import Answer, Past, Policy, Row, Rule
from bursar.parts.banking.understanding.rules.commitments import Promise, fulfilled
from bursar.parts.banking.understanding.rules.documents import paid
from bursar.parts.banking.understanding.rules.model import Seen

ROWS_A_PASS = 2_000
"""Rows answered by one statement each; a pass goes on until none is left."""
ROWS_MAX = 200_000
"""Most rows answered by one call."""
DECIDED_MAX = 500
"""Most rows decided by one call."""
CARDS_MAX = 200
TOP = 3


@dataclass(frozen=True, slots=True)
class Understood:
    """What a call did: rows learned from exports, made automatic, suggested; rows without any answer."""

    learned: int = 0
    automatic: int = 0
    suggested: int = 0
    silent: int = 0

    def __add__(self, other: "Understood") -> "Understood":
        """Add the counts."""
        return Understood(
            self.learned + other.learned,
            self.automatic + other.automatic,
            self.suggested + other.suggested,
            self.silent + other.silent,
        )


async def understand(tx: Tx, actor: Actor, *, fresh: bool = True) -> Understood:
    """Answer rows that nobody decided on, safe to run twice; what payment exports state themselves is learned first.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write``.
        fresh: Only rows without any suggestion yet; else suggestions are made anew too.
    """
    actor.must("transaction:write")
    await transactions.book_soon(tx)
    await rows_store.lock(tx, shared=False, what="learn")
    done, last, seen = Understood(), None, 0
    while stated := await store.given(tx, limit=ROWS_A_PASS):
        await _learn(tx, stated)
        for category in {category for _, category in stated}:
            ids = [row.id for row, said in stated if said == category]
            await store.decide(tx, ids, category=category, stage="source", evidence={"because": "the export says so"})
        done += Understood(learned=len(stated))
    gate = await _gate(tx, actor)
    while rows := await store.undecided(tx, limit=ROWS_A_PASS, fresh=fresh, after=last):
        done += await _answer(tx, rows, gate)
        last, seen = rows[-1].id, seen + len(rows)
        if seen >= ROWS_MAX:
            break
    if late := await store.undecided(tx, limit=ROWS_A_PASS, sizes=await papers.sizes(tx)):
        await _answer(tx, late, gate)  # their invoice may have come after them
    return done


@dataclass(frozen=True, slots=True)
class _Gate:
    """From which score the rows of a stage and category may be automatic, and the rules there are."""

    policy: Policy
    least: Mapping[tuple[str, str], float]
    rules: Sequence[Rule]
    measured: Mapping[str, float]
    promises: Sequence[Promise]

    def automatic(self, answer: Answer) -> bool:
        least = self.least.get((answer.stage, answer.category))
        return answer.certain or (answer.stage not in _SUGGESTS and least is not None and answer.score >= least)

    def agreed(self, answer: Answer, model: Answer | None) -> bool:
        """Tell whether the model says the same and may be automatic with it."""
        return (
            model is not None and answer.stage != "rule" and model.category == answer.category and self.automatic(model)
        )


async def answer_again(tx: Tx, actor: Actor, *, ids: Sequence[UUID]) -> Understood:
    """Answer some rows anew, as far as nobody decided on them.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write``.
        ids: Rows; the first 2,000 count.
    """
    actor.must("transaction:write")
    await rows_store.lock(tx, shared=False, what="learn")
    rows = await store.undecided(tx, limit=ROWS_A_PASS, ids=ids)
    return await _answer(tx, rows, await _gate(tx, actor)) if rows else Understood()


async def likely(tx: Tx, actor: Actor, *, rows: Sequence[Row]) -> dict[UUID, list[str]]:
    """Return the local model's likeliest three categories for each row."""
    actor.must("transaction:read")
    return {id_: [answer.category for answer in said] for id_, said in (await _modelled(tx, rows)).items()}


_SUGGESTS = frozenset({"rule", "language"})
"""Stages that no verdicts make automatic: a rule is what its owner said it is; a language model is believed only as a
feature of the local model."""


async def _gate(tx: Tx, actor: Actor) -> _Gate:
    policy, judged = await store.policy_of(tx), await store.judged(tx)
    least = {key: cutoff(seen, policy.error_max) for key, seen in judged.items()}
    measured = {category: rules.measured(seen) for (stage, category), seen in judged.items() if stage == "language"}
    known = {key: one for key, one in least.items() if one is not None}
    return _Gate(policy, known, await _rules(tx), measured, await promises.promised(tx, actor))


async def _rules(tx: Tx) -> list[Rule]:
    """Return the current rules, about the counterparties as they are today."""
    stated = await store.rules(tx)
    same = await parties.same(tx, parties=[UUID(rule.when.party) for rule in stated if rule.when.party])
    today = {str(id_): str(party) for id_, party in same.items()}
    return [
        replace(rule, when=replace(rule.when, party=today.get(rule.when.party, rule.when.party))) for rule in stated
    ]


async def _today(tx: Tx, rows: Sequence[Row], same: Mapping[UUID, UUID]) -> list[Row]:
    """Return rows with their counterparties of today and the opinions on them."""
    now = [replace(row, party=same.get(row.party, row.party)) if row.party else row for row in rows]
    return await opinions.with_opinions(tx, now)


async def _same(tx: Tx, rows: Sequence[Row]) -> dict[UUID, UUID]:
    """Return the party of today of each counterparty of some rows, and of every other that is the same by now."""
    return await parties.same(tx, parties=sorted({row.party for row in rows if row.party}))


async def _known(tx: Tx, rows: Sequence[Row]) -> tuple[list[Row], list[Past]]:
    """Return rows as of today, and the past rows of their counterparties."""
    same = await _same(tx, rows)
    past = await store.past_of(tx, sorted(same))
    then = [replace(one, row=replace(one.row, party=same.get(one.row.party))) if one.row.party else one for one in past]
    return await _today(tx, rows, same), then


async def _answer(tx: Tx, plain: Sequence[Row], gate: _Gate) -> Understood:
    """Answer some rows, the first stage that knows; write the answers."""
    rows, past = await _known(tx, plain)
    found: dict[UUID, Answer] = {}
    for stage in await _stages(tx, rows, past, gate):
        found = stage | found
    modelled = {id_: said[0] for id_, said in (await _modelled(tx, rows)).items() if said}
    thought = rules.by_language(rows, gate.measured)
    found = rules.preferred(modelled, thought, sure=gate.automatic) | found
    written, automatic = [], 0
    for id_, first in found.items():
        answer = rules.with_others(first, modelled.get(id_), thought.get(id_))
        sure = gate.automatic(answer) or gate.agreed(first, modelled.get(id_))
        automatic += sure
        audited = sure and not answer.certain and rules.audited(id_, gate.policy.audit_share)
        written.append((id_, "automatic" if sure else "suggested", answer, audited))
    hits = Counter(await store.fresh_hits(tx, {id_: one.facts for id_, one in found.items() if one.stage == "rule"}))
    for (rule, version), number in sorted(hits.items()):
        await store.count_rule(tx, rule, version, hits=number)
    await store.put_answers(tx, written)
    return Understood(0, automatic, len(found) - automatic, len(rows) - len(found))


async def _stages(tx: Tx, rows: Sequence[Row], past: Sequence[Past], gate: _Gate) -> Sequence[dict[UUID, Answer]]:
    """Return what each stage before the models says of some rows; the earlier stage counts."""
    found = await papers.of_sizes(tx, sizes={row.size for row in rows})
    taken = await store.paid(
        tx, [paper.id for paper in found], sizes={row.size for row in rows}, but=[row.id for row in rows]
    )
    return (
        rules.transfers(rows, await store.pairs(tx, [row.id for row in rows])),
        paid(rows, found, past, taken),
        fulfilled(rows, gate.promises),
        rules.repeated(rows, past),
        rules.by_counterparty(rows, past),
        rules.by_rules(rows, gate.rules),
    )


async def _modelled(tx: Tx, rows: Sequence[Row]) -> dict[UUID, list[Answer]]:
    """Return the model's likeliest three answers for each row; what merged counterparties taught counts together."""
    aliases = model.aliases_of(await _same(tx, rows))
    spelt = {row.id: model.spelt(row, aliases) for row in rows}
    contexts = {row.id: contexts_of(row.case) for row in rows}
    everywhere = {context.id for each in spelt.values() for some in each for context in some}
    known = model.joined(await store.counts(tx, sorted(everywhere)), spelt.values())
    weights = {id_: {name: seen.weight for name, seen in here.items()} for id_, here in known.items()}
    return {id_: model.by_model(predict(some, weights, most=TOP), known) for id_, some in contexts.items()}


async def _learn(tx: Tx, labelled: Sequence[tuple[Row, str]], *, unlearn: Mapping[UUID, str] | None = None) -> None:
    """Learn labelled rows in their order; what a row taught before is taken off first.

    What a row teaches stays with the counterparty that it was written under: merging is a matter of reading.
    """
    rows = await opinions.with_opinions(tx, [row for row, _ in labelled])
    contexts = [contexts_of(row.case) for row in rows]
    known = await store.counts(tx, sorted({context.id for some in contexts for context in some}))
    for (row, category), some in zip(labelled, contexts, strict=True):
        before = (unlearn or {}).get(row.id)
        for context in some:
            here = known.setdefault(context.id, {})
            if before in here:
                old = here[before]
                here[before] = replace(old, weight=max(old.weight - 1.0, 0.0), times=max(old.times - 1, 0))
            for name, seen in here.items():
                here[name] = replace(seen, weight=seen.weight * context.decay)
            old = here.get(category, Seen(0.0, 0, row.day, row.id))
            here[category] = Seen(old.weight + 1.0, old.times + 1, max(old.day, row.day), row.id)
    kept = {id_: {name: one for name, one in here.items() if one.times} for id_, here in known.items()}
    await store.put_counts(tx, kept)


async def decide(tx: Tx, actor: Actor, *, ids: Sequence[UUID], category: str, now: datetime) -> Understood:
    """Take a person's decision on up to 500 rows: judge what was answered, learn, and answer their like anew.

    All in the caller's transaction: the decision, what is learned from it and its entry in the audit trail.

    Args:
        tx: Writing transaction.
        actor: Needs ``transaction:write``.
        ids: Rows; automatic and decided ones may be corrected too.
        category: What they were for.
        now: Instant of deciding.

    Returns:
        What became of the undecided rows of the same counterparties.

    Raises:
        NotFound: A row does not exist.
        PeriodClosed: A row lies in a closed period.
        Invalid: The category is no name, or there are no or too many rows.
    """
    actor.must("transaction:write")
    rows_rules.check_category(category)
    if not 0 < len(ids) <= DECIDED_MAX:
        raise Invalid(f"A decision is about 1 to {DECIDED_MAX} rows")
    await transactions.changing(tx)
    await rows_store.lock(tx, shared=False, what="learn")
    found = await store.locked(tx, sorted(set(ids)))
    await _must_be_open(tx, ids, found)
    policy = await store.policy_of(tx)
    await store.add_verdicts(tx, [one for row in found for one in _verdicts(row, category, policy, now)])
    for row in found:
        if row.stage == "rule" and row.category != category:
            await store.count_rule(tx, UUID(row.evidence["rule"]), row.evidence["version"], overrides=1)
    taught = {row.id: row.category for row in found if row.state == "confirmed"}
    await _learn(tx, [(store.row_of(row), category) for row in found if taught.get(row.id) != category], unlearn=taught)
    told = {"because": f"decided by {actor.name}", "at": now.isoformat()}
    await store.decide(tx, [row.id for row in found], category=category, stage="person", evidence=told)
    await audit.record(
        tx,
        actor,
        action="transaction.decided",
        subject=f"transaction:{found[0].id}",
        before=[{"id": str(row.id), "category": row.category, "stage": row.stage} for row in found],
        after={"category": category, "rows": len(found)},
        now=now,
    )
    who = sorted(await parties.same(tx, parties=sorted({row.party for row in found if row.party})))
    like = await store.undecided(tx, limit=ROWS_A_PASS, parties=who) if who else []
    return await _answer(tx, like, await _gate(tx, actor)) if like else Understood()


_JUDGED = frozenset({"transfer", "document", "commitment", "recurring", "counterparty", "rule", "model", "language"})


async def _must_be_open(tx: Tx, ids: Sequence[UUID], found: Sequence[Any]) -> None:
    missing = set(ids) - {row.id for row in found}
    if missing:
        raise NotFound("transaction", str(min(missing)))
    await transactions.must_be_open(tx, [row.booking_date for row in found])


def _verdicts(row: Any, category: str, policy: Policy, now: datetime) -> list[dict[str, Any]]:
    """Return what a decision says about the answer there was, and about those of the model and the language model beside it.

    An audited row stands for the automatic rows that were not drawn.
    """
    if row.stage not in _JUDGED:
        return []
    beside = {stage: row.evidence[stage] for stage in ("model", "language") if stage in row.evidence}
    said = [(row.stage, row.category, row.score or 0.0)]
    said += [(stage, other["category"], other["score"]) for stage, other in beside.items()]
    weight, source = (1 / policy.audit_share, "audit") if row.audit else (1.0, "review")
    facts = {"transaction": row.id, "at": now, "weight": weight, "source": source}
    return [
        {"stage": stage, "category": answered, "score": score, "right": answered == category, **facts}
        for stage, answered, score in said
    ]


@dataclass(frozen=True, slots=True)
class Card:
    """One question to a person: rows alike, and the likeliest three answers with their reasons.

    Attributes:
        label: The counterparty as written.
        rows: How many rows it stands for.
        size: Their absolute sum in hundredths.
        ids: The rows, at most 500; a decision is about these.
        top: Up to three answers.
    """

    label: str
    currency: str
    inflow: bool
    rows: int
    size: int
    ids: Sequence[UUID]
    top: Sequence[Answer]


async def queue(tx: Tx, actor: Actor, *, limit: int = 20) -> list[Card]:
    """Return the cards most worth answering, by money times uncertainty; the answers are those of this moment.

    Raises:
        Invalid: ``limit`` is not 1 to 200.
    """
    actor.must("transaction:read")
    if not 0 < limit <= CARDS_MAX:
        raise Invalid(f"1 to {CARDS_MAX} cards")
    groups = await store.cards(tx, limit=limit)
    samples = await store.facts(tx, [group.ids[0] for group in groups])
    (rows, past), gate = await _known(tx, list(samples.values())), await _gate(tx, actor)
    stages = await _stages(tx, rows, past, gate)
    modelled, thought = await _modelled(tx, rows), rules.by_language(rows, gate.measured)
    cards = []
    for group in groups:
        id_ = group.ids[0]
        said = [stage[id_] for stage in stages if id_ in stage]
        said += rules.ranked(modelled.get(id_, []), thought.get(id_))
        distinct: dict[str, Answer] = {}
        for answer in said:
            distinct.setdefault(answer.category, answer)
        top = list(distinct.values())[:TOP]
        cards.append(Card(group.label, group.currency, group.inflow, group.rows, int(group.size), group.ids, top))
    return cards


async def audits(tx: Tx, actor: Actor, *, limit: int = 20) -> list[Row]:
    """Return automatic rows to audit, without what was answered: whoever decides must not see it.

    Raises:
        Invalid: ``limit`` is not 1 to 200.
    """
    actor.must("transaction:read")
    if not 0 < limit <= CARDS_MAX:
        raise Invalid(f"1 to {CARDS_MAX} rows")
    return await store.audits(tx, limit=limit)


__all__ = ["Answer", "Card", "Case", "Row", "Rule", "Understood"]
