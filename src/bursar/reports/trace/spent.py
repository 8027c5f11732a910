"""Figures over series of facts, what budgets say, and money worth acting on."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby

import polars as pl

from bursar.core.findings import service as findings
from bursar.core.planning.budgets import service as budgets
from bursar.core.planning.budgets.rules.spending import matching
from bursar.core.planning.commitments.rules import FORMULA, Due
from bursar.core.planning.series import service as series
from bursar.core.planning.series.rules import Source, text_of
from bursar.kernel.errors import Invalid
from bursar.kernel.finding import Evidence, Part, SourceRow
from bursar.kernel.money import Money, exponent
from bursar.kernel.trace import BudgetFigure, SpentFigure, TotalFigure
from bursar.parts.banking.understanding.promises import service as promises
from bursar.reports.trace.answer import ROWS_MAX, Asking, Traced, files_of, parts_of

TEXTS = {"cost": "child", "payment": "supplier", "bank": "counterparty_name"}
"""The column that tells a row of each source apart for a reader."""


ROWS_RIGHT = {"cost": "cost:read", "payment": "bank:read", "bank": "bank:read"}
"""What seeing the rows themselves needs: a series tells sums only."""


def _lines(source: Source, lines: pl.LazyFrame, figure: SpentFigure) -> pl.LazyFrame:
    """Return the rows that a figure sums: ``day``, ``amount``, ``batch``, ``row``, ``text`` and one column a dimension."""
    if "batch" not in lines.collect_schema().names():
        lines = lines.with_columns(pl.lit("").alias("batch"))
    filters = {
        name: [str(value) for _, value in pairs] for name, pairs in groupby(figure.values, key=lambda pair: pair[0])
    }
    day = pl.col(source.schema.day).cast(pl.Date)
    dimensions = [
        text_of(found).alias(f"_{name}") for name in source.names if (found := source.column(name)) is not None
    ]
    return (
        source.rows(lines)
        .filter(
            pl.col("currency") == figure.currency,
            day.is_between(figure.start, figure.end, closed="left"),
            *matching(source, filters),
        )
        .select(
            day.alias("day"),
            pl.col(source.amount).alias("amount"),
            "batch",
            "row",
            pl.col(TEXTS[source.name]).fill_null("").alias("text"),
            *dimensions,
        )
    )


async def of_spent(asking: Asking, figure: SpentFigure, *, decided: bool = False) -> Traced:
    """Say what a sum of a source's rows is made of: split by the first open level, with the largest rows.

    ``decided`` asks for categories and departments as they were decided on, as budgets do, not as files say.
    """
    asking.actor.must("series:read")
    asking.actor.must(ROWS_RIGHT[figure.source])
    source = series.source_named(figure.source)
    found = None
    if decided and not series.SAID.keys().isdisjoint(name for name, _ in figure.values):
        found = await series.decided(asking.tx, asking.actor, lake=asking.lake, source=source, since=figure.start)
    source, scanned = found or (source, await asking.lake.scan(asking.tx, source.schema))
    lines = _lines(source, scanned, figure)
    single = {name for name, pairs in groupby(figure.values, key=lambda pair: pair[0]) if len(list(pairs)) == 1}
    by = next((name for name in source.names if name not in single), source.names[-1])
    rank = pl.col("amount").abs()
    groups, top, count = await asyncio.to_thread(
        lambda: (
            lines.group_by(f"_{by}").agg(pl.col("amount").sum()).collect(engine="streaming"),
            lines.sort(rank, "batch", "row", descending=[True, False, False]).head(ROWS_MAX).collect(),
            lines.select(pl.len()).collect(engine="streaming").item(),
        )
    )
    parts = [(f"{by} {name}", Decimal(amount or 0)) for name, amount in groups.iter_rows()]
    exact = sum((amount for _, amount in parts), Decimal(0))
    amount = exact.quantize(Decimal(1).scaleb(-figure.places), ROUND_HALF_EVEN)
    files = await files_of(asking, top["batch"].to_list())
    rows = tuple(
        SourceRow(one["batch"], files.get(one["batch"], ""), one["row"], f"{one['day']} {one['text']}", one["amount"], figure.currency)
        for one in top.iter_rows(named=True)
    )  # fmt: skip
    where = "".join(f", {name} {value}" for name, value in figure.values)
    kept = {"cost": "usage at effective cost", "bank": "booked money out"}.get(source.name, "payments")
    title = f"{source.name.capitalize()} from {figure.start} to before {figure.end}{where}"
    formula = f"sum of {count:,} rows of {source.name} ({kept}) from {figure.start} to before {figure.end}{where}"
    return Traced(title, amount, figure.currency, Evidence(formula, parts_of(parts, amount), (), rows, count))


async def of_budget(asking: Asking, figure: BudgetFigure) -> Traced:
    """Say what an amount of a budget's state is made of."""
    status = await budgets.status(
        asking.tx, asking.actor, id_=figure.budget, lake=asking.lake, now=asking.now, day=figure.day,
        paid=budgets.Paid(promises.paid),
    )  # fmt: skip
    one, actual = status.budget, status.actual
    values = tuple((name, value) for name, several in one.filter.items() for value in several)
    places = exponent(figure.currency)
    wanted = SpentFigure(one.source, status.period.start, status.period.end, figure.currency, places, values)
    inside = replace(asking, actor=replace(asking.actor, rights=asking.actor.rights | {"series:read"}))
    if figure.part == "actual":
        return (await of_spent(inside, wanted, decided=True)).titled(f"{one.name}: spent in {status.period}")
    amount: Money | None = status.end if figure.part == "end" else getattr(status, figure.part, None)
    if amount is None:
        raise Invalid("Nothing is forecast for this budget any more.", "Ask for the budget's status again.")
    title = f"{one.name}: {figure.part} in {status.period}"
    if figure.part in {"allowed", "carried"}:
        allowed = [("set for the period", one.amount.amount)] if figure.part == "allowed" else []
        parts = parts_of([*allowed, ("carried over from earlier periods", status.carried.amount)], amount.amount)
        formula = f"{one.amount} each {one.cadence}, carrying over: {one.roll_over}"
        return Traced(title, amount.amount, amount.currency, Evidence(formula, parts))
    if figure.part == "committed":
        asking.actor.must("cost:read" if one.source == "cost" else "ledger:read")
        rows = await _written(asking, status.commitments)
        parts = parts_of([(due.claim.label, due.money.amount) for due in status.commitments], amount.amount)
        evidence = Evidence(f"{FORMULA}. {' '.join(status.notes)}", parts, (), rows, len(status.commitments))
        return Traced(title, amount.amount, amount.currency, evidence)
    spent = await of_spent(inside, wanted, decided=True)
    more = amount - status.sure
    rest = [("committed", status.committed.amount), ("forecast of the rest beyond it", more.amount)]
    parts = parts_of([("spent so far", actual.amount), *rest], amount.amount)
    until = f" until {status.known_until}" if status.known_until else ""
    formula = (
        f"what was spent{until} plus the stored forecast of the days that are missing; never less than what was spent and"
        " is committed"
    )
    return Traced(title, amount.amount, amount.currency, replace(spent.evidence, formula=formula, parts=parts))


