"""Tools about money spent and moved: sums, comparisons, forecasts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import ConfigDict, Field

from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.series import service as series
from bursar.infra.web_models import In
from bursar.kernel.errors import Invalid, NotFound
from bursar.kernel.period import Grain
from bursar.kernel.trace import BankFigure, BridgeFigure
from bursar.parts.banking import service as banking
from bursar.parts.cloud import service as cloud
from bursar.parts.cloud.rules.bridge import Change
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.filters import FILTER_CHARS_MAX
from bursar.parts.cloud.rules.queries import DIMENSIONS_MAX, CostQuery
from bursar.reports.mcp.desk import Desk, amount, period
from bursar.reports.trace.bank import BANK_BY

GROUPS_MAX = 200
SERIES_SHOWN = 10

Filter = Annotated[
    str,
    Field(
        max_length=FILTER_CHARS_MAX,
        description='Cost only: `service = "Amazon S3" and (tag:env != prod or region in (a, b))`',
    ),
]


class Asked(In):
    """Base of arguments with days; ``from`` and ``to`` are half-open."""

    model_config = ConfigDict(**In.model_config, populate_by_name=True)


class QueryMoney(Asked):
    """Arguments of ``query_money``."""

    source: Literal["cost", "bank"]
    start: Annotated[date, Field(alias="from")]
    end: Annotated[date, Field(alias="to", description="Excluded")]
    by: Annotated[
        list[str],
        Field(
            max_length=DIMENSIONS_MAX,
            description="cost: provider account service region resource sku charge day month tag:KEY …; "
            f"bank: {' '.join(BANK_BY)}",
        ),
    ] = Field(default_factory=list)
    filter: Filter = ""
    kind: CostKind = CostKind.EFFECTIVE
    limit: Annotated[int, Field(ge=1, le=GROUPS_MAX)] = 50


class ComparePeriods(Asked):
    """Arguments of ``compare_periods``."""

    old_from: date
    old_to: date
    new_from: date
    new_to: date
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    filter: Filter = ""
    kind: CostKind = CostKind.EFFECTIVE


class Forecast(In):
    """Arguments of ``forecast``."""

    search: Annotated[str, Field(max_length=200, description="Words of the series' name, or its id; empty: totals")] = (
        ""
    )
    source: Literal["cost", "bank", "payment"] = "cost"
    grain: Literal["day", "week", "month"] = "month"


async def query_money(desk: Desk, asked: QueryMoney) -> dict[str, Any]:
    """Return sums by dimensions and currency; a bank sum is what came in minus what went out."""
    if asked.source == "bank" and asked.filter:
        raise Invalid("Filters are for cost.", "Group bank movements by payee, or use search_rows.")
    days = period(asked.start, asked.end)
    query = CostQuery(days, tuple(asked.by), asked.kind, asked.filter, asked.limit)
    if asked.source == "bank":
        groups = await _bank(desk, asked)
    else:
        async with desk.db.reading(desk.actor) as tx:
            found = await cloud.costs(tx, desk.actor, lake=desk.lake, asked=query)
        groups = [(one.values, one.currency, one.cost, one.lines) for one in found]
    names = [name for name in asked.by if name.lower() != "currency"]

    def traced(values: tuple[str | None, ...], currency: str) -> str:
        if asked.source == "cost":
            return desk.tracer.token(query.figure(values, currency))
        pairs = tuple(zip(names, values, strict=True))
        return desk.tracer.token(BankFigure(days.start, days.end, currency, pairs))

    return {
        "by": names,
        "kind": asked.kind.value if asked.source == "cost" else "booked",
        "data": [
            {
                "values": list(values),
                "sum": amount(total, currency, traced(values, currency)),
                "rows": rows,
            }
            for values, currency, total, rows in groups[: asked.limit]
        ],
        "complete": len(groups) < asked.limit,
    }


Group = tuple[tuple[str | None, ...], str, Decimal | None, int]


async def _bank(desk: Desk, asked: QueryMoney) -> list[Group]:
    unknown = [name for name in asked.by if name not in {*BANK_BY, "currency"}]
    if unknown:
        raise Invalid(f"{unknown[0][:60]!r} is no dimension of bank movements", f"Use {', '.join(BANK_BY)}.")
    async with desk.db.reading(desk.actor) as tx:
        lines = await banking.movements(tx, desk.actor, lake=desk.lake)
    names = [name for name in asked.by if name != "currency"]
    keys = [BANK_BY[name].alias(f"d{at}") for at, name in enumerate(names)]
    sums = (
        lines.filter(pl.col("booking_date").is_between(asked.start, asked.end, closed="left"))
        .group_by(*keys, "currency")
        .agg(pl.col("amount").sum(), pl.len().alias("rows"))
        .sort(
            pl.col("amount").abs(), *[key.meta.output_name() for key in keys], descending=[True, *[False] * len(keys)]
        )
    )
    return [(tuple(row[: len(names)]), row[-3], row[-2], row[-1]) for row in sums.head(asked.limit).iter_rows()]


async def compare_periods(desk: Desk, asked: ComparePeriods) -> dict[str, Any]:
    """Return why cost changed; the causes sum exactly to the difference."""
    old, new = period(asked.old_from, asked.old_to), period(asked.new_from, asked.new_to)
    async with desk.db.reading(desk.actor) as tx:
        found = await cloud.bridge(
            tx,
            desk.actor,
            lake=desk.lake,
            old=old,
            new=new,
            currency=asked.currency,
            kind=asked.kind,
            where=asked.filter,
        )
    figure = BridgeFigure(
        old.start, old.end, new.start, new.end, asked.currency, asked.kind.value, asked.filter, (), ""
    )

    def told(value: Decimal, part: str, service: str | None = None) -> dict[str, Any]:
        trace = desk.tracer.token(replace(figure, part=part, service=service))
        return amount(value, found.currency, trace) or {}

    def changes(of: Sequence[Change], *, whole: bool) -> list[dict[str, Any]]:
        return [
            {"cause": one.cause.value, "service": one.service}
            | told(one.amount, one.cause.value, None if whole else one.service)
            for one in of
        ]

    return {
        "currency": found.currency,
        "old": told(found.old, "old"),
        "new": told(found.new, "new"),
        "difference": f"{found.new - found.old:f}",
        "causes": changes(found.causes, whole=True),
        "movers": changes(found.movers, whole=False),
        "movers_left_out": told(found.rest, "rest"),
    }


async def forecast(desk: Desk, asked: Forecast) -> dict[str, Any]:
    """Return stored forecasts of the largest series that fit; says so when none is stored."""
    grain = Grain(asked.grain)
    async with desk.db.reading(desk.actor) as tx:
        runs = await forecasts.newest(tx, desk.actor, source=asked.source, grain=grain)
        if not runs:
            nothing = f"No {asked.grain} forecast of {asked.source} is stored yet; nothing is guessed."
            return {"data": [], "note": nothing, "fix": "Run `bursar forecast --all`, then ask again."}
        listed = await series.listed(
            tx,
            desk.actor,
            lake=desk.lake,
            source=asked.source,
            grain=grain,
            now=desk.clock(),
            search=asked.search,
            level="" if asked.search else "total",
        )
        ranked = sorted(listed, key=lambda one: -abs(one.recent))[:SERIES_SHOWN]
        data = [one for found in ranked if (one := await _stored(tx, desk, found, grain))]
    without = [found.key for found in ranked if found.id not in {one["series"] for one in data}]
    return {"data": data, "without_forecast": without, "series_left_out": max(0, len(listed) - len(ranked))}


async def _stored(tx: Any, desk: Desk, found: series.Found, grain: Grain) -> dict[str, Any] | None:
    try:
        run, values = await forecasts.of_series(tx, desk.actor, id_=found.id, grain=grain)
    except NotFound:
        return None
    ends = (values.mean, values.lower80, values.upper80)
    return {
        "series": found.id,
        "name": found.key,
        "currency": found.currency,
        "model": values.model,
        "beats_baseline": values.beats_baseline,
        "coverage80_in_backtest": run.coverage80,
        "facts_until": run.last_day.isoformat(),
        "made_by": f"forecast {run.id}",
        "periods": [
            {
                "from": start.isoformat(),
                "mean": f"{forecasts.amount_of(mean):f}",
                "low80": f"{forecasts.amount_of(low):f}",
                "high80": f"{forecasts.amount_of(high):f}",
                "trace": desk.tracer.token(forecasts.figure(run, values, start)),
            }
            for start, mean, low, high in zip(run.starts, *ends, strict=True)
        ],
    }
