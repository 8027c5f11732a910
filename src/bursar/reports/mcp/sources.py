"""Tools about what lies below the figures: source rows, and the state of the data."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import polars as pl
from pydantic import Field
from sqlglot import exp

from bursar.core.intake import service as intake
from bursar.infra.db import Tx
from bursar.infra.lake_query import query
from bursar.infra.web_models import In
from bursar.kernel.errors import Invalid
from bursar.kernel.lines import COST_LINES
from bursar.kernel.period import add_months, month_of
from bursar.parts.banking import service as banking
from bursar.parts.cloud import service as cloud
from bursar.parts.cloud.rules.dimensions import CostKind, column, cost, day, dimension
from bursar.parts.cloud.rules.filters import parse_filter
from bursar.parts.cloud.rules.queries import within
from bursar.reports.mcp.desk import MARK, Desk, Wanted, amount, period
from bursar.reports.mcp.figures import BANK_BY, Asked, Filter

ROWS_MAX = 100
TEXT_CHARS_MAX = 200
BATCHES_MAX = 2000
SHOWN = 20


class SearchRows(Asked):
    """Arguments of ``search_rows``."""

    trace: Annotated[str, Field(max_length=8000, description="Of query_money; then only `limit` counts besides")] = ""
    source: Literal["cost", "bank"] = "cost"
    start: Annotated[date | None, Field(alias="from")] = None
    end: Annotated[date | None, Field(alias="to", description="Excluded")] = None
    text: Annotated[str, Field(max_length=TEXT_CHARS_MAX, description="Contained, any case")] = ""
    filter: Filter = ""
    limit: Annotated[int, Field(ge=1, le=ROWS_MAX)] = 20


class CheckData(In):
    """``check_data`` takes no arguments."""


async def search_rows(desk: Desk, asked: SearchRows) -> dict[str, Any]:
    """Return source rows, the largest first, with the sum of all that fit by currency."""
    if asked.trace:
        wanted = Wanted.read(asked.trace)
    elif asked.start is None or asked.end is None:
        raise Invalid("Say which rows.", "Give a `trace`, or `from` and `to`.")
    else:
        wanted = Wanted(asked.source, asked.start, asked.end, asked.filter)
    period(wanted.start, wanted.end)
    if wanted.source == "bank":
        if wanted.where:
            raise Invalid("Filters are for cost.", "Use `text` with bank movements.")
        return await _bank_rows(desk, wanted, asked.text, asked.limit)
    return await _cost_rows(desk, wanted, asked.text, asked.limit)


def _told(rows: Sequence[Mapping[str, Any]], sums: Sequence[tuple[str, Decimal | None, int]]) -> dict[str, Any]:
    return {
        "rows": [
            {
                "file": row["file"],
                "row": row["row"],
                "day": str(row["day"]),
                "text": row["text"][:TEXT_CHARS_MAX],
                "amount": amount(row["amount"], row["currency"], f"{row['file']}:{row['row']}"),
            }
            for row in rows
        ],
        "together": [
            {"sum": {"amount": f"{total or 0:f}", "currency": code}, "rows": count} for code, total, count in sums
        ],
    }


async def _bank_rows(desk: Desk, wanted: Wanted, text: str, limit: int) -> dict[str, Any]:
    async with desk.db.reading(desk.actor) as tx:
        lines = await banking.movements(tx, desk.actor, lake=desk.lake)
        kept = lines.filter(pl.col("booking_date").is_between(wanted.start, wanted.end, closed="left"))
        for name, value in wanted.values:
            if name not in {*BANK_BY, "currency"}:
                raise Invalid(f"{name[:60]!r} is no dimension of bank movements")
            kept = kept.filter(BANK_BY.get(name, pl.col("currency")).eq_missing(pl.lit(value)))
        said = pl.concat_str(pl.col("label"), pl.lit(" "), pl.col("description").fill_null(""))
        if text:
            kept = kept.filter(said.str.to_lowercase().str.contains(text.lower(), literal=True))
        top = kept.with_columns(said.alias("text")).sort(pl.col("amount").abs(), "row", descending=[True, False])
        files = await _files(tx, desk, top.head(limit)["batch"].to_list())
    rows = [
        one | {"file": files.get(one["batch"], ""), "day": one["booking_date"]}
        for one in top.head(limit).iter_rows(named=True)
    ]
    sums = kept.group_by("currency").agg(pl.col("amount").sum(), pl.len()).sort("currency")
    return _told(rows, list(sums.iter_rows()))


async def _files(tx: Tx, desk: Desk, batches: Sequence[str]) -> dict[str, str]:
    wanted = [UUID(batch) for batch in sorted({batch for batch in batches if batch})]
    found = await intake.file_names(tx, desk.actor, batches=wanted)
    return {str(batch): name for batch, name in found.items()}


async def _cost_rows(desk: Desk, wanted: Wanted, text: str, limit: int) -> dict[str, Any]:
    desk.actor.must("cost:read")
    try:
        value = cost(CostKind(wanted.kind))
    except ValueError as error:
        raise Invalid(f"{wanted.kind[:40]!r} is no kind of cost") from error
    empty = exp.Literal.string("")
    parts = [exp.func("coalesce", column(name), empty.copy()) for name in _WORDS]
    words = exp.func("concat_ws", exp.Literal.string(" "), *parts)
    condition = _condition(wanted, text, words)
    top = (
        exp.select("origin", "row", day().as_("day"), words.as_("text"), value.as_("amount"), "currency")
        .from_(COST_LINES.name)
        .where(condition)
        .order_by(exp.Ordered(this=exp.func("abs", value.copy()), desc=True, nulls_first=False), "row")
        .limit(limit)
    )
    every = exp.select("currency", exp.func("sum", value.copy()).as_("sum"), exp.func("count", exp.Star()).as_("rows"))
    every = every.from_(COST_LINES.name).where(condition.copy()).group_by("currency").order_by("currency")
    first, last = add_months(month_of(wanted.start), -1), add_months(month_of(wanted.end), 1)
    async with desk.db.reading(desk.actor) as tx:
        held = [one for one in await desk.lake.files(tx, COST_LINES.name) if first <= one.month <= last]
        if not held:
            return _told([], [])
        months = [one.month for one in held]
        rows = await query(desk.lake, tx, top, schemas=[COST_LINES], months=months, origin=True)
        sums = await query(desk.lake, tx, every, schemas=[COST_LINES], months=months)
        batches = {str(one.id): str(one.batch) for one in held}
        files = await _files(tx, desk, [batches[name] for name in rows["origin"].to_list()])
    named = [one | {"file": files.get(batches[one["origin"]], "")} for one in rows.iter_rows(named=True)]
    return _told(named, list(sums.iter_rows()))


_WORDS = ("service_name", "charge_description", "sku_meter", "resource_id")


def _condition(wanted: Wanted, text: str, words: exp.Expr) -> exp.Expr:
    """Return the condition on cost lines; texts are literals in the tree."""
    parts = [within(period(wanted.start, wanted.end))]
    if (filtered := parse_filter(wanted.where)) is not None:
        parts.append(filtered)
    for name, value in wanted.values:
        found = dimension(name)
        parts.append(found.is_(exp.null()) if value is None else found.eq(exp.Literal.string(value)))
    if text:
        parts.append(exp.func("contains", exp.func("lower", words.copy()), exp.Literal.string(text.lower())))
    return exp.and_(*parts)


async def check_data(desk: Desk, asked: CheckData) -> dict[str, Any]:
    """Return what was imported, until when, what was refused and which balances are off."""
    del asked
    async with desk.db.reading(desk.actor) as tx:
        held = await intake.history(tx, desk.actor, limit=BATCHES_MAX, state=intake.BatchState.IMPORTED)
        refused = await intake.history(tx, desk.actor, limit=BATCHES_MAX, state=intake.BatchState.REFUSED)
        bills = await cloud.covered(tx, desk.actor, lake=desk.lake)
        flawed = [batch for batch in (*refused, *held) if batch.rows_refused or not batch.format][:SHOWN]
        problems = [(batch, await intake.problems(tx, desk.actor, batch=batch.id, limit=3)) for batch in flawed]
    balances = [(batch, balance) for batch in held for balance in batch.balances]
    off = [(batch, balance) for batch, balance in balances if balance.ties is False]
    kinds: dict[str, date] = {}
    for batch in held:
        if batch.end:
            kinds[batch.title] = max(batch.end, kinds.get(batch.title, batch.end))
    return {
        "documents": len(held),
        "rows_read": sum(batch.rows_read for batch in held),
        "rows_refused": sum(batch.rows_refused for batch in held),
        "documents_refused": len(refused),
        "bills_cover": None if bills is None else {"from": bills.start.isoformat(), "to": bills.end.isoformat()},
        "newest_day_by_format": {title: last.isoformat() for title, last in sorted(kinds.items())},
        "balances": {"tie": sum(1 for _, balance in balances if balance.ties), "off": len(off)},
        "balances_off": [
            {"file": batch.file, "account": balance.account, "off": amount(balance.off, balance.currency, batch.file)}
            for batch, balance in off[:SHOWN]
        ],
        "problems": [
            {"file": batch.file, "row": one.row, "what": one.what, "fix": one.fix}
            for batch, found in problems
            for one in found
        ],
    }


__all__ = ["MARK", "CheckData", "SearchRows", "check_data", "search_rows"]
