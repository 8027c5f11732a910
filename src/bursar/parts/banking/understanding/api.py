"""Understanding over HTTP: the queue of cards, decisions, blind audits, rules, the stated error."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Out, TheDb, TracedOut, Traces, router
from bursar.kernel.errors import NotFound
from bursar.kernel.trace import TransactionFigure
from bursar.parts.banking.transactions.rules import CATEGORY_CHARS_MAX, WORD_CHARS_MAX, words_of
from bursar.parts.banking.transactions.service import PeriodClosed
from bursar.parts.banking.understanding import service
from bursar.parts.banking.understanding.rules.answers import CONDITION_WORDS_MAX, Policy, Rule, When
from bursar.parts.banking.understanding.service import CARDS_MAX, DECIDED_MAX, Understood
from bursar.parts.banking.understanding.stated import service as stated

_Category = Annotated[str, Field(min_length=1, max_length=CATEGORY_CHARS_MAX)]
_SIZE_MAX = 2**53

r = router("understanding", tag="Categories", about="What transactions were for: cards to decide, rules, audits.")


class AnswerOut(Out):
    """One likely category with its reason."""

    category: str
    stage: str
    score: float
    because: str
    facts: dict[str, Any]


class CardOut(Out):
    """One question: rows alike, and the likeliest answers."""

    label: str
    amount: TracedOut
    inflow: bool
    rows: int
    ids: list[UUID]
    top: list[AnswerOut]


class AuditOut(Out):
    """An automatic row to judge without seeing what was answered."""

    id: UUID
    account: str
    booking_date: date
    label: str
    amount: TracedOut
    department: str


class DecideIn(In):
    """What some rows were for."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=DECIDED_MAX)]
    category: _Category


class UnderstoodOut(Out):
    """What became of undecided rows."""

    learned: int
    automatic: int
    suggested: int
    silent: int


class WhenIn(In):
    """When a rule applies: everything given must hold; amounts are absolute, in hundredths."""

    words: Annotated[list[Annotated[str, Field(min_length=1, max_length=WORD_CHARS_MAX)]], Field(max_length=CONDITION_WORDS_MAX)] = Field(default_factory=list)  # fmt: skip
    party: UUID | None = None
    account: Annotated[str, Field(max_length=100)] = ""
    department: Annotated[str, Field(max_length=CATEGORY_CHARS_MAX)] = ""
    way: Annotated[str, Field(pattern="^(in|out)?$")] = ""
    size_min: Annotated[int | None, Field(strict=True, ge=0, le=_SIZE_MAX)] = None
    size_max: Annotated[int | None, Field(strict=True, ge=0, le=_SIZE_MAX)] = None

    def when(self) -> When:
        """Return the conditions; words in the form in which transactions hold them."""
        party = str(self.party) if self.party else ""
        words = tuple(words_of(*self.words))
        return When(words, party, self.account, self.department, self.way, self.size_min, self.size_max)


class RuleIn(In):
    """A rule, or its new version."""

    when: WhenIn
    category: _Category
    mode: Annotated[str, Field(pattern="^(automatic|suggest)$")] = "suggest"
    place: Annotated[int, Field(strict=True, ge=0, le=1_000_000, description="Lower goes first.")] = 100
    version: Annotated[int | None, Field(strict=True, ge=1, description="The version that is replaced.")] = None


class RuleOut(Out):
    """A rule with what became of its answers."""

    id: UUID
    version: int
    place: int
    when: dict[str, Any]
    category: str
    mode: str
    hits: int
    overrides: int
    demoted: Annotated[bool, Field(description="Overridden in more than a tenth of its hits: it only suggests.")]


class PolicyIn(In):
    """The stated error of the books and the audited share."""

    error_max: Annotated[float, Field(ge=0.001, le=0.5)]
    audit_share: Annotated[float, Field(ge=0.02, le=0.05)]


class PolicyOut(Out):
    """The stated error of the books and the audited share."""

    error_max: float
    audit_share: float


class LimitIn(In):
    """Whether suggestions are made anew too."""

    again: bool = False


def _money(size: int, currency: str, trace: str) -> TracedOut:
    return TracedOut.exactly(Decimal(size).scaleb(-2), currency, trace)


def _understood(done: Understood) -> UnderstoodOut:
    return UnderstoodOut(learned=done.learned, automatic=done.automatic, suggested=done.suggested, silent=done.silent)


def _rule(rule: Rule) -> RuleOut:
    when = {name: getattr(rule.when, name) for name in When.__dataclass_fields__ if getattr(rule.when, name)}
    return RuleOut(
        id=rule.id, version=rule.version, place=rule.place, when=when, category=rule.category, mode=rule.mode,
        hits=rule.hits, overrides=rule.overrides, demoted=rule.suggests and rule.mode == "automatic",
    )  # fmt: skip


