"""Use cases of banking: what the statements say that is worth acting on."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import polars as pl

from bursar.core.intake import service as intake
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Evidence, Finding, Part, SourceRow
from bursar.kernel.lines import BANK_LINES
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.parts.banking.rules.doubles import Double, doubles
from bursar.parts.banking.rules.payees import payee_key, payee_label
from bursar.parts.banking.rules.recurring import Recurring, Rise, price_rise, recurring

DUPLICATE = "banking.duplicate_payment"
PRICE_RISE = "banking.price_rise"
NEW_SUBSCRIPTION = "banking.new_subscription"
MISSING_INCOME = "banking.missing_income"
KINDS = (DUPLICATE, PRICE_RISE, NEW_SUBSCRIPTION, MISSING_INCOME)
"""Every kind of finding this part raises."""

NEW_WITHIN_DAYS = 200
"""A subscription that began within this many days before the newest booking counts as new."""

ROWS_SHOWN_MAX = 50
"""Most source rows kept as evidence of one finding."""


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
            "batch",
            "row",
            payee_key().alias("payee"),
            payee_label().alias("label"),
            reference.str.to_uppercase().str.replace_all(r"[^A-Z0-9]", "").alias("reference_key"),
        )
        .collect()
    )


async def advise(tx: Tx, actor: Actor, *, lake: Lake) -> list[Finding]:
    """Return what the bank statements show: payments made twice, price rises, new subscriptions, missing income."""
    lines = await movements(tx, actor, lake=lake)
    if lines.is_empty():
        return []
    series = recurring(lines)
    newest: date = lines["booking_date"].max()  # type: ignore[assignment]
    oldest: date = lines["booking_date"].min()  # type: ignore[assignment]
    pairs = doubles(lines, series)
    rises = [rise for one in series if one.alive(newest) and (rise := price_rise(one))]
    risen = {(rise.series.account, rise.series.payee) for rise in rises}
    fresh = [
        one for one in series if _is_new_subscription(one, oldest, newest) and (one.account, one.payee) not in risen
    ]
    late = [one for one in series if _is_missing_income(one, newest)]
    named = {row for pair in pairs for row in pair.rows}
    named |= {row for one in (*(rise.series for rise in rises), *fresh, *late) for row in one.rows}
    sources = await _sources(tx, actor, lines, named)
    return [
        *(_of_double(pair, sources) for pair in pairs),
        *(_of_rise(rise, sources) for rise in rises),
        *(_of_subscription(one, sources) for one in fresh),
        *(_of_missing(one, sources) for one in late),
    ]


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


RowKey = tuple[str, int]
"""Batch and line of the file."""


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


def _rows(keys: Sequence[RowKey], sources: dict[RowKey, SourceRow]) -> tuple[SourceRow, ...]:
    return tuple(sources[key] for key in keys[-ROWS_SHOWN_MAX:] if key in sources)


def _of_double(pair: Double, sources: dict[RowKey, SourceRow]) -> Finding:
    worth = Money.rounded(pair.amount, pair.currency)
    first, second = pair.days
    return Finding(
        kind=DUPLICATE,
        subject=f"{pair.account}/{pair.payee}/{pair.amount.normalize():f}/{second}",
        period=Period(first, second + timedelta(days=1)),
        title=f"Paid twice to {pair.label}",
        worth=worth,
        low=Money(0, pair.currency) if pair.sure < 0.9 else worth,
        high=worth,
        confidence=pair.sure,
        action=f"Ask {pair.label} for the second payment of {second} back.",
        evidence=Evidence(
            formula=f"two payments of the same amount, {(second - first).days} days apart: {pair.why}",
            parts=(
                Part("paid", pair.amount * 2),
                Part("owed", -pair.amount),
            ),
            rows=_rows(pair.rows, sources),
            rows_total=2,
        ),
        recurring=False,
    )


def _of_rise(rise: Rise, sources: dict[RowKey, SourceRow]) -> Finding:
    one = rise.series
    extra = (rise.after - rise.before) * one.per_year
    worth = Money.rounded(extra, one.currency)
    share = (rise.after / rise.before - 1) * 100
    return Finding(
        kind=PRICE_RISE,
        subject=f"{one.account}/{one.payee}",
        period=Period(one.days[rise.at - 1], one.days[-1] + timedelta(days=1)),
        title=f"{one.label} became {share:.0f} % dearer",
        worth=worth,
        low=Money(0, one.currency),
        high=worth,
        confidence=0.85,
        action=f"Negotiate or cancel {one.label} before {one.next_day}.",
        evidence=Evidence(
            formula=f"({rise.after:f} - {rise.before:f}) {one.cadence}, {one.per_year} times a year",
            parts=(
                Part(f"{one.per_year} payments of {rise.after:f}", rise.after * one.per_year),
                Part(f"{one.per_year} payments of {rise.before:f} before", -rise.before * one.per_year),
            ),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
            chart={"x": [str(day) for day in one.days], "y": [str(-amount) for amount in one.amounts]},
        ),
        cost_basis=Money.rounded(rise.after * one.per_year, one.currency),
        effort="medium",
        due=one.next_day,
    )


def _of_subscription(one: Recurring, sources: dict[RowKey, SourceRow]) -> Finding:
    yearly = -one.amounts[-1] * one.per_year
    worth = Money.rounded(yearly, one.currency)
    return Finding(
        kind=NEW_SUBSCRIPTION,
        subject=f"{one.account}/{one.payee}",
        period=Period(one.days[0], one.days[-1] + timedelta(days=1)),
        title=f"New {one.cadence} subscription: {one.label}",
        worth=worth,
        low=Money(0, one.currency),
        high=worth,
        confidence=0.4,
        action=f"Check that somebody owns and uses {one.label}; cancel it before {one.next_day} if not.",
        evidence=Evidence(
            formula=f"{-one.amounts[-1]:f} {one.cadence}, {one.per_year} times a year, first paid {one.days[0]}",
            parts=(Part(f"{one.per_year} payments of {-one.amounts[-1]:f}", yearly),),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
        ),
        cost_basis=worth,
        due=one.next_day,
    )


def _of_missing(one: Recurring, sources: dict[RowKey, SourceRow]) -> Finding:
    middle = sorted(one.amounts)[len(one.amounts) // 2]
    worth = Money.rounded(middle, one.currency)
    low = Money.rounded(Decimal(min(one.amounts)), one.currency)
    high = Money.rounded(Decimal(max(one.amounts)), one.currency)
    return Finding(
        kind=MISSING_INCOME,
        subject=f"{one.account}/{one.payee}/{one.next_day}",
        period=Period(one.days[-1], one.next_day + timedelta(days=1)),
        title=f"{one.label} has not paid since {one.days[-1]}",
        worth=worth,
        low=low,
        high=high,
        confidence=0.75,
        action=f"Remind {one.label}: a {one.cadence} payment was due on {one.next_day}.",
        evidence=Evidence(
            formula=f"median of {len(one.amounts)} {one.cadence} payments; the next was due on {one.next_day}",
            parts=(Part("median payment", middle),),
            rows=_rows(one.rows, sources),
            rows_total=len(one.rows),
        ),
        recurring=False,
    )