async def _written(asking: Asking, dues: Sequence[Due]) -> tuple[SourceRow, ...]:
    """Return where the largest commitments are written, with what of each falls due."""
    top = sorted(dues, key=lambda due: -due.money.minor)[:ROWS_MAX]
    files = await files_of(asking, [due.claim.origin.batch for due in top])
    return tuple(
        replace(
            due.claim.origin,
            file=files.get(due.claim.origin.batch, due.claim.origin.file),
            text=due.claim.label,
            amount=due.money.amount,
            currency=due.money.currency,
        )
        for due in top
    )


async def of_total(asking: Asking, figure: TotalFigure) -> Traced:
    """Say which findings money worth acting on is the sum of; overlaps are counted once."""
    inbox = await findings.inbox(asking.tx, asking.actor, confidence_min=float(figure.confidence_min))
    mine = [kept for kept in inbox if kept.counted.minor > 0 and kept.counted.currency == figure.currency]
    parts = []
    for kept in mine:
        [one] = findings.totals([kept])
        parts.append(Part(f"{kept.name} {kept.finding.title}", getattr(one, figure.part).amount))
    amount = sum((part.amount for part in parts), Decimal(0))
    sure = f"{figure.confidence_min:.0%}"
    formula = f"sum over {len(mine)} open findings at least {sure} sure; what overlaps is counted once"
    title = f"Money worth acting on ({figure.part})"
    return Traced(title, amount, figure.currency, Evidence(formula, tuple(parts)))