@r.post("/v1/transactions/understand", right="transaction:write")
async def understand(body: LimitIn, db: TheDb, actor: As) -> UnderstoodOut:
    """Answer what nobody decided on."""
    async with db.writing(actor) as tx:
        return _understood(await service.understand(tx, actor, fresh=not body.again))


@r.get("/v1/transactions/queue", right="transaction:read")
async def queue(db: TheDb, actor: As, traces: Traces, limit: int = 20) -> list[CardOut]:
    """List the cards most worth answering: money times uncertainty, the likeliest three answers each."""
    async with db.reading(actor) as tx:
        cards = await service.queue(tx, actor, limit=min(max(limit, 1), CARDS_MAX))
    return [
        CardOut(
            label=card.label, inflow=card.inflow, rows=card.rows, ids=list(card.ids),
            amount=_money(
                card.size, card.currency, traces.asked("card", "amount", card.currency, (("first", str(card.ids[0])),))
            ),
            top=[
                AnswerOut(
                    category=one.category, stage=one.stage, score=one.score, because=one.because, facts=dict(one.facts)
                )
                for one in card.top
            ],
        )
        for card in cards
    ]  # fmt: skip


@r.get("/v1/transactions/audits", right="transaction:read")
async def audits(db: TheDb, actor: As, traces: Traces, limit: int = 20) -> list[AuditOut]:
    """List automatic rows to audit blind; decide them like any other."""
    async with db.reading(actor) as tx:
        rows = await service.audits(tx, actor, limit=min(max(limit, 1), CARDS_MAX))
    return [
        AuditOut(
            id=row.id, account=row.account, booking_date=row.day, label=row.label,
            department=row.department,
            amount=_money(
                row.size if row.amount > 0 else -row.size, row.currency, traces.token(TransactionFigure(row.id))
            ),
        )
        for row in rows
    ]  # fmt: skip


@r.post("/v1/transactions/decide", right="transaction:write", refusals=[NotFound, PeriodClosed])
async def decide(body: DecideIn, db: TheDb, actor: As) -> UnderstoodOut:
    """Decide what rows were for; it is learned at once and their like is answered anew."""
    async with db.writing(actor) as tx:
        done = await service.decide(tx, actor, ids=body.ids, category=body.category, now=utc_now())
    return _understood(done)


@r.get("/v1/rules", right="rule:read")
async def list_rules(db: TheDb, actor: As) -> list[RuleOut]:
    """List the rules in their order, with hits and overrides."""
    async with db.reading(actor) as tx:
        return [_rule(rule) for rule in await stated.rule_list(tx, actor)]


@r.post("/v1/rules", right="rule:write", status_code=201)
async def make_rule(body: RuleIn, db: TheDb, actor: As) -> RuleOut:
    """Make a rule."""
    return await _put(None, body, db, actor)


@r.put("/v1/rules/{id}", right="rule:write")
async def change_rule(id: UUID, body: RuleIn, db: TheDb, actor: As) -> RuleOut:  # noqa: A002  the path's word
    """Replace a rule by a new version; its counters begin anew."""
    return await _put(id, body, db, actor)


async def _put(id_: UUID | None, body: RuleIn, db: TheDb, actor: As) -> RuleOut:
    async with db.writing(actor) as tx:
        rule = await stated.put_rule(
            tx, actor, when=body.when.when(), category=body.category, mode=body.mode, place=body.place, now=utc_now(),
            id_=id_, version=body.version,
        )  # fmt: skip
    return _rule(rule)


@r.delete("/v1/rules/{id}", right="rule:write", status_code=204)
async def retire_rule(id: UUID, db: TheDb, actor: As) -> None:  # noqa: A002  the path's word
    """Retire a rule; what it decided stays."""
    async with db.writing(actor) as tx:
        await stated.retire_rule(tx, actor, id_=id, now=utc_now())


@r.get("/v1/bank/policy", right="transaction:read")
async def get_policy(db: TheDb, actor: As) -> PolicyOut:
    """Tell the stated error of the books."""
    async with db.reading(actor) as tx:
        found = await stated.policy(tx, actor)
    return PolicyOut(error_max=found.error_max, audit_share=found.audit_share)


@r.put("/v1/bank/policy", right="rule:write", status_code=204)
async def set_policy(body: PolicyIn, db: TheDb, actor: As) -> None:
    """State the largest error of the books and the share that is audited."""
    async with db.writing(actor) as tx:
        await stated.set_policy(tx, actor, wanted=Policy(body.error_max, body.audit_share), now=utc_now())
