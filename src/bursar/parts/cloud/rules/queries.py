"""The questions asked of the cost lines, composed as SQL trees."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlglot import exp

from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.period import Period
from bursar.kernel.trace import CostFigure
from bursar.parts.cloud.rules.dimensions import CostKind, column, cost, day, dimension, month
from bursar.parts.cloud.rules.filters import parse_filter
from bursar.parts.cloud.rules.inheritance import TagRule, inherited

DIMENSIONS_MAX = 8
GROUPS_MAX = 10_000
USES_MAX = 300_000
"""Most resource and meter pairs that savings are looked for on; the dearest come first."""

MONTHS_MAX = 400_000
"""Most charges times months that the past is looked at for; the dearest charges come first."""

COST = "cost"


@dataclass(frozen=True, slots=True)
class CostQuery:
    """One question: cost of a kind in a period by dimensions, of the lines a filter keeps.

    Attributes:
        period: Days asked for.
        by: Dimension names; ``currency`` is always grouped by, amounts of several currencies are never added.
        kind: Which cost.
        where: A filter in the filter language.
        limit: Most groups returned; the dearest come first unless time is grouped by.
        tags: Rules that complete missing tags.
    """

    period: Period
    by: tuple[str, ...] = ()
    kind: CostKind = CostKind.EFFECTIVE
    where: str = ""
    limit: int = 1000
    tags: tuple[TagRule, ...] = ()

    def figure(self, values: Sequence[str | None], currency: str) -> CostFigure:
        """Return what the sum of one group of the answer stands for."""
        names = [name for name in self.by if name.lower() != "currency"]
        pairs = tuple(zip(names, values, strict=True))
        return CostFigure(self.period.start, self.period.end, currency, self.kind.value, self.where, pairs)


def within(period: Period) -> exp.Expr:
    """Return the condition that a line's charge period begins within ``period``."""
    return within_instants("charge_period_start", period)


def within_instants(name: str, period: Period) -> exp.Expr:
    """Return the condition that the instant in column ``name`` lies within the days of ``period``."""
    start = column(name)
    return exp.and_(start >= _midnight(period.start), start.copy() < _midnight(period.end))


def _midnight(at: date) -> exp.Expr:
    return exp.cast(exp.Literal.string(f"{at.isoformat()} 00:00:00+00:00"), "timestamptz")


def costs(asked: CostQuery) -> exp.Query:
    """Return the query for ``asked``: one column per dimension, ``currency``, ``cost`` and ``lines``.

    Raises:
        Invalid: A dimension or the filter is not understood, or a dimension is asked twice.
        TooLarge: Too many dimensions or groups are asked for.
    """
    if len(asked.by) > DIMENSIONS_MAX:
        raise TooLarge("the number of dimensions", DIMENSIONS_MAX, "dimensions")
    if not 1 <= asked.limit <= GROUPS_MAX:
        raise TooLarge("the number of groups", GROUPS_MAX, "groups")
    names = [name for name in asked.by if name.lower() != "currency"]
    if len(set(names)) < len(names):
        raise Invalid("a dimension is asked for twice", "Name each dimension once.")
    grouped = [dimension(name).as_(f"d{index}") for index, name in enumerate(names)]
    condition = parse_filter(asked.where)
    query = (
        exp.select(
            *grouped,
            "currency",
            exp.func("sum", cost(asked.kind)).as_(COST),
            exp.func("count", exp.Star()).as_("lines"),
        )
        .from_(COST)
        .where(within(asked.period))
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(names) + 1)])
    )
    if condition is not None:
        query = query.where(condition)
    times = [f"d{index}" for index, name in enumerate(names) if name.lower() in {"day", "month"}]
    order = [exp.column(name).asc() for name in times] + [
        exp.Ordered(this=exp.column(COST), desc=True, nulls_first=False)
    ]
    order += [exp.Ordered(this=exp.column(f"d{index}"), nulls_first=False) for index in range(len(names))]
    return inherited(query.order_by(*order, exp.column("currency").asc()).limit(asked.limit), asked.tags)


def last_day() -> exp.Query:
    """Return the query for the first and last day that any usage line of each payer begins on, and the last that one ends.

    A monthly fee begins on the first of its month and covers all of it: ``ended`` is the day after the last one covered.
    """
    usage = column("charge_category").eq(exp.Literal.string("Usage"))
    end = exp.func("coalesce", column("charge_period_end"), column("charge_period_start"))
    return (
        exp.select(
            "provider",
            exp.func("coalesce", column("billing_account_id"), exp.Literal.string("")).as_("account"),
            exp.func("min", day()).as_("first"),
            exp.func("max", day()).as_("last"),
            exp.cast(exp.func("max", end), "date").as_("ended"),
        )
        .from_(COST)
        .where(usage)
        .group_by(exp.Literal.number(1), exp.Literal.number(2))
        .order_by(exp.Literal.number(1), exp.Literal.number(2))
    )


