"""Tools about what lies below the figures: source rows, and the state of the data."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from bursar.core.intake import service as intake
from bursar.infra.traces import TOKEN_CHARS_MAX
from bursar.infra.web_models import In
from bursar.kernel.errors import Invalid
from bursar.kernel.trace import BankFigure, CostFigure
from bursar.parts.cloud import service as cloud
from bursar.reports.mcp.desk import Desk, amount, period
from bursar.reports.mcp.figures import Asked, Filter
from bursar.reports.trace.bank import bank_rows
from bursar.reports.trace.costs import cost_rows

ROWS_MAX = 100
TEXT_CHARS_MAX = 200
BATCHES_MAX = 2000
SHOWN = 20


class SearchRows(Asked):
    """Arguments of ``search_rows``."""

    trace: Annotated[
        str, Field(max_length=TOKEN_CHARS_MAX, description="Of query_money; then only `limit` counts besides")
    ] = ""
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
    figure = _figure(desk, asked)
    async with desk.db.reading(desk.actor) as tx:
        if isinstance(figure, BankFigure):
            bank = await bank_rows(desk.asking(tx), figure, text=asked.text, limit=asked.limit)
            return _told(bank.rows, bank.sums)
        cost = await cost_rows(desk.asking(tx), figure, text=asked.text, limit=asked.limit)
        return _told(cost.rows, cost.sums)


def _figure(desk: Desk, asked: SearchRows) -> CostFigure | BankFigure:
    """Return which rows are wanted; a figure without a currency stands for all."""
    if asked.trace:
        found = desk.tracer.read(asked.trace)
        if isinstance(found, CostFigure | BankFigure):
            return found
        raise Invalid("This trace is not of a sum of rows.", "Give it to explain_figure.")
    if asked.start is None or asked.end is None:
        raise Invalid("Say which rows.", "Give a `trace`, or `from` and `to`.")
    days = period(asked.start, asked.end)
    if asked.source == "bank":
        if asked.filter:
            raise Invalid("Filters are for cost.", "Use `text` with bank movements.")
        return BankFigure(days.start, days.end, "")
    return CostFigure(days.start, days.end, "", "effective", asked.filter)


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
