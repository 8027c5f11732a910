"""Figures over cost lines: sums of a query, and the amounts of a bridge between two periods."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from sqlglot import exp

from bursar.infra.lake_query import query
from bursar.kernel.errors import Invalid
from bursar.kernel.finding import Evidence, Part, PriceUsed, SourceRow
from bursar.kernel.lines import COST_LINES
from bursar.kernel.period import Period, add_months, month_of
from bursar.kernel.trace import BridgeFigure, CostFigure
from bursar.parts.cloud import service as cloud
from bursar.parts.cloud.rules.bridge import PRECISION, QUANTUM, Bridge, Cause
from bursar.parts.cloud.rules.dimensions import CostKind, column, cost, day, dimension
from bursar.parts.cloud.rules.filters import parse_filter
from bursar.parts.cloud.rules.inheritance import TagRule, inherited
from bursar.parts.cloud.rules.queries import CostQuery, within
from bursar.reports.trace.answer import PRICES_MAX, ROWS_MAX, Asking, Traced, files_of, parts_of

SPLITS = ("provider", "account", "service", "resource", "meter", "day")
"""What a sum is split by: the first of these that the question left open."""

_WORDS = ("service_name", "charge_description", "sku_meter", "resource_id")


@dataclass(frozen=True, slots=True)
class CostRows:
    """Lines behind a figure, the dearest first, with file names; and the exact sum and number of all by currency."""

    rows: list[dict[str, Any]]
    sums: list[tuple[str, Decimal | None, int]]


def _value(kind: str) -> exp.Expr:
    try:
        return cost(CostKind(kind))
    except ValueError as error:
        raise Invalid(f"{kind[:40]!r} is no kind of cost") from error


def _words() -> exp.Expr:
    empty = exp.Literal.string("")
    parts = [exp.func("coalesce", column(name), empty.copy()) for name in _WORDS]
    return exp.func("concat_ws", exp.Literal.string(" "), *parts)


def condition(figure: CostFigure, text: str = "") -> exp.Expr:
    """Return the condition on the lines that a figure sums; foreign texts are literals in the tree.

    Args:
        figure: Which lines; those of every currency when it names none.
        text: Only lines whose words hold this, in any case.
    """
    parts = [within(Period(figure.start, figure.end))]
    if (filtered := parse_filter(figure.where)) is not None:
        parts.append(filtered)
    pairs = (*figure.values, ("currency", figure.currency)) if figure.currency else figure.values
    for name, value in pairs:
        found = dimension(name)
        parts.append(found.is_(exp.null()) if value is None else found.eq(exp.Literal.string(value)))
    if text:
        parts.append(exp.func("contains", exp.func("lower", _words()), exp.Literal.string(text.lower())))
    return exp.and_(*parts)


async def _asked(
    asking: Asking, figure: CostFigure, *questions: exp.Query, tags: Sequence[TagRule] = (), origin: bool = False
) -> list[list[dict[str, Any]]]:
    """Return the rows of some queries over the files that can hold a figure's lines; none when there are no files."""
    asking.actor.must("cost:read")
    first, last = add_months(month_of(figure.start), -1), add_months(month_of(figure.end), 1)
    held = {one.month for one in await asking.lake.files(asking.tx, COST_LINES.name) if first <= one.month <= last}
    if not held:
        return [[] for _ in questions]
    answers = [
        await query(
            asking.lake, asking.tx, inherited(one, tags), schemas=[COST_LINES], months=sorted(held), origin=origin
        )
        for one in questions
    ]
    return [list(answer.iter_rows(named=True)) for answer in answers]