BRIDGE_KEYS = (
    "provider",
    "sub_account_id",
    "service_name",
    "region_id",
    "sku_id",
    "sku_meter",
    "operation",
    "pricing_unit",
)


def bridge_cells(period: Period, kind: CostKind, where: str) -> exp.Query:
    """Return the query for the cells a bridge compares: cost, cost before commitments and quantity per key and charge."""
    whole = cost(kind)
    committed = exp.func("coalesce", column("commitment_discount_status"), exp.Literal.string(""))
    is_covered = exp.and_(committed.eq(exp.Literal.string("Used")), column("contracted_cost").is_(exp.null()).not_())
    before = exp.Case().when(is_covered, column("contracted_cost")).else_(whole.copy())
    query = (
        exp.select(
            *BRIDGE_KEYS,
            "charge_category",
            committed.copy().as_("commitment"),
            "commitment_discount_type",
            "currency",
            exp.func("sum", whole).as_("cost"),
            exp.func("sum", before if kind is CostKind.EFFECTIVE else whole.copy()).as_("before"),
            exp.func("sum", column("pricing_quantity")).as_("quantity"),
        )
        .from_(COST)
        .where(within(period))
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(BRIDGE_KEYS) + 4)])
    )
    condition = parse_filter(where)
    return query if condition is None else query.where(condition)


USE_KEYS = (
    "provider", "billing_account_id", "sub_account_id", "service_name", "service_category", "resource_id", "resource_name",
    "sku_meter", "operation", "charge_description", "instance_type", "region_id", "pricing_category", "pricing_unit",
    "charge_category", "commitment_discount_id", "commitment_discount_status", "currency",
)  # fmt: skip


Payer = tuple[str, str]
"""A provider and the billing account that it bills; its bills reach as far as the last of them."""


def _of(payers: Sequence[Payer]) -> exp.Expr:
    account = exp.func("coalesce", column("billing_account_id"), exp.Literal.string(""))
    return exp.or_(
        *[
            exp.and_(column("provider").eq(exp.Literal.string(provider)), account.copy().eq(exp.Literal.string(named)))
            for provider, named in payers
        ]
    )


def uses(period: Period, payers: Sequence[Payer] = ()) -> exp.Query:
    """Return the query for what savings rules look at: one row per resource, meter and way of paying.

    Args:
        period: Days looked at.
        payers: Whose charges; everybody's when empty.
    """
    query = (
        exp.select(
            *USE_KEYS,
            exp.func("sum", cost(CostKind.EFFECTIVE)).as_("cost"),
            exp.func("sum", column("pricing_quantity")).as_("quantity"),
            exp.func("count", exp.Star()).as_("lines"),
            exp.func("max", column("tags")).as_("tags"),
            exp.func("min", day()).as_("first_day"),
            exp.func("max", day()).as_("last_day"),
        )
        .from_(COST)
        .where(within(period))
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(USE_KEYS))])
        .order_by(exp.Ordered(this=exp.column("cost"), desc=True, nulls_first=False))
        .limit(USES_MAX)
    )
    return query.where(_of(payers)) if payers else query


def commitments(period: Period, payers: Sequence[Payer]) -> exp.Query:
    """Return the query for what was used and not used of each commitment."""
    keys = ("provider", "commitment_discount_id", "commitment_discount_status", "currency")
    return (
        exp.select(*keys, exp.func("sum", cost(CostKind.EFFECTIVE)).as_("cost"))
        .from_(COST)
        .where(within(period))
        .where(_of(payers))
        .where(column("commitment_discount_id").is_(exp.null()).not_())
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(keys))])
        .limit(USES_MAX)
    )


MONTH_KEYS = (
    "provider", "billing_account_id", "sub_account_id", "service_name", "service_category", "resource_id", "sku_meter",
    "instance_type", "charge_category", "pricing_category", "pricing_unit", "commitment_discount_status", "currency",
)  # fmt: skip


