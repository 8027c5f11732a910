"""Use cases of banking: what the statements say that is worth acting on."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import polars as pl

from bursar.core.intake import service as intake
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Finding, SourceRow
from bursar.kernel.lines import BANK_LINES, PAYMENT_LINES
from bursar.parts.banking.rules import findings as rules
from bursar.parts.banking.rules.doubles import Double, doubles, untold
from bursar.parts.banking.rules.findings import RowKey
from bursar.parts.banking.rules.oddities import Moved, Unusual, creep, moved, trial, twins, unusual
from bursar.parts.banking.rules.payables import repeated
from bursar.parts.banking.rules.payees import payee_key, payee_label
from bursar.parts.banking.rules.recurring import Recurring, Rise, price_rise, recurring

KINDS = rules.KINDS
"""Every kind of finding this part raises."""

NEW_WITHIN_DAYS = 200
"""A subscription that began within this many days before the newest booking counts as new."""

YEARLY_SOON_DAYS = 120
YEARLY_LEAST = Decimal(1000)
"""A yearly payment of at least this much that falls due within :data:`YEARLY_SOON_DAYS` is worth a reminder."""

UNUSUAL_WITHIN_DAYS = 200
"""How far back an unusual payment is still told."""

CREEP_MONTHS_SKIPPED = 60
"""Fees that began in the first days of the statements may be older than they look; they do not count as added."""


async def movements(tx: Tx, actor: Actor, *, lake: Lake) -> pl.DataFrame:
    """Return the booked bank movements of the organisation with payee key, label and reference key.

    Returns:
        The columns of ``BANK_LINES`` that rules need, plus ``batch``, ``payee``, ``label``, ``reference_key``.
    """
    actor.must("bank:read")
    lines = await lake.scan(tx, BANK_LINES)
    if "batch" not in lines.collect_schema().names():
        lines = lines.with_columns(pl.lit("").alias("batch"))
    reference = pl.coalesce(
        pl.col("reference").replace("", None), pl.col("end_to_end_id").replace("", None), pl.lit("")
    )
    return (
        lines.filter(pl.col("status") == "booked")
        .select(
            "account",
            "booking_date",
            "amount",
            "currency",
            "description",
            pl.col("counterparty_account").fill_null(""),
            "batch",
            "row",
            payee_key().alias("payee"),
            payee_label().alias("label"),
            reference.str.to_uppercase().str.replace_all(r"[^A-Z0-9]", "").alias("reference_key"),
        )
        .collect()
    )


async def advise(tx: Tx, actor: Actor, *, lake: Lake) -> list[Finding]:
    """Return what the bank statements and lists of payments show to be worth a look."""
    lines = await movements(tx, actor, lake=lake)
    if lines.is_empty():
        return await _payables(tx, actor, lake, booked=())
    newest: date = lines["booking_date"].max()  # type: ignore[assignment]
    oldest: date = lines["booking_date"].min()  # type: ignore[assignment]
    series = recurring(lines)
    seen = _Seen.of(lines, series, oldest, newest)
    told = await _payables(tx, actor, lake, booked=seen.pairs)
    sources = await _sources(tx, actor, lines, seen.rows())
    return [
        *told,
        *(rules.of_double(pair, sources) for pair in seen.pairs),
        *(rules.of_rise(rise, sources) for rise in seen.rises),
        *(rules.of_subscription(one, sources) for one in seen.fresh),
        *(rules.of_missing(one, sources, newest) for one in seen.late),
        *(rules.of_unusual(odd, sources) for odd in seen.odd),
        *(rules.of_moved(change, sources) for change in seen.moves),
        *(rules.of_trial(one, sources) for one in seen.trials),
        *(rules.of_twins(first, second, sources) for first, second in seen.twins),
        *(rules.of_creep(account, fees, sources) for account, fees in seen.creeping.items()),
        *(rules.of_yearly(one, sources) for one in seen.yearly),
    ]


async def _payables(tx: Tx, actor: Actor, lake: Lake, *, booked: Sequence[Double]) -> list[Finding]:
    """Return what lists of payments show: invoices that may have been paid twice, beyond what bank lines tell."""
    columns = ("day", "amount", "currency", "supplier", "description", "category", "department", "row")
    lines = await lake.scan(tx, PAYMENT_LINES)
    if "batch" not in lines.collect_schema().names():
        return []
    paid = await asyncio.to_thread(lambda: lines.select(*columns, "batch").collect(engine="streaming"))
    pairs = untold(await asyncio.to_thread(repeated, paid), booked)
    named = paid.select(
        "batch",
        "row",
        "currency",
        pl.col("day").alias("booking_date"),
        pl.col("supplier").alias("label"),
        -pl.col("amount"),
    )
    sources = await _sources(tx, actor, named, {row for pair in pairs for row in pair.rows})
    return [rules.of_double(pair, sources) for pair in pairs]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the rules saw in one pass."""

    pairs: list[Double]
    rises: list[Rise]
    fresh: list[Recurring]
    late: list[Recurring]
    odd: list[Unusual]
    moves: list[Moved]
    trials: list[Recurring]
    twins: list[tuple[Recurring, Recurring]]
    creeping: dict[str, list[Recurring]]
    yearly: list[Recurring]

    @classmethod
    def of(cls, lines: pl.DataFrame, series: list[Recurring], oldest: date, newest: date) -> "_Seen":
        """Run every rule; one fee is told once: as a trial, as part of the creep, or as new."""
        alive = [one for one in series if one.alive(newest)]
        rises = [rise for one in alive if (rise := price_rise(one))]
        trials = [one for one in alive if trial(one) and (one.days[0] - oldest).days > CREEP_MONTHS_SKIPPED]
        started = [one for one in alive if one not in trials]
        creeping = creep(started, since=oldest + timedelta(days=CREEP_MONTHS_SKIPPED))
        told = {id(one) for fees in creeping.values() for one in fees} | {id(rise.series) for rise in rises}
        return cls(
            pairs=doubles(lines, series),
            rises=rises,
            fresh=[one for one in started if id(one) not in told and _is_new_subscription(one, oldest, newest)],
            late=[one for one in series if _is_missing_income(one, newest)],
            odd=[
                odd for one in alive if id(one) not in told and (odd := unusual(one, within_days=UNUSUAL_WITHIN_DAYS))
            ],
            moves=moved(lines),
            trials=trials,
            twins=twins(alive),
            creeping=creeping,
            yearly=[one for one in _yearly(lines) if _falls_due(one, newest)],
        )

    def rows(self) -> set[RowKey]:
        """Return every row that a finding will name."""
        named = {row for pair in self.pairs for row in pair.rows} | {change.row for change in self.moves}
        named |= {row for fees in self.creeping.values() for one in fees for row in one.rows}
        named |= {row for pair in self.twins for one in pair for row in one.rows}
        several = (self.fresh, self.late, self.trials, self.yearly, [rise.series for rise in self.rises])
        named |= {row for group in several for one in group for row in one.rows}
        return named | {row for odd in self.odd for row in odd.series.rows}


