"""The daily amounts behind a finding, for measuring what acting on it brought; a read model across parts, no rules.

Cost findings are compared by the cost of their resource, series or unused commitment; bank findings by the payments to one
payee. What neither is about cannot be measured by later facts.
"""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from bursar.core.findings.measuring.service import Daily
from bursar.core.planning.rules.series import KEY_SEPARATOR
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.finding import Finding
from bursar.kernel.lines import COST_LINES
from bursar.parts.banking import service as banking

BILL_LATE_DAYS = 2
"""The newest days of a bill are still being filled and do not count."""

SERIES = "series:"
PAYMENTS = "banking."


def daily_of(lake: Lake) -> Callable[[Tx, Actor, Finding], Awaitable[Daily | None]]:
    """Return what reads the daily amounts of a finding from the lake."""

    async def daily(tx: Tx, actor: Actor, finding: Finding) -> Daily | None:
        if finding.kind.startswith(PAYMENTS):
            return await _payments(tx, actor, lake, finding)
        if not finding.recurring:
            return None
        return await _costs(tx, actor, lake, finding)

    return daily


async def _payments(tx: Tx, actor: Actor, lake: Lake, finding: Finding) -> Daily | None:
    """Return payments between the finding's account and payee; a finding about something else has none."""
    lines = await banking.movements(tx, actor, lake=lake)
    pair = pl.concat_str("account", pl.lit("/"), "payee")
    subject = pl.lit(f"{finding.subject}/")
    own = lines.filter(
        (pl.col("currency") == finding.worth.currency) & subject.str.starts_with(pl.concat_str(pair, pl.lit("/")))
    )
    if own.is_empty():
        return None
    account = lines.filter(pl.col("account").is_in(own["account"].unique().implode()))
    start, end = _bounds(account["booking_date"])
    sums = own.group_by("booking_date").agg(-pl.col("amount").sum())
    return Daily(start, end + timedelta(days=1), dict(sums.iter_rows()), block_days=30)


async def _costs(tx: Tx, actor: Actor, lake: Lake, finding: Finding) -> Daily | None:
    """Return the cost of a series, resource or unused commitment, as far as its own provider's bills go."""
    actor.must("cost:read")
    lines = (await lake.scan(tx, COST_LINES)).filter(pl.col("currency") == finding.worth.currency)
    day = pl.col("charge_period_start").dt.date().alias("day")
    cost = pl.coalesce("effective_cost", "billed_cost")
    own = lines.filter(_about(finding)).group_by("provider", "billing_account_id", day).agg(cost.sum())
    found = own.rename({"effective_cost": "cost"}).collect()
    if found.is_empty():
        return None
    usage = lines.filter(pl.col("charge_category") == "Usage").select("provider", "billing_account_id", day)
    scope = found.select("provider", "billing_account_id").unique()
    bills = usage.join(scope.lazy(), on=["provider", "billing_account_id"], how="semi", nulls_equal=True)
    start, end = _bounds(bills.select("day").unique().collect()["day"])
    amounts: dict[date, Decimal] = dict(found.group_by("day").agg(pl.col("cost").sum()).iter_rows())
    return Daily(start, end + timedelta(days=1 - BILL_LATE_DAYS), amounts)


def _about(finding: Finding) -> pl.Expr:
    """Return the condition that a cost line is about the finding."""
    if finding.resource.startswith(SERIES):
        values = finding.resource.removeprefix(SERIES).split(KEY_SEPARATOR, 2)
        account = pl.coalesce("sub_account_id", "billing_account_id").fill_null("(no account)")
        service = pl.col("service_name").replace("", None).fill_null("(no service)")
        columns = (pl.col("provider"), account, service)
        same = [column == value for column, value in zip(columns, values, strict=True)]
        return pl.all_horizontal(pl.col("charge_category") == "Usage", *same)
    name = finding.resource
    unused = pl.col("commitment_discount_status").fill_null("") == "Unused"
    commitment = pl.concat_str("provider", pl.lit("/"), "commitment_discount_id")
    bound = unused & ((pl.col("commitment_discount_id") == name) | (commitment == name))
    return (~unused & (pl.col("resource_id") == name)) | bound


def _bounds(days: pl.Series) -> tuple[date, date]:
    first, last = days.min(), days.max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    return first, last