async def cost_rows(
    asking: Asking, figure: CostFigure, *, text: str = "", limit: int = ROWS_MAX, tags: Sequence[TagRule] = ()
) -> CostRows:
    """Return the dearest lines behind a figure, and the sum of all of them by currency."""
    value, kept = _value(figure.kind), condition(figure, text)
    prices = exp.func("coalesce", column("contracted_unit_price"), column("list_unit_price"))
    sku = exp.func("coalesce", column("sku_id"), column("sku_meter"), column("service_name"))
    top = (
        exp.select(
            "origin", "row", day().as_("day"), _words().as_("text"), value.as_("amount"), "currency",
            prices.as_("price"), sku.as_("sku"), "pricing_unit",
        )
        .from_(COST_LINES.name).where(kept)
        .order_by(exp.Ordered(this=exp.func("abs", value.copy()), desc=True, nulls_first=False), "origin", "row")
        .limit(limit)
    )  # fmt: skip
    every = exp.select("currency", exp.func("sum", value.copy()).as_("sum"), exp.func("count", exp.Star()).as_("rows"))
    every = every.from_(COST_LINES.name).where(kept.copy()).group_by("currency").order_by("currency")
    [rows] = await _asked(asking, figure, top, tags=tags, origin=True)
    [sums] = await _asked(asking, figure, every, tags=tags)
    held = await asking.lake.files(asking.tx, COST_LINES.name) if rows else []
    batches = {str(one.id): str(one.batch) for one in held}
    files = await files_of(asking, [batches[row["origin"]] for row in rows])
    named = [row | {"batch": (batch := batches[row["origin"]]), "file": files.get(batch, "")} for row in rows]
    return CostRows(named, [(one["currency"], one["sum"], one["rows"]) for one in sums])


def shown(rows: Sequence[dict[str, Any]]) -> tuple[SourceRow, ...]:
    """Return cost lines as source rows."""
    return tuple(
        SourceRow(row["batch"], row["file"], row["row"], f"{row['day']} {row['text']}".strip(), row["amount"], row["currency"])
        for row in rows
    )  # fmt: skip


def _prices(rows: Sequence[dict[str, Any]]) -> tuple[PriceUsed, ...]:
    """Return the unit prices that the dearest rows state, each once, the newest day it was charged on."""
    found: dict[tuple[str, Decimal, str], PriceUsed] = {}
    for row in rows:
        if not row["price"]:
            continue
        key = (row["sku"] or "", row["price"], row["pricing_unit"] or "unit")
        if key not in found or found[key].day < row["day"]:
            price = row["price"].normalize()
            found[key] = PriceUsed(key[0], price, row["currency"], key[2], row["day"], f"{row['file']}:{row['row']}")
    return tuple(found.values())[:PRICES_MAX]


async def of_cost(asking: Asking, figure: CostFigure, tags: Sequence[TagRule] = ()) -> Traced:
    """Say what a sum of cost is made of: split by the first open dimension, with the dearest lines and their prices."""
    found = await cost_rows(asking, figure, tags=tags)
    [(_, total, lines)] = found.sums or [(figure.currency, None, 0)]
    amount = total or Decimal(0)
    fixed = {name for name, _ in figure.values}
    by = next(name for name in SPLITS if name not in fixed or name == SPLITS[-1])
    split = exp.select(dimension(by).as_("part"), exp.func("sum", _value(figure.kind)).as_("sum"))
    split = split.from_(COST_LINES.name).where(condition(figure)).group_by(exp.Literal.number(1))
    [groups] = await _asked(asking, figure, split, tags=tags)
    parts = [(f"{by} {one['part']}" if one["part"] else f"no {by}", one["sum"] or Decimal(0)) for one in groups]
    where = "".join(f", {name} {value}" if value else f", without {name}" for name, value in figure.values)
    title = f"{figure.kind.capitalize()} cost from {figure.start} to before {figure.end}{where}"
    said = f" where {figure.where}" if figure.where else ""
    formula = f"sum of the {figure.kind} cost of {lines:,} lines that begin from {figure.start} to before {figure.end}{where}{said}"
    evidence = Evidence(formula, parts_of(parts, amount), _prices(found.rows), shown(found.rows), lines)
    return Traced(title, amount, figure.currency, evidence)


_CAUSES = {
    Cause.PRICE: "what the same quantities cost more or less than before",
    Cause.VOLUME: "the change of quantity at the old average price",
    Cause.MIX: "the move between dearer and cheaper keys at old prices",
    Cause.NEW: "cost of what was not there before",
    Cause.GONE: "cost of what is there no more",
    Cause.UNMEASURED: "change of cost where bills tell no quantity",
    Cause.COMMITMENTS: "change of what commitments saved and cost",
    Cause.CREDITS: "change of credits and adjustments",
    Cause.PURCHASES: "change of one-off purchases",
    Cause.TAX: "change of tax",
    Cause.CURRENCY: "what exchange rates did",
}
"""What each cause of a bridge means; see :mod:`bursar.parts.cloud.rules.bridge` for the formulas."""


