"""Use cases: keep the rules; ask what things cost with tags inherited, shared cost split, and per unit of business."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from bursar.core.audit import service as audit
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, Stale, TooLarge
from bursar.kernel.period import Period
from bursar.kernel.trace import AskedFigure, Pairs
from bursar.parts.cloud import service as cloud
from bursar.parts.cloud import store as lines
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.inheritance import applied
from bursar.parts.cloud.rules.queries import GROUPS_MAX, CostQuery
from bursar.parts.cloud.sharing import rules, store
from bursar.parts.cloud.sharing.rules import Cell, Method, RuleBook, Share, SplitRule

DUCKDB = "duckdb"


@dataclass(frozen=True, slots=True)
class Options:
    """How a question is answered besides what it asks.

    Attributes:
        inherit: Whether tag rules complete missing tags.
        splits: Names of the splits to apply; they are by one of the dimensions asked for, the others being times.
        per: An imported quantity to divide by; empty for none.
    """

    inherit: bool = False
    splits: tuple[str, ...] = ()
    per: str = ""


_PLAIN = Options()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked: the groups, the units of each (in their order; None where not asked or unknown), and the rules used.

    Attributes:
        groups: Dearest first, by time where time is asked for.
        units: Quantity by group.
        applied: Every rule and quantity that the answer rests on, in words.
        ruled: Whether a rule changed the sums, so that they are not those of the lines alone.
        own: The question whose sums are the groups' own cost.
        split: The same for the lines that are split, by time alone; None where nothing is.
    """

    groups: tuple[Share, ...]
    units: tuple[Decimal | None, ...]
    applied: tuple[str, ...]
    ruled: bool
    own: CostQuery
    split: CostQuery | None = None


def facts_of(asked: CostQuery, options: Options = _PLAIN) -> Pairs:
    """Return a question as facts of a trace."""
    facts = (
        ("from", f"{asked.period.start}"), ("to", f"{asked.period.end}"), ("kind", asked.kind.value), ("where", asked.where),
        ("inherit", "yes" if options.inherit else ""), ("per", options.per),
    )  # fmt: skip
    told = [(name, value) for name, value in facts if value]
    return (*told, *(("by", name) for name in asked.by), *(("split", name) for name in options.splits))


def question_of(figure: AskedFigure) -> tuple[CostQuery, Options]:
    """Return the question behind a figure, see :func:`facts_of`."""
    period = Period(date.fromisoformat(figure.fact("from")), date.fromisoformat(figure.fact("to")))
    by, splits = (tuple(filter(None, figure.all_of(name))) for name in ("by", "split"))
    asked = CostQuery(period, by, CostKind(figure.fact("kind")), figure.fact("where"), GROUPS_MAX)
    return asked, Options(bool(figure.fact("inherit")), splits, figure.fact("per"))


async def book(tx: Tx, actor: Actor) -> tuple[RuleBook, int]:
    """Return the rules of the organisation and their version."""
    actor.must("cost:read")
    return await store.book(tx)


async def replace_book(tx: Tx, actor: Actor, *, rules_: RuleBook, seen: Callable[[object], None], now: datetime) -> int:
    """Replace the rules as a whole; return the new version.

    Args:
        tx: Writing transaction.
        actor: Needs the right ``cost:write``.
        rules_: What holds from now on, for every period.
        seen: Called with the present version; refuses what the caller has not seen.
        now: Instant of the change.

    Raises:
        Stale: Somebody else changed them in between.
    """
    actor.must("cost:write")
    before, version = await store.book(tx, for_update=True)
    seen(version)
    if not await store.put_book(tx, rules_, version=version + 1, now=now):
        raise Stale
    await audit.record(
        tx,
        actor,
        action="cloud.rules_replaced",
        subject="cloud_rules",
        now=now,
        before=before.to_json(),
        after=rules_.to_json(),
    )
    return version + 1


