"""Findings about charges rather than resources: unused commitments, doubles, spend without tags, jumps of data transfer."""

from collections.abc import Mapping
from decimal import Decimal, localcontext

import polars as pl

from bursar.kernel.finding import Finding, Part
from bursar.kernel.period import Period, add_months
from bursar.parts.cloud.rules.advice import DAYS_A_YEAR, yearly
from bursar.parts.cloud.rules.history import History
from bursar.parts.cloud.rules.netting import PRECISION, floored
from bursar.parts.cloud.rules.savings import Rows
from bursar.parts.cloud.rules.telling import NOTHING, Noticed, Words, exact, line_key, told
from bursar.parts.cloud.rules.waste import MONEY_FLOOR

UNUSED_SHARE_MIN = Decimal("0.02")
"""A commitment that is used to 98 % is well used."""

UNTAGGED_SHARE_MIN = Decimal("0.05")
DOUBLE_CONFIDENCE = 0.5
DOUBLE_EXCEPTIONAL = 0.8
"""The same charge stood once on the bills of most other months."""

DOUBLES_MAX = 100
HABIT_MONTHS_MIN = 3
HABIT_SHARE = 1 / 3
TRANSFER_WORDS = ("transfer", "egress", "bandwidth", "-out-bytes", "data processed")
TRANSFER_RATIO = 2
TRANSFER_DAYS = 7
"""The last week is compared with the days before it."""

TRANSFER_HISTORY_MIN = 14


def unused_commitments(uses: pl.DataFrame, period: Period, rows: Rows) -> list[Finding]:
    """Return commitments of which more than 2 % was paid for and not used."""
    named = uses.filter(pl.col("commitment_discount_id").is_not_null())
    unused = pl.col("cost").filter(pl.col("commitment_discount_status") == "Unused").sum()
    used = pl.col("cost").filter(pl.col("commitment_discount_status") == "Used").sum()
    found = named.group_by("provider", "commitment_discount_id", "currency", maintain_order=True).agg(
        unused.alias("unused"), used.alias("used")
    )
    findings = []
    for row in found.iter_rows(named=True):
        whole = row["used"] + row["unused"]
        if row["unused"] <= 0 or row["unused"] < UNUSED_SHARE_MIN * whole:
            continue
        lost, basis = yearly(row["unused"], period), yearly(whole, period)
        if lost < MONEY_FLOOR:
            continue
        name = row["commitment_discount_id"]
        share = row["unused"] / whole
        words = Words(
            "cloud.unused_commitment",
            f"Commitment {name.rsplit('/', 1)[-1][:60]} is paid for but {share:.0%} of it is not used",
            "Move fitting workloads onto it, exchange or sell it, and do not renew it at this size.",
            f"unused {row['unused']:.2f} of {whole:.2f} {row['currency']} in {period.days} days x {DAYS_A_YEAR} / {period.days}",
        )
        with localcontext(prec=PRECISION):
            amounts = (lost / 2, lost, lost)
        parts = (Part("paid for a year", basis), Part("used", lost - basis))
        findings.append(
            told(words, subject=f"{row['provider']}/{name}", period=period, amounts=amounts, currency=row["currency"],
                   basis=basis, confidence=0.9, parts=exact(parts, lost, row["currency"]), rows=rows(name))
        )  # fmt: skip
    return findings


def doubles(frame: pl.DataFrame, seen: History) -> list[Noticed]:
    """Return charges billed twice for the same thing at the same time, by month, from the query of the same name.

    A vendor that writes a charge on several equal lines in most months does so by habit: those are no doubles.
    """
    if frame.is_empty():
        return []
    extra = ((pl.col("times") - 1).cast(pl.Decimal(38, 0)) * pl.col("billed_cost")).cast(pl.Decimal(38, 15))
    day = pl.col("charge_period_start").cast(pl.Date)
    rows = frame.with_columns(
        extra.alias("extra"), day.alias("day"), day.dt.month_start().alias("month"), line_key().alias("key")
    )
    habit = dict(rows.group_by("key").agg(pl.col("month").n_unique()).iter_rows())
    told_of = []
    who = ("provider", "sub_account_id", "resource_id", "service_name", "sku_meter", "currency", "month")
    sums = (pl.col("extra").sum(), pl.len().alias("pairs"), pl.col("day").min().alias("first"), pl.col("day").max().alias("last"),
            pl.col("key").unique().sort(), pl.col("charge_description").drop_nulls().first().alias("what"))  # fmt: skip
    for row in rows.group_by(*who, maintain_order=True).agg(*sums).iter_rows(named=True):
        usual = [(habit[key], seen.slices.get(key, (0, 1))[1]) for key in row["key"]]
        if any(count > months * HABIT_SHARE and months >= HABIT_MONTHS_MIN for count, months in usual):
            continue
        exceptional = all(months >= HABIT_MONTHS_MIN for _, months in usual)
        name = (row["resource_id"] or row["what"] or row["sku_meter"] or "a charge").rsplit("/", 1)[-1]
        words = Words(
            "cloud.duplicate_charge",
            f"{row['service_name'] or 'A service'} bills {name[:50]} twice for the same time in {row['month']:%b %Y}",
            "Compare the lines and claim the difference, or import the export without its repeated part.",
            f"{row['pairs']} lines appear again with every column equal; each repetition counts once"
            + (", and in most other months there is one" if exceptional else ""),
        )
        period = Period(row["month"], add_months(row["month"], 1))
        parts = (Part("charged more than once", floored(row["extra"], row["currency"]).amount),)
        subject = (
            "/".join(str(row[name] or "") for name in who[:2]) + f"/{row['resource_id'] or row['service_name'] or ''}"
        )
        finding = told(words, subject=subject, period=period, amounts=(NOTHING, row["extra"], row["extra"]),
                       currency=row["currency"], basis=row["extra"], parts=parts, recurring=False,
                       confidence=DOUBLE_EXCEPTIONAL if exceptional else DOUBLE_CONFIDENCE,
                       resource=f"{subject}@{row['month']}")  # fmt: skip
        told_of.append(Noticed(finding, tuple(row["key"]), row["first"], row["last"], billed=True))
    return sorted(told_of, key=lambda one: -one.finding.worth.minor)[:DOUBLES_MAX]