async def of_bridge(asking: Asking, figure: BridgeFigure) -> Traced:
    """Say what an amount of a bridge is made of."""
    old, new = Period(figure.old_start, figure.old_end), Period(figure.new_start, figure.new_end)
    rates = {code: (Decimal(was), Decimal(now)) for code, was, now in figure.rates}
    kind = CostKind(figure.kind)
    found = await cloud.bridge(
        asking.tx, asking.actor, lake=asking.lake, old=old, new=new, currency=figure.currency, kind=kind,
        where=figure.where, rates=rates,
    )  # fmt: skip
    used = tuple(
        PriceUsed(f"{code}/{figure.currency}", rate, figure.currency, code, period.start, "given with the question")
        for code, pair in rates.items()
        for rate, period in zip(pair, (old, new), strict=True)
    )
    if figure.part in {"old", "new"}:
        side = 0 if figure.part == "old" else 1
        return await _side(asking, figure, (old, new)[side], {code: pair[side] for code, pair in rates.items()}, used)
    if figure.part == "rest":
        evidence = Evidence("the sum of the changes by cause and service that are too small to be listed", prices=used)
        return Traced("Smaller changes", found.rest, figure.currency, evidence)
    return await _change(asking, figure, found, (old, new), used)


async def _side(
    asking: Asking, figure: BridgeFigure, period: Period, rates: dict[str, Decimal], used: tuple[PriceUsed, ...]
) -> Traced:
    """Return one end of a bridge: the cost of a period by currency, at the rates given."""
    asked = CostQuery(period, (), CostKind(figure.kind), figure.where)
    groups = await cloud.costs(asking.tx, asking.actor, lake=asking.lake, asked=asked)
    with localcontext(prec=PRECISION):
        worth = [(one, (one.cost or Decimal(0)) * rates.get(one.currency, Decimal(1))) for one in groups]
        amount = sum((value for _, value in worth), Decimal(0)).quantize(QUANTUM)
        parts = parts_of([(f"{one.cost or 0:f} {one.currency}", value) for one, value in worth], amount)
    lines = await cost_rows(asking, CostFigure(period.start, period.end, "", figure.kind, figure.where))
    formula = f"sum of the {figure.kind} cost of {period}, each currency at its rate"
    count = sum(rows for _, _, rows in lines.sums)
    evidence = Evidence(formula, parts, used, shown(lines.rows), count)
    return Traced(f"{figure.kind.capitalize()} cost of {period}", amount, figure.currency, evidence)


async def _change(
    asking: Asking, figure: BridgeFigure, found: Bridge, periods: tuple[Period, Period], used: tuple[PriceUsed, ...]
) -> Traced:
    """Return a cause by service, or one service's share of it, with the dearest lines of both periods."""
    cause = Cause(figure.part)
    movers = [one for one in found.movers if one.cause is cause]
    if figure.service is None:
        amount = next((one.amount for one in found.causes if one.cause is cause), Decimal(0))
        parts = [Part(one.service or "all services", one.amount) for one in movers]
        left = amount - sum((part.amount for part in parts), Decimal(0))
        parts += [Part("smaller changes", left)] if left else []
        title = f"Change of cost by {cause.value}"
    else:
        amount = next((one.amount for one in movers if one.service == figure.service), Decimal(0))
        parts = [Part(_CAUSES[cause], amount)]
        title = f"Change of cost by {cause.value}: {figure.service or 'all services'}"
    rows: list[dict[str, Any]] = []
    total = 0
    values = (("service", figure.service),) if figure.service else ()
    for period in periods:
        kept = CostFigure(period.start, period.end, "", figure.kind, figure.where, values)
        lines = await cost_rows(asking, kept, limit=ROWS_MAX // 2)
        rows += lines.rows
        total += sum(count for _, _, count in lines.sums)
    formula = f"{_CAUSES[cause]}, from {periods[0]} to {periods[1]}"
    return Traced(title, amount, figure.currency, Evidence(formula, tuple(parts), used, shown(rows), total))
