"""Figures over what arrived: totals of an import, statements that do not tie, and rows that wait to be decided."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import polars as pl

from bursar.core.intake import service as intake
from bursar.core.intake.service import Batch
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Evidence, SourceRow
from bursar.kernel.lines import BANK_LINES, CONTRACT_COMMITMENT_LINES, COST_LINES, INVOICE_DETAIL_LINES, PAYMENT_LINES
from bursar.kernel.money import Money
from bursar.kernel.trace import AskedFigure, BankFigure
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.transactions import service as transactions
from bursar.parts.banking.understanding import service as understanding
from bursar.reports.trace.answer import ROWS_MAX, Asking, Traced, files_of, parts_of
from bursar.reports.trace.bank import bank_rows
from bursar.reports.trace.spent import ROWS_RIGHT

_SCHEMAS = {
    one.name: one for one in (COST_LINES, BANK_LINES, PAYMENT_LINES, INVOICE_DETAIL_LINES, CONTRACT_COMMITMENT_LINES)
}
"""The datasets that hold money."""

_WORDS = ("counterparty_name", "supplier", "description", "service_name", "charge_description", "invoice_id")
"""Columns that tell a row of any dataset apart for a reader."""

TELLING_MAX = 20
"""Rows of one card that are told one by one."""


async def of_import(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what the total of an import is made of, or by what a statement of it does not tie."""
    batch = await intake.get(asking.tx, asking.actor, batch=UUID(figure.fact("batch")))
    asking.actor.must(ROWS_RIGHT.get(batch.dataset, "cost:read"))
    rows, sums, count = await _lines(asking, batch, figure)
    title = f"{batch.file}: {figure.part}"
    if figure.part == "off":
        key = (figure.fact("account"), figure.currency)
        one = next((one for one in batch.balances if (one.account, one.currency) == key), None)
        if one is None or one.off is None:
            raise NotFound("statement of the account", key[0])
        told = [("closing balance as stated", one.closing or Decimal(0)),
                ("less the opening balance as stated", -(one.opening or Decimal(0))),
                (f"less its {one.rows:,} rows", -one.total)]  # fmt: skip
        formula = "closing balance less opening balance less rows; nothing where a statement ties"
        return Traced(title, one.off, figure.currency, Evidence(formula, parts_of(told, one.off), (), rows, count))
    amount = batch.totals.get(figure.currency, Decimal(0))
    gone = amount - sum((part for _, part in sums), Decimal(0))
    parts = parts_of([*sums, ("rows that were replaced or taken back since", gone)], amount)
    formula = f"sum of the rows taken from the file when it was imported; {count:,} of {batch.rows_taken:,} stand today"
    return Traced(title, amount, figure.currency, Evidence(formula, parts, (), rows, count))


async def _lines(
    asking: Asking, batch: Batch, figure: AskedFigure
) -> tuple[tuple[SourceRow, ...], Sequence[tuple[str, Decimal]], int]:
    """Return the largest rows of an import that stand, their sums by month, and their number."""
    schema = _SCHEMAS.get(batch.dataset)
    if schema is None:
        return (), (), 0
    files = await asking.lake.files(asking.tx, schema.name, batch=batch.id)
    if not files:
        return (), (), 0
    words = pl.concat_str([pl.col(name) for name in _WORDS if name in schema.columns], separator=" ", ignore_nulls=True)
    lines = pl.concat([rows for _, rows in await asking.lake.frames(files)], how="diagonal_relaxed").select(
        pl.col(schema.day).cast(pl.Date).alias("day"), pl.col(schema.amount).alias("amount"), "currency", "row",
        words.alias("text"), (pl.col("account") if "account" in schema.columns else pl.lit("")).alias("account"),
    ).filter(pl.col("currency") == figure.currency)  # fmt: skip
    if account := figure.fact("account"):
        lines = lines.filter(pl.col("account") == account)
    month = pl.col("day").dt.strftime("%Y-%m").alias("month")
    sums, top, count = await asyncio.to_thread(
        lambda: (
            lines.group_by(month).agg(pl.col("amount").sum()).collect(engine="streaming"),
            lines.sort(pl.col("amount").abs(), "row", descending=[True, False]).head(ROWS_MAX).collect(),
            lines.select(pl.len()).collect(engine="streaming").item(),
        )
    )
    rows = tuple(
        SourceRow(str(batch.id), batch.file, one["row"], f"{one['day']} {one['text']}", one["amount"], figure.currency)
        for one in top.iter_rows(named=True)
    )
    return rows, [(f"month {month}", Decimal(amount or 0)) for month, amount in sums.iter_rows()], count


async def of_card(asking: Asking, figure: AskedFigure) -> Traced:
    """Say which rows a question about undecided rows sums, without their sign."""
    first = UUID(figure.fact("first"))
    cards = await understanding.queue(asking.tx, asking.actor, limit=understanding.CARDS_MAX)
    card = next((one for one in cards if first in one.ids), None)
    if card is None:
        raise NotFound("question about", str(first))
    whole = [(await transactions.get(asking.tx, asking.actor, id_=id_)).row for id_ in card.ids[:TELLING_MAX]]
    files = await files_of(asking, [str(row.batch) for row in whole])
    rows = tuple(
        SourceRow(str(row.batch), files.get(str(row.batch), ""), row.row, f"{row.booking_date} {row.label}", row.amount, row.currency)
        for row in whole
    )  # fmt: skip
    amount = Decimal(card.size).scaleb(-2)
    sums = [(f"{row.booking_date} {row.label}", abs(row.amount)) for row in whole]
    rest = amount - sum((size for _, size in sums), Decimal(0))
    parts = parts_of([*sums, ("other rows alike", rest)], amount)
    formula = f"sum of the sizes of {card.rows:,} rows alike that nobody decided on"
    return Traced(f"Undecided: {card.label}", amount, card.currency, Evidence(formula, parts, (), rows, card.rows))


async def of_tie(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what a statement states, what is booked by its day, and by what the two differ."""
    account, day, file = (figure.fact(name) for name in ("account", "day", "file"))
    ties = await posting.reconcile(asking.tx, asking.actor)
    key = (account, figure.currency, day, file)
    tie = next((one for one in ties if _tie_key(one) == key), None)
    if tie is None:
        raise NotFound("closing balance", f"{account} on {day}")
    stated, booked, off = (Money(minor, figure.currency).amount for minor in (tie.closing, tie.booked, tie.off))
    amount = {"stated": stated, "booked": booked, "off": off}[figure.part]
    told = {
        "stated": [(f"closing balance that {file} states", stated)],
        "booked": [("balance of the account in the books", booked)],
        "off": [(f"closing balance that {file} states", stated), ("less the balance in the books", -booked)],
    }
    until = max(tie.stated.closing_day, tie.stated.last_day)
    span = BankFigure(tie.stated.opening_day, until, figure.currency, (("account", account),))
    found = await bank_rows(asking, span)
    rows = tuple(
        SourceRow(one["batch"], one["file"], one["row"], f"{one['day']} {one['text']}", one["amount"], figure.currency)
        for one in found.rows
    )
    count = sum(one for _, _, one in found.sums)
    formula = f"{figure.part} at the end of {day}; the rows are those of the statement's days"
    evidence = Evidence(formula, parts_of(told[figure.part], amount), (), rows, count)
    return Traced(f"{account} on {day}: {figure.part}", amount, figure.currency, evidence)


def _tie_key(tie: posting.Tie) -> tuple[str, str, str, str]:
    one = tie.stated
    return one.account, one.currency, f"{one.closing_day}", one.file
