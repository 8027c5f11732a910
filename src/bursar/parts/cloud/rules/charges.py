"""Findings about charges rather than resources: unused commitments, doubles, spend without tags, jumps of data transfer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

import polars as pl

from bursar.kernel.finding import Evidence, Finding, Part, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.parts.cloud.rules.netting import PRECISION, floored
from bursar.parts.cloud.rules.savings import DAYS_A_YEAR, Rows, yearly
from bursar.parts.cloud.rules.waste import MONEY_FLOOR

UNUSED_SHARE_MIN = Decimal("0.02")
"""A commitment that is used to 98 % is well used."""

UNTAGGED_SHARE_MIN = Decimal("0.05")
DOUBLE_CONFIDENCE = 0.5
TRANSFER_WORDS = ("transfer", "egress", "bandwidth", "-out-bytes", "data processed")
TRANSFER_RATIO = 2
TRANSFER_DAYS = 7
"""The last week is compared with the days before it."""

TRANSFER_HISTORY_MIN = 14


@dataclass(frozen=True, slots=True)
class _Words:
    kind: str
    title: str
    action: str
    formula: str


def _worth(
    words: _Words, *, subject: str, period: Period, amounts: tuple[Decimal, Decimal, Decimal], currency: str,
    basis: Decimal, confidence: float, parts: tuple[Part, ...], rows: tuple[Sequence[SourceRow], int],
    recurring: bool = True,
) -> Finding:  # fmt: skip
    low, worth, high = (floored(amount, currency) for amount in amounts)
    return Finding(
        kind=words.kind,
        subject=subject,
        period=period,
        title=words.title[:120],
        worth=worth,
        low=low,
        high=high,
        confidence=confidence,
        action=words.action,
        evidence=Evidence(words.formula, parts, rows=tuple(rows[0]), rows_total=rows[1]),
        recurring=recurring,
        cost_basis=Money.rounded(basis, currency),
        resource=subject,
    )


def unused_commitments(uses: pl.DataFrame, period: Period, rows: Rows) -> list[Finding]:
    """Return commitments of which more than 2 % was paid for and not used."""
    named = uses.filter(pl.col("commitment_discount_id").is_not_null())
    unused = pl.col("cost").filter(pl.col("commitment_discount_status") == "Unused").sum()
    used = pl.col("cost").filter(pl.col("commitment_discount_status") == "Used").sum()
    found = named.group_by("provider", "commitment_discount_id", "currency", maintain_order=True).agg(
        unused.alias("unused"), used.alias("used")
    )
    told = []
    for row in found.iter_rows(named=True):
        whole = row["used"] + row["unused"]
        if row["unused"] <= 0 or row["unused"] < UNUSED_SHARE_MIN * whole:
            continue
        lost, basis = yearly(row["unused"], period), yearly(whole, period)
        if lost < MONEY_FLOOR:
            continue
        name = row["commitment_discount_id"]
        share = row["unused"] / whole
        words = _Words(
            "cloud.unused_commitment",
            f"Commitment {name.rsplit('/', 1)[-1][:60]} is paid for but {share:.0%} of it is not used",
            "Move fitting workloads onto it, exchange or sell it, and do not renew it at this size.",
            f"unused {row['unused']:.2f} of {whole:.2f} {row['currency']} in {period.days} days x {DAYS_A_YEAR} / {period.days}",
        )
        with localcontext(prec=PRECISION):
            amounts = (lost / 2, lost, lost)
        parts = (Part("paid for a year", basis), Part("used", lost - basis))
        told.append(
            _worth(words, subject=f"{row['provider']}/{name}", period=period, amounts=amounts, currency=row["currency"],
                   basis=basis, confidence=0.9, parts=_exact(parts, lost, row["currency"]), rows=rows(name))
        )  # fmt: skip
    return told


def _exact(parts: tuple[Part, ...], amount: Decimal, currency: str) -> tuple[Part, ...]:
    """Return ``parts`` in minor units so that they sum exactly to the floored ``amount``."""
    first = Money.rounded(parts[0].amount, currency).amount
    return (Part(parts[0].label, first), Part(parts[1].label, floored(amount, currency).amount - first))


def doubles(frame: pl.DataFrame, period: Period, rows: Rows) -> list[Finding]:
    """Return resources billed twice for the same thing at the same time, from the query of the same name."""
    told = []
    grouped = frame.with_columns(
        ((pl.col("times") - 1).cast(pl.Decimal(38, 0)) * pl.col("billed_cost")).cast(pl.Decimal(38, 15)).alias("extra")
    ).group_by("provider", "sub_account_id", "resource_id", "service_name", "currency", maintain_order=True)
    for row in grouped.agg(pl.col("extra").sum(), pl.len().alias("pairs")).iter_rows(named=True):
        subject = f"{row['provider']}/{row['sub_account_id'] or ''}/{row['resource_id']}"
        words = _Words(
            "cloud.duplicate_charge",
            f"{row['service_name'] or 'A service'} bills {row['resource_id'].rsplit('/', 1)[-1][:60]} twice for the same hours",
            "Compare the lines and claim the difference, or import the export without its repeated part.",
            f"{row['pairs']} lines appear again with every column equal; each repetition counts once",
        )
        parts = (Part("charged more than once", floored(row["extra"], row["currency"]).amount),)
        told.append(
            _worth(words, subject=subject, period=period, amounts=(Decimal(0), row["extra"], row["extra"]),
                   currency=row["currency"], basis=row["extra"], confidence=DOUBLE_CONFIDENCE, parts=parts,
                   rows=rows(row["resource_id"]), recurring=False)
        )  # fmt: skip
    return told


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
    told = []
    for row in found.iter_rows(named=True):
        spend = yearly(row["bare"], period)
        if spend < MONEY_FLOOR or row["bare"] < UNTAGGED_SHARE_MIN * row["cost"]:
            continue
        words = _Words(
            "cloud.untagged_spend",
            f"{row['resources']} resources of account {row['sub_account_id'] or '(none)'} carry no tag",
            "Tag them with an owner, or give the account a default owner.",
            f"{row['bare']:.2f} of {row['cost']:.2f} {row['currency']} in {period.days} days has no tag ({row['bare'] / row['cost']:.0%})",
        )
        nothing = (Decimal(0), Decimal(0), Decimal(0))
        told.append(
            _worth(words, subject=f"{row['provider']}/{row['sub_account_id'] or ''}/untagged", period=period, amounts=nothing,
                   currency=row["currency"], basis=spend, confidence=0.95, parts=(), rows=((), row["resources"]))
        )  # fmt: skip
    return told


def transfer_jumps(days: pl.DataFrame, period: Period) -> list[Finding]:
    """Return accounts and services whose data transfer of the last week is over twice that of the days before."""
    told = []
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
        told.append(
            _jump(dict(zip(("provider", "account", "service", "currency"), keys, strict=True)), period, now, was)
        )
    return told


def _jump(named: Mapping[str, object], period: Period, now: Decimal, was: Decimal) -> Finding:
    currency = str(named["currency"])
    with localcontext(prec=PRECISION):
        extra = (now - was) * DAYS_A_YEAR
        basis = now * DAYS_A_YEAR
        amounts = (extra / 4, extra, extra)
    words = _Words(
        "cloud.transfer_jump",
        f"Data transfer of {named['service'] or 'a service'} costs {now / was:.1f} times what it did",
        "Find what began to send data out of its zone or region, and move or cache it.",
        f"{now:.2f} {currency} a day in the last {TRANSFER_DAYS} days against {was:.2f} before, x {DAYS_A_YEAR} days",
    )
    parts = (Part("at the present rate, a year", basis), Part("at the former rate", extra - basis))
    subject = f"{named['provider']}/{named['account'] or ''}/{named['service'] or ''}/transfer"
    return _worth(words, subject=subject, period=period, amounts=amounts, currency=currency, basis=basis,
                  confidence=0.6, parts=_exact(parts, extra, currency), rows=((), 0))  # fmt: skip
