"""Figures over bank movements and single transactions."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from bursar.kernel.errors import Invalid, NotFound
from bursar.kernel.finding import Evidence, Part, SourceRow
from bursar.kernel.trace import BankFigure, TransactionFigure
from bursar.parts.banking import service as banking
from bursar.parts.banking.transactions import service as transactions
from bursar.reports.trace.answer import ROWS_MAX, Asking, Traced, files_of, parts_of

BANK_BY = {
    "account": pl.col("account"),
    "payee": pl.col("label"),
    "month": pl.col("booking_date").dt.strftime("%Y-%m-01"),
    "day": pl.col("booking_date").dt.strftime("%Y-%m-%d"),
    "direction": pl.when(pl.col("amount") < 0).then(pl.lit("out")).otherwise(pl.lit("in")),
}
"""What bank movements can be grouped by."""

SPLITS = ("account", "direction", "payee", "day")


@dataclass(frozen=True, slots=True)
class BankRows:
    """Movements behind a figure, the largest first, with file names; and the exact sum and number of all by currency."""

    rows: list[dict[str, Any]]
    sums: list[tuple[str, Decimal, int]]
    kept: pl.DataFrame


async def bank_rows(asking: Asking, figure: BankFigure, *, text: str = "", limit: int = ROWS_MAX) -> BankRows:
    """Return the movements behind a figure; those of every currency when it names none."""
    lines = await banking.movements(asking.tx, asking.actor, lake=asking.lake)
    kept = lines.filter(pl.col("booking_date").is_between(figure.start, figure.end, closed="left"))
    pairs = (*figure.values, ("currency", figure.currency)) if figure.currency else figure.values
    for name, value in pairs:
        if name not in {*BANK_BY, "currency"}:
            raise Invalid(f"{name[:60]!r} is no dimension of bank movements")
        kept = kept.filter(BANK_BY.get(name, pl.col("currency")).eq_missing(pl.lit(value)))
    said = pl.concat_str(pl.col("label"), pl.lit(" "), pl.col("description").fill_null(""))
    if text:
        kept = kept.filter(said.str.to_lowercase().str.contains(text.lower(), literal=True))
    top = kept.with_columns(said.alias("text")).sort(
        pl.col("amount").abs(), "batch", "row", descending=[True, False, False]
    )
    files = await files_of(asking, top.head(limit)["batch"].to_list())
    rows = [
        one | {"file": files.get(one["batch"], ""), "day": one["booking_date"]}
        for one in top.head(limit).iter_rows(named=True)
    ]
    sums = kept.group_by("currency").agg(pl.col("amount").sum(), pl.len()).sort("currency")
    return BankRows(rows, list(sums.iter_rows()), kept)


async def of_bank(asking: Asking, figure: BankFigure) -> Traced:
    """Say what a sum of movements is made of: split by the first open dimension, with the largest movements."""
    found = await bank_rows(asking, figure)
    [(_, amount, count)] = found.sums or [(figure.currency, Decimal(0), 0)]
    fixed = {name for name, _ in figure.values}
    by = next(name for name in SPLITS if name not in fixed or name == SPLITS[-1])
    groups = found.kept.group_by(BANK_BY[by].alias("part")).agg(pl.col("amount").sum())
    parts = [(f"{by} {part}", total) for part, total in groups.iter_rows()]
    where = "".join(f", {name} {value}" for name, value in figure.values)
    formula = (
        f"sum of {count:,} booked movements from {figure.start} to before {figure.end}{where}; money out is negative"
    )
    rows = tuple(
        SourceRow(one["batch"], one["file"], one["row"], f"{one['day']} {one['text']}", one["amount"], one["currency"])
        for one in found.rows
    )
    title = f"Bank movements from {figure.start} to before {figure.end}{where}"
    return Traced(title, amount, figure.currency, Evidence(formula, parts_of(parts, amount), (), rows, count))


async def of_transaction(asking: Asking, figure: TransactionFigure) -> Traced:
    """Say which line of which file a transaction was read from, and how it is split."""
    whole = await transactions.get(asking.tx, asking.actor, id_=figure.transaction)
    row = whole.row
    batch = str(row.batch)
    files = await files_of(asking, [batch])
    parts = tuple(Part(part.category, part.amount) for part in whole.parts) or (Part("as booked", Decimal(row.amount)),)
    if figure.part is not None:
        if not 0 < figure.part <= len(whole.parts):
            raise NotFound("part of the split", str(figure.part))
        parts = parts[figure.part - 1 : figure.part]
    amount = sum((part.amount for part in parts), Decimal(0))
    text = f"{row.booking_date} {row.label}"
    said = f"{text} {row.description}".strip()
    source = SourceRow(batch, files.get(batch, ""), row.row, said, Decimal(row.amount), row.currency)
    formula = f"one movement of {row.account}, as its file says"
    return Traced(text, amount, row.currency, Evidence(formula, parts, (), (source,), 1))