async def ask(tx: Tx, actor: Actor, *, lake: Lake, asked: CostQuery, options: Options, engine: str = DUCKDB) -> Answer:
    """Answer a cost query by the rules of the organisation.

    Own and shared cost of all groups sum exactly to the cost of the lines asked for.

    Raises:
        Invalid: A dimension, filter, split or quantity is not known, or a split does not fit the dimensions.
        TooLarge: More groups than one answer may have would be split among.
    """
    actor.must("cost:read")
    known, _ = await store.book(tx) if options.inherit or options.splits else (RuleBook(), 0)
    question = replace(asked, tags=known.tags) if options.inherit else asked
    splits = known.chosen(options.splits)
    told = applied((*asked.by, *(rule.by for rule in splits)), f"{asked.where} {' '.join(rule.shared for rule in splits)}",
                   question.tags)  # fmt: skip
    ruled = bool(told or splits)
    if splits:
        groups, notes = await _split(tx, actor, lake, question, splits, engine)
        told += [*map(str, splits), *notes]
    else:
        groups = await _plain(tx, actor, lake, question, engine)
    units, said = await _units(tx, lake, question, options.per, groups, engine)
    of = (own_lines(question, splits), split_lines(question, splits))
    return Answer(tuple(groups[: asked.limit]), tuple(units[: asked.limit]), (*told, *said), ruled, *of)


async def _plain(tx: Tx, actor: Actor, lake: Lake, asked: CostQuery, engine: str) -> list[Share]:
    found = await cloud.costs(tx, actor, lake=lake, asked=asked, engine=engine)
    return [Share(group.values, group.currency, group.cost, None, group.lines) for group in found]


async def _split(
    tx: Tx, actor: Actor, lake: Lake, asked: CostQuery, splits: tuple[SplitRule, ...], engine: str
) -> tuple[list[Share], list[str]]:
    by = [name for name in asked.by if name.strip().lower() != "currency"]
    names = [name.strip().lower() for name in by]
    target = splits[0].by.strip().lower()
    if target not in names or not {name for name in names if name != target} <= rules.TIMES:
        raise Invalid(
            f"the split is by {splits[0].by}", f"Ask by {splits[0].by}, and besides it by day or month alone."
        )
    at = names.index(target)
    every = replace(asked, by=tuple(by), limit=GROUPS_MAX)
    none_of = [f"not ({rule.shared})" for rule in splits]
    own = await _plain(tx, actor, lake, own_lines(every, splits), engine)
    if len(own) >= GROUPS_MAX:
        raise TooLarge("the groups that cost is split among", GROUPS_MAX, "groups")
    times = tuple(name for index, name in enumerate(by) if index != at)
    pools: list[tuple[SplitRule, Mapping[Cell, Decimal], Mapping[str, Decimal]]] = []
    for index, rule in enumerate(splits):
        kept = replace(every, by=times, where=_all(asked.where, f"({rule.shared})", *none_of[:index]))
        found = await cloud.costs(tx, actor, lake=lake, asked=kept, engine=engine)
        pool = {(group.values, group.currency): group.cost for group in found if group.cost is not None}
        pools.append((rule, pool, await _weights(tx, lake, asked, rule, engine)))
    groups, notes = rules.shared_out(own, pools, at)
    places = [index for index, name in enumerate(names) if name in rules.TIMES]

    def order(one: Share) -> tuple[object, ...]:
        when = [str(one.values[place] or "") for place in places]
        return (*when, -(one.cost if one.cost is not None else Decimal("-Infinity")), str(one.values), one.currency)

    return sorted(groups, key=order), notes


def own_lines(asked: CostQuery, splits: Sequence[SplitRule]) -> CostQuery:
    """Return the question for the lines that no split shares."""
    return replace(asked, where=_all(asked.where, *(f"not ({rule.shared})" for rule in splits)))


def split_lines(asked: CostQuery, splits: Sequence[SplitRule]) -> CostQuery | None:
    """Return the question, by time alone, for the lines that the splits share; None without any."""
    if not splits:
        return None
    every = " or ".join(f"({rule.shared})" for rule in splits)
    times = tuple(name for name in asked.by if name.strip().lower() in rules.TIMES)
    return replace(asked, by=times, where=_all(asked.where, f"({every})"))


def _all(where: str, *more: str) -> str:
    return " and ".join(part for part in (f"({where})" if where.strip() else "", *more) if part)