def months(since: date) -> exp.Query:
    """Return the query for the history: one row per charge and month from ``since`` on; the dearest charges whole.

    Of what is no usage the description tells charges apart; of usage it may hold the price, which must not.
    """
    usage = column("charge_category").eq(exp.Literal.string("Usage"))
    what = exp.Case().when(usage, exp.Literal.string("")).else_(column("charge_description"))
    count = len(MONTH_KEYS) + 1
    kept = exp.select(
        *MONTH_KEYS,
        what.as_("what"),
        month().as_("month"),
        exp.func("sum", cost(CostKind.EFFECTIVE)).as_("cost"),
        exp.func("sum", exp.func("coalesce", column("contracted_cost"), column("billed_cost"))).as_("price_cost"),
        exp.func("sum", column("pricing_quantity")).as_("quantity"),
        exp.func("count", exp.Star()).as_("lines"),
        *[
            exp.func("max", column(name)).as_(name)
            for name in ("tags", "resource_name", "resource_type", "charge_description")
        ],
        exp.func("min", day()).as_("first_day"),
        exp.func("max", day()).as_("last_day"),
    )
    start = column("charge_period_start") >= _midnight(since)
    kept = kept.from_(COST).where(start).group_by(*[exp.Literal.number(index + 1) for index in range(count + 1)])
    same = [exp.column(name) for name in (*MONTH_KEYS, "what")]
    whole = exp.Window(this=exp.func("sum", exp.column("cost")), partition_by=same)
    order = exp.Ordered(this=exp.column("_whole"), desc=True, nulls_first=False)
    return exp.select("*", whole.as_("_whole")).from_(kept.subquery("kept")).order_by(order).limit(MONTHS_MAX)


DOUBLE_KEYS = (
    "provider", "billing_account_id", "sub_account_id", "service_name", "resource_id", "sku_id", "sku_price_id", "sku_meter",
    "operation", "charge_description", "charge_period_start", "charge_period_end", "pricing_quantity", "billed_cost",
    "region_id", "availability_zone", "tags", "currency", "charge_category", "pricing_unit",
)  # fmt: skip


def doubles(period: Period, least: str) -> exp.Query:
    """Return the query for lines of at least ``least`` that appear more than once with every telling column equal.

    Usage without a resource is left out: bills without resource ids repeat such lines rightly.
    """
    named = column("resource_id").is_(exp.null()).not_()
    bought = column("charge_category").eq(exp.Literal.string("Purchase"))
    return (
        exp.select(*DOUBLE_KEYS, exp.func("count", exp.Star()).as_("times"))
        .from_(COST)
        .where(within(period))
        .where(exp.or_(named, bought))
        .where(column("billed_cost") >= exp.cast(exp.Literal.string(least), "decimal(38, 15)"))
        .group_by(*[exp.Literal.number(index + 1) for index in range(len(DOUBLE_KEYS))])
        .having(exp.func("count", exp.Star()) > exp.Literal.number(1))
        .order_by(exp.Ordered(this=column("billed_cost"), desc=True))
        .limit(GROUPS_MAX)
    )


def transfer_days(period: Period, words: Sequence[str], payers: Sequence[Payer] = ()) -> exp.Query:
    """Return the query for the daily cost of data transfer per account and service."""
    meter = exp.func(
        "lower", exp.func("coalesce", column("sku_meter"), column("charge_description"), exp.Literal.string(""))
    )
    named = [
        exp.func("instr", meter.copy(), exp.Literal.string(word), dialect="duckdb") > exp.Literal.number(0)
        for word in words
    ]
    query = (
        exp.select(
            "provider",
            "sub_account_id",
            "service_name",
            "currency",
            day().as_("day"),
            exp.func("sum", cost(CostKind.EFFECTIVE)).as_("cost"),
        )
        .from_(COST)
        .where(within(period))
        .where(exp.or_(*named))
        .group_by(*[exp.Literal.number(index + 1) for index in range(5)])
    )
    return query.where(_of(payers)) if payers else query


def invoice_totals(months: Sequence[date]) -> exp.Query:
    """Return the query for billed cost per invoice, billing month, issuer and kind of charge."""
    start = exp.func("coalesce", column("billing_period_start"), day())
    whole = exp.cast(exp.func("date_trunc", exp.Literal.string("month"), start, dialect="duckdb"), "date")
    kept = whole.copy().isin(*[exp.cast(exp.Literal.string(at.isoformat()), "date") for at in months])
    return (
        exp.select(
            whole.as_("month"),
            "provider",
            "billing_account_id",
            "invoice_id",
            "invoice_issuer",
            "charge_category",
            "charge_class",
            "currency",
            exp.func("sum", column("billed_cost")).as_("cost"),
            exp.func("count", exp.Star()).as_("lines"),
        )
        .from_(COST)
        .where(kept)
        .group_by(*[exp.Literal.number(index + 1) for index in range(8)])
    )