def untagged(uses: pl.DataFrame, period: Period) -> list[Finding]:
    """Return accounts in which a telling share of resources carries no tag; worth nothing by itself, but nobody owns it."""
    bare = pl.col("tags").fill_null("").is_in(["", "{}", "null"])
    named = uses.filter(
        (pl.col("charge_category") == "Usage") & pl.col("resource_id").is_not_null() & (pl.col("cost") > 0)
    )
    found = named.group_by("provider", "sub_account_id", "currency", maintain_order=True).agg(
        pl.col("cost").sum().alias("cost"),
        pl.col("cost").filter(bare).sum().alias("bare"),
        pl.col("resource_id").filter(bare).n_unique().alias("resources"),
    )
    findings = []
    for row in found.iter_rows(named=True):
        spend = yearly(row["bare"], period)
        if spend < MONEY_FLOOR or row["bare"] < UNTAGGED_SHARE_MIN * row["cost"]:
            continue
        words = Words(
            "cloud.untagged_spend",
            f"{row['resources']} resources of account {row['sub_account_id'] or '(none)'} carry no tag",
            "Tag them with an owner, or give the account a default owner.",
            f"{row['bare']:.2f} of {row['cost']:.2f} {row['currency']} in {period.days} days has no tag ({row['bare'] / row['cost']:.0%})",
        )
        nothing = (Decimal(0), Decimal(0), Decimal(0))
        findings.append(
            told(words, subject=f"{row['provider']}/{row['sub_account_id'] or ''}/untagged", period=period, amounts=nothing,
                   currency=row["currency"], basis=spend, confidence=0.95, parts=(), rows=((), row["resources"]))
        )  # fmt: skip
    return findings


def transfer_jumps(days: pl.DataFrame, period: Period) -> list[Finding]:
    """Return accounts and services whose data transfer of the last week is over twice that of the days before."""
    findings = []
    for keys, one in days.sort("day").group_by(
        "provider", "sub_account_id", "service_name", "currency", maintain_order=True
    ):
        recent = one.tail(TRANSFER_DAYS)
        before = one.head(max(len(one) - TRANSFER_DAYS, 0))
        if len(before) < TRANSFER_HISTORY_MIN:
            continue
        now, was = (Decimal(side["cost"].sum()) / len(side) for side in (recent, before))
        extra = (now - was) * DAYS_A_YEAR
        if was <= 0 or now < TRANSFER_RATIO * was or extra < MONEY_FLOOR:
            continue
        findings.append(
            _jump(dict(zip(("provider", "account", "service", "currency"), keys, strict=True)), period, now, was)
        )
    return findings


def _jump(named: Mapping[str, object], period: Period, now: Decimal, was: Decimal) -> Finding:
    currency = str(named["currency"])
    with localcontext(prec=PRECISION):
        extra = (now - was) * DAYS_A_YEAR
        basis = now * DAYS_A_YEAR
        amounts = (extra / 4, extra, extra)
    words = Words(
        "cloud.transfer_jump",
        f"Data transfer of {named['service'] or 'a service'} costs {now / was:.1f} times what it did",
        "Find what began to send data out of its zone or region, and move or cache it.",
        f"{now:.2f} {currency} a day in the last {TRANSFER_DAYS} days against {was:.2f} before, x {DAYS_A_YEAR} days",
    )
    parts = (Part("at the present rate, a year", basis), Part("at the former rate", extra - basis))
    subject = f"{named['provider']}/{named['account'] or ''}/{named['service'] or ''}/transfer"
    return told(words, subject=subject, period=period, amounts=amounts, currency=currency, basis=basis,
                  confidence=0.6, parts=exact(parts, extra, currency), rows=((), 0))  # fmt: skip
