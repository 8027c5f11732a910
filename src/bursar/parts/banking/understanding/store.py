"""All SQL of understanding; sets in, sets out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from bursar.infra.db import Tx, new_id
from bursar.kernel.errors import TooLarge
from bursar.ml.tabular import Judged
from bursar.parts.banking.transactions.rules import words_of
from bursar.parts.banking.transactions.tables import own_account, transaction
from bursar.parts.banking.understanding.rules.answers import TRANSFER_DAYS, Answer, Past, Policy, Row, Rule, When
from bursar.parts.banking.understanding.rules.model import Seen
from bursar.parts.banking.understanding.tables import count, policy, rule, verdict

RULES_MAX = 1_000
PAST_MAX = 50_000
"""Most rows of the same counterparties that are looked at."""
PAIRS_MAX = 200
"""Counterparts on other accounts looked at for one row, the oldest first."""
COUNTS_MAX = 1_000_000
"""Most counts read by one statement; a pass of 2,000 rows has at most 50,000 contexts."""
JUDGED_KEPT = 1_500
"""Newest verdicts of a category that count."""
CATEGORIES_MAX = 2_000
_OF_DOCUMENTS = ("document", "issuer", "number", "total", "from")
QUEUE_ROWS = 200_000
"""Newest undecided rows that cards are made of."""
CARD_ROWS_MAX = 500

t = transaction.c
_FACTS = (
    t.id, t.account, t.booking_date, t.amount, t.currency, t.size, t.label, t.description, t.reference,
    t.counterparty_account, t.party, t.department, t.source_category, t.dataset, t.batch, t.row,
)  # fmt: skip


def row_of(found: sa.Row[Any]) -> Row:
    """Return the row of a result that holds the facts."""
    return Row(
        found.id,
        found.account,
        found.booking_date,
        found.amount,
        found.currency,
        found.size,
        found.label,
        tuple(words_of(found.label, found.description, found.reference)),
        found.counterparty_account,
        found.party,
        found.department,
        found.source_category if found.dataset == "bank" else "",
        found.batch,
        found.row,
    )


def _live(tx: Tx) -> sa.ColumnElement[bool]:
    return sa.and_(tx.own(transaction), t.gone_at.is_(None), t.status == "booked", t.late.is_(False))


async def undecided(
    tx: Tx,
    *,
    limit: int,
    parties: Sequence[UUID] = (),
    ids: Sequence[UUID] = (),
    sizes: Sequence[int] | None = None,
    fresh: bool = False,
    after: UUID | None = None,
) -> list[Row]:
    """Return rows nobody decided on, by id.

    ``fresh`` leaves out those that have a suggestion; ``sizes`` keeps those of some amounts that no document explains yet.
    """
    if sizes is not None and not sizes:
        return []
    states = ("open",) if fresh else ("open", "suggested")
    query = sa.select(*_FACTS).where(_live(tx), t.state.in_(states))
    if parties:
        query = query.where(t.party.in_(parties))
    if ids:
        query = query.where(t.id == sa.any_(sa.literal(list(ids), pg.ARRAY(sa.Uuid))))
    if sizes:
        wanted = sa.literal(sorted(set(sizes)), pg.ARRAY(sa.BigInteger))
        query = query.where(t.size == sa.any_(wanted), t.stage != "document", t.dataset == "bank")
    if after:
        query = query.where(t.id > after)
    return [row_of(found) for found in await tx.all(query.order_by(t.id).limit(limit))]


async def of_sizes(tx: Tx, sizes: Collection[int], *, dataset: str, since: date) -> list[Row]:
    """Return rows of some amounts from a day on, whoever said what they were for, the oldest first; at most 50,000."""
    wanted = sa.literal(sorted(sizes), pg.ARRAY(sa.BigInteger))
    query = sa.select(*_FACTS).where(
        _live(tx), t.size == sa.any_(wanted), t.dataset == dataset, t.booking_date >= since
    )
    return [row_of(found) for found in await tx.all(query.order_by(t.booking_date, t.id).limit(PAST_MAX))]


async def given(tx: Tx, *, limit: int) -> list[tuple[Row, str]]:
    """Return open rows of payment exports with the category that the export states, oldest first."""
    query = sa.select(*_FACTS).where(_live(tx), t.state == "open", t.dataset == "payment", t.source_category != "")
    rows = await tx.all(query.order_by(t.booking_date, t.id).limit(limit))
    return [(row_of(found), found.source_category[:120]) for found in rows]


async def locked(tx: Tx, ids: Sequence[UUID]) -> Sequence[sa.Row[Any]]:
    """Return some rows with what was answered, locked in the order of their ids."""
    more = (t.category, t.state, t.stage, t.score, t.audit, t.evidence)
    query = sa.select(*_FACTS, *more).where(tx.own(transaction), t.gone_at.is_(None), t.id.in_(ids))
    return await tx.all(query.order_by(t.id).with_for_update().limit(len(ids)))


async def pairs(tx: Tx, ids: Sequence[UUID]) -> list[tuple[UUID, UUID, bool]]:
    """Return (row, counterpart on another own account, whether one names the other's account)."""
    other = transaction.alias("other")
    o = other.c
    named = sa.or_(t.counterparty_account == o.account, sa.and_(o.counterparty_account == t.account, t.account != ""))
    near = sa.and_(o.booking_date >= t.booking_date - TRANSFER_DAYS, o.booking_date <= t.booking_date + TRANSFER_DAYS)
    ours = sa.select(own_account.c.account).where(tx.own(own_account))
    # A row at a time, in the order of an index: rows that were just written have no statistics to plan a join by.
    found = (
        sa.select(o.id.label("other"), sa.and_(named, sa.true()).label("named"))
        .where(
            tx.own(other), o.size == t.size, near, o.gone_at.is_(None), o.status == "booked", o.dataset == "bank",
            o.account != t.account, o.currency == t.currency, o.amount == -t.amount, o.account.in_(ours),
        )
        .order_by(o.booking_date, o.id)
        .limit(PAIRS_MAX)
        .lateral("found")
    )  # fmt: skip
    query = (
        sa.select(t.id, found.c.other, found.c.named)
        .select_from(transaction.join(found, sa.true()))
        .where(_live(tx), t.id == sa.any_(sa.literal(list(ids), pg.ARRAY(sa.Uuid))), t.size > 0, t.dataset == "bank")
        .limit(PAST_MAX)
    )
    return [(row.id, row.other, row.named) for row in await tx.all(query)]


async def paid(tx: Tx, papers: Sequence[str], *, sizes: Collection[int], but: Sequence[UUID]) -> set[str]:
    """Return which papers rows of some amounts pay already, whoever said so, some rows left out."""
    if not papers:
        return set()
    told = t.evidence["document"].astext
    query = sa.select(told.label("paper")).where(
        _live(tx),
        t.size == sa.any_(sa.literal(sorted(sizes), pg.ARRAY(sa.BigInteger))),
        told.in_(papers),
        t.id.not_in(but),
    )
    return {row.paper for row in await tx.all(query.limit(PAST_MAX))}


async def past_of(tx: Tx, parties: Sequence[UUID]) -> list[Past]:
    """Return the newest rows of some counterparties with what people decided."""
    query = (
        sa.select(*_FACTS, sa.case((t.state == "confirmed", t.category)).label("decided"))
        .where(_live(tx), t.party.in_(parties))
        .order_by(t.booking_date.desc(), t.id)
        .limit(PAST_MAX)
    )
    return [Past(row_of(found), found.decided) for found in await tx.all(query)]


async def counts(tx: Tx, contexts: Sequence[int]) -> dict[int, dict[str, Seen]]:
    """Return what some contexts know; refuse rather than leave something out, because it would be forgotten."""
    c = count.c
    wanted = sa.literal(list(contexts), pg.ARRAY(sa.BigInteger))
    query = sa.select(count).where(tx.own(count), c.context == sa.any_(wanted)).limit(COUNTS_MAX)
    rows = await tx.all(query)
    if len(rows) == COUNTS_MAX:
        raise TooLarge("What the model knows about these rows", COUNTS_MAX, "counts")
    found: dict[int, dict[str, Seen]] = {}
    for row in rows:
        found.setdefault(row.context, {})[row.category] = Seen(row.weight, row.seen, row.last_day, row.example)
    return found


async def put_counts(tx: Tx, known: Mapping[int, Mapping[str, Seen]]) -> None:
    """Write what contexts know now."""
    await tx.run(
        sa.delete(count).where(
            tx.own(count), count.c.context == sa.any_(sa.literal(list(known), pg.ARRAY(sa.BigInteger)))
        )
    )
    columns = ("context", "category", "weight", "seen", "last_day", "example")
    await tx.copy(
        count,
        columns,
        (
            (context, category, seen.weight, seen.times, seen.day, seen.example)
            for context, here in known.items()
            for category, seen in here.items()
        ),
    )


async def put_answers(tx: Tx, answers: Sequence[tuple[UUID, str, Answer, bool]]) -> None:
    """Write answers: (row, state, answer, whether it is audited); rows that people decided on stay."""
    if not answers:
        return
    fresh = sa.func.unnest(
        sa.literal([id_ for id_, *_ in answers], pg.ARRAY(sa.Uuid)),
        sa.literal([state for _, state, _, _ in answers], pg.ARRAY(sa.Text)),
        sa.literal([answer.category for _, _, answer, _ in answers], pg.ARRAY(sa.Text)),
        sa.literal([answer.stage for _, _, answer, _ in answers], pg.ARRAY(sa.Text)),
        sa.literal([answer.score for _, _, answer, _ in answers], pg.ARRAY(sa.Float)),
        sa.literal([told(answer) for _, _, answer, _ in answers], pg.ARRAY(pg.JSONB)),
        sa.literal([audit for *_, audit in answers], pg.ARRAY(sa.Boolean)),
    ).table_valued("id", "state", "category", "stage", "score", "evidence", "audit", name="fresh").render_derived()  # fmt: skip
    f = fresh.c
    await tx.run(
        sa.update(transaction)
        .where(tx.own(transaction), t.id == f.id, t.state.in_(("open", "suggested")))
        .values(
            state=f.state, category=f.category, stage=f.stage, score=f.score, evidence=f.evidence, audit=f.audit,
            version=t.version + 1,
        )
    )  # fmt: skip


def told(answer: Answer) -> dict[str, Any]:
    """Return the evidence of an answer as it is kept."""
    return {"because": answer.because, **answer.facts}


async def decide(tx: Tx, ids: Sequence[UUID], *, category: str, stage: str, evidence: Mapping[str, Any]) -> None:
    """Write what people (or the export itself) say of some rows; which document one pays stays with it."""
    kept = sa.func.jsonb_build_object(*(part for name in _OF_DOCUMENTS for part in (name, t.evidence[name])))
    new = sa.literal(dict(evidence), pg.JSONB)
    said = sa.case((t.evidence.has_key("document"), kept.op("||")(new)), else_=new)
    await tx.run(
        sa.update(transaction)
        .where(tx.own(transaction), t.id == sa.any_(sa.literal(list(ids), pg.ARRAY(sa.Uuid))))
        .values(
            category=category, state="confirmed", stage=stage, score=None, audit=False, evidence=said,
            version=t.version + 1,
        )
    )  # fmt: skip


async def add_verdicts(tx: Tx, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Keep verdicts."""
    if verdicts:
        await tx.run(sa.insert(verdict).values([{"org": tx.org, "id": new_id(), **one} for one in verdicts]))


async def judged(tx: Tx) -> dict[tuple[str, str], list[Judged]]:
    """Return the newest verdicts of each stage and category."""
    v = verdict.c
    newest = (
        sa.select(
            v.stage, v.category, v.score, v.right, v.weight,
            sa.func.row_number().over(partition_by=(v.stage, v.category), order_by=v.id.desc()).label("place"),
        ).where(tx.own(verdict))
    ).subquery()  # fmt: skip
    rows = await tx.all(sa.select(newest).where(newest.c.place <= JUDGED_KEPT).limit(JUDGED_KEPT * CATEGORIES_MAX))
    found: dict[tuple[str, str], list[Judged]] = {}
    for row in rows:
        found.setdefault((row.stage, row.category), []).append(Judged(row.score, row.right, row.weight))
    return found


async def policy_of(tx: Tx) -> Policy:
    """Return the largest error and the audited share: the organisation's own, or the usual ones."""
    row = await tx.one(sa.select(policy.c.error_max, policy.c.audit_share).where(tx.own(policy)))
    return Policy(row.error_max, row.audit_share) if row else Policy()


async def put_policy(tx: Tx, error_max: float, audit_share: float) -> None:
    """Set the policy."""
    values = {"error_max": error_max, "audit_share": audit_share}
    put = pg.insert(policy).values(org=tx.org, **values)
    await tx.run(put.on_conflict_do_update(index_elements=["org"], set_=values))


async def rules(tx: Tx) -> list[Rule]:
    """Return the current rules in their order."""
    r = rule.c
    query = sa.select(rule).where(tx.own(rule), r.retired_at.is_(None)).order_by(r.place, r.id).limit(RULES_MAX)
    return [
        Rule(row.id, row.version, row.place, when_of(row.when), row.category, row.mode, row.hits, row.overrides)
        for row in await tx.all(query)
    ]


def when_of(raw: Mapping[str, Any]) -> When:
    """Return the conditions of a stored rule."""
    return When(**{**raw, "words": tuple(raw.get("words", ()))})


async def add_rule(tx: Tx, new: Rule, *, by: str, now: datetime) -> None:
    """Add a rule or a new version of one."""
    when = {name: value for name, value in asdict(new.when).items() if value not in ("", None, ())}
    await tx.run(
        sa.insert(rule).values(
            org=tx.org, id=new.id, version=new.version, place=new.place, when=when, category=new.category, mode=new.mode,
            made_at=now, made_by=by,
        )
    )  # fmt: skip


async def retire(tx: Tx, id_: UUID, *, now: datetime) -> int | None:
    """Retire the current version of a rule; return its number, None when there is none."""
    r = rule.c
    gone: int | None = await tx.scalar(
        sa.update(rule).where(tx.own(rule), r.id == id_, r.retired_at.is_(None)).values(retired_at=now)
        .returning(r.version)
    )  # fmt: skip
    return gone


async def fresh_hits(tx: Tx, answers: Mapping[UUID, Mapping[str, Any]]) -> list[tuple[UUID, int]]:
    """Return the rule and version of each answer, without those that the row had from the same version before."""
    if not answers:
        return []
    told = (t.evidence["rule"].astext, t.evidence["version"].astext)
    query = sa.select(t.id, told[0].label("rule"), told[1].label("version"))
    ids = sa.literal(list(answers), pg.ARRAY(sa.Uuid))
    rows = await tx.all(query.where(tx.own(transaction), t.id == sa.any_(ids), t.stage == "rule").limit(len(answers)))
    had = {row.id: (row.rule, row.version) for row in rows}
    now = {id_: (str(facts["rule"]), str(facts["version"])) for id_, facts in answers.items()}
    return [(UUID(rule), int(version)) for id_, (rule, version) in now.items() if had.get(id_) != (rule, version)]


async def count_rule(tx: Tx, id_: UUID, version: int, *, hits: int = 0, overrides: int = 0) -> None:
    """Count what became of the answers of one version of a rule."""
    r = rule.c
    await tx.run(
        sa.update(rule)
        .where(tx.own(rule), r.id == id_, r.version == version)
        .values(hits=r.hits + hits, overrides=r.overrides + overrides)
    )


def waiting(tx: Tx) -> sa.Subquery:
    """Select the newest 200,000 rows that wait for somebody, with what they are grouped by and what each is worth asking."""
    hint = sa.case((t.dataset == "bank", t.source_category), else_="")
    return (
        sa.select(
            t.id, t.party, t.label, t.size, t.currency, t.department, hint.label("hint"), (t.amount > 0).label("inflow"),
            sa.func.round(4 * sa.func.log(sa.func.greatest(t.size, 1))).label("bucket"),
            (t.size * (1 - sa.func.coalesce(t.score, 0.0))).label("worth"),
        )
        .where(_live(tx), t.state.in_(("open", "suggested")))
        .order_by(t.booking_date.desc(), t.id.desc())
        .limit(QUEUE_ROWS)
    ).subquery()  # fmt: skip


async def cards(tx: Tx, *, limit: int) -> Sequence[sa.Row[Any]]:
    """Return groups of undecided rows by counterparty, way and amount bucket; the most money times uncertainty first."""
    recent = waiting(tx)
    c = recent.c
    who = sa.func.coalesce(sa.cast(c.party, sa.Text), sa.func.lower(c.label))
    worth = sa.func.sum(c.worth)
    largest_first = pg.aggregate_order_by(c.id, c.size.desc(), c.id)
    ids: Any = sa.func.array_agg(largest_first, type_=pg.ARRAY(sa.Uuid))
    query = (
        sa.select(
            sa.func.min(c.label).label("label"), c.currency, c.inflow, sa.func.count().label("rows"),
            sa.func.sum(c.size).label("size"), worth.label("worth"), ids[1:CARD_ROWS_MAX].label("ids"),
        )
        .group_by(who, c.inflow, c.currency, c.bucket)
        .order_by(worth.desc(), sa.func.min(c.label))
        .limit(limit)
    )  # fmt: skip
    return await tx.all(query)


async def audits(tx: Tx, *, limit: int) -> list[Row]:
    """Return automatic rows that wait for a blind audit, oldest first."""
    query = sa.select(*_FACTS).where(_live(tx), t.state == "automatic", t.audit).order_by(t.booking_date, t.id)
    return [row_of(found) for found in await tx.all(query.limit(limit))]


async def facts(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, Row]:
    """Return some rows by id."""
    query = sa.select(*_FACTS).where(tx.own(transaction), t.id.in_(ids))
    return {found.id: row_of(found) for found in await tx.all(query)}