async def _weights(tx: Tx, lake: Lake, asked: CostQuery, rule: SplitRule, engine: str) -> Mapping[str, Decimal]:
    if rule.method is not Method.USAGE:
        return rule.weights
    found = await _quantities(tx, lake, asked, rule.measure, engine)
    sums = found.filter(pl.col("target").fill_null("") != "").group_by("target").agg(pl.col("quantity").sum())
    weights = {target: quantity for target, quantity in sums.iter_rows() if quantity}
    if not weights or min(weights.values()) < 0:
        raise Invalid(f"the quantity {rule.measure} has no targets in this period", "Import it with the column target.")
    return weights


async def _quantities(tx: Tx, lake: Lake, asked: CostQuery, measure: str, engine: str) -> pl.DataFrame:
    found = await lines.ask(tx, lake, store.quantities(asked.period, measure), period=asked.period, engine=engine)
    if found.is_empty():
        names = await lines.ask(tx, lake, store.measures(), period=None, engine=engine)
        known = ", ".join(names["measure"].to_list()) or "none yet"
        raise Invalid(f"no quantity called {measure[:60]} is imported for this period", f"Known: {known}.")
    return found


async def _units(
    tx: Tx, lake: Lake, asked: CostQuery, measure: str, groups: list[Share], engine: str
) -> tuple[list[Decimal | None], list[str]]:
    """Return the units of each group and, in words, what was divided by.

    Where the quantity has targets and one dimension besides times is asked for, each group has the units of its target; else
    all units of its time.
    """
    if not measure:
        return [None] * len(groups), []
    found = await _quantities(tx, lake, asked, measure, engine)
    by = [name.strip().lower() for name in asked.by if name.strip().lower() != "currency"]
    others = [index for index, name in enumerate(by) if name not in rules.TIMES]
    targeted = len(others) == 1 and found["target"].null_count() < found.height
    day, month = pl.col("day").cast(pl.String), pl.col("day").dt.month_start().cast(pl.String)
    keyed = found.with_columns(
        pl.concat_list(
            [
                day if name == "day" else month if name == "month" else pl.col("target") if targeted else pl.lit("")
                for name in by
            ]
            or [pl.lit("")]
        ).alias("key")
    )
    sums = {tuple(key): quantity for key, quantity in keyed.group_by("key").agg(pl.col("quantity").sum()).iter_rows()}

    def key_of(group: Share) -> tuple[str | None, ...]:
        return tuple(
            value if name in rules.TIMES or targeted else "" for name, value in zip(by, group.values, strict=True)
        ) or ("",)

    unit = str(found["unit"].drop_nulls().first() or measure)
    total = sum(found["quantity"].to_list(), Decimal(0)).normalize()
    scope = f"of each {asked.by[others[0]]}" if targeted else "of all together"
    said = f"per {unit}: the quantity {measure} {scope}, {total:f} in the period"
    return [sums.get(key_of(group)) for group in groups], [said]


def loose_rule(by: str, shared: str, method: Method, weights: Mapping[str, Decimal]) -> SplitRule:
    """Return a rule that nobody keeps: the lines that ``shared`` keeps, and those without a value, among the values.

    Args:
        by: A dimension.
        shared: A filter; empty for the lines without a value alone.
        method: How.
        weights: For ``fixed``.

    Raises:
        Invalid: A filter or dimension is not understood, or weights and method do not fit.
    """
    empty = f'"{by}" is empty'
    return SplitRule("the split", by, f"({shared}) or {empty}" if shared.strip() else empty, method, weights)


async def allocate(
    tx: Tx, actor: Actor, *, lake: Lake, asked: CostQuery, rule: SplitRule, engine: str = DUCKDB
) -> list[Share]:
    """Split by a rule that is not among those of the organisation.

    Args:
        tx: Reading transaction.
        actor: Needs the right ``cost:read``.
        lake: The lake.
        asked: By exactly the dimension of the rule.
        rule: As :func:`loose_rule` makes it.
        engine: Where the queries run.

    Raises:
        Invalid: A filter is not understood, or there is nobody to split among.
    """
    actor.must("cost:read")
    groups, notes = await _split(tx, actor, lake, asked, (rule,), engine)
    if notes:
        raise Invalid("the shared cost cannot be split", "Give non-negative weights, or targets that cost something.")
    return sorted(groups, key=lambda one: (one.currency, one.values[0] or ""))