def _yearly(lines: pl.DataFrame) -> list[Recurring]:
    """Return large payments that came twice, a year apart: too few for a series, enough for a reminder."""
    groups = (
        lines.filter(pl.col("amount") <= -YEARLY_LEAST)
        .sort("booking_date")
        .group_by("account", "payee", "currency", maintain_order=True)
    )
    found = []
    for row in groups.agg(pl.col("label").last(), "booking_date", "amount", "batch", "row").iter_rows(named=True):
        days: list[date] = row["booking_date"]
        if len(days) == 2 and abs((days[1] - days[0]).days - 365) <= 20:
            rows = tuple(zip(row["batch"], row["row"], strict=True))
            found.append(
                Recurring(
                    row["account"],
                    row["payee"],
                    row["label"],
                    row["currency"],
                    "yearly",
                    1,
                    365,
                    tuple(days),
                    tuple(row["amount"]),
                    rows,
                    1.0,
                )
            )
    return found


def _falls_due(one: Recurring, newest: date) -> bool:
    return 0 <= (one.next_day - newest).days <= YEARLY_SOON_DAYS


def _is_new_subscription(one: Recurring, oldest: date, newest: date) -> bool:
    began = one.days[0]
    return (
        one.amounts[-1] < 0
        and one.varies <= 0.02
        and one.alive(newest)
        and (newest - began).days <= NEW_WITHIN_DAYS
        and (began - oldest).days > NEW_WITHIN_DAYS
    )


def _is_missing_income(one: Recurring, newest: date) -> bool:
    late_days = (newest - one.next_day).days
    return (
        one.amounts[-1] > 0
        and len(one.days) >= 6
        and one.regularity >= 0.9
        and one.gap_days * 0.3 < late_days <= one.gap_days * 2
    )


async def _sources(tx: Tx, actor: Actor, lines: pl.DataFrame, named: set[RowKey]) -> dict[RowKey, SourceRow]:
    """Return evidence rows for (batch, row) pairs, with file name and text."""
    files = await intake.file_names(tx, actor, batches=[UUID(batch) for batch in {batch for batch, _ in named}])
    wanted = pl.DataFrame(sorted(named), schema={"batch": pl.String, "row": pl.Int64}, orient="row")
    rows = lines.join(wanted, on=["batch", "row"], how="inner")
    return {
        (row["batch"], row["row"]): SourceRow(
            batch=row["batch"],
            file=files.get(UUID(row["batch"]), ""),
            row=row["row"],
            text=f"{row['booking_date']} {row['label']}",
            amount=row["amount"],
            currency=row["currency"],
        )
        for row in rows.iter_rows(named=True)
    }
