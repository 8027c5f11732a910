"""Invoices that accounts payable may have paid twice, in exports that name no invoice."""

from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from bursar.parts.banking.rules.doubles import WINDOW_DAYS, Double

FLOOR = Decimal(1000)
"""Smallest amount, in major units, worth asking a supplier about."""

LOOK_BACK_DAYS = 6 * 365
"""Older payments are not told: hardly anywhere can they still be claimed back."""

PAYMENTS_MIN = 6
"""A supplier needs this many payments before two equal ones are odd."""

PAIRS_MAX = 20
"""Pairs told, the largest first."""

SURE = 0.4
"""Without invoice numbers a pair is a question, not an answer: equal instalments look the same."""

NAMELESS = r"(?i)^$|redact|withheld|confidential|personal data|individual|various"
"""Suppliers whose names hide several."""

KEY = ("supplier", "currency", "amount")


def repeated(lines: pl.DataFrame) -> list[Double]:
    """Find pairs of equal, uneven amounts that one department paid one supplier within days, once.

    A pair counts when the amount has a fraction, occurs exactly twice for the supplier, for the same category and
    department, at most :data:`~…doubles.WINDOW_DAYS` apart, was not credited, and the supplier has no other such pair:
    who has several is paid in equal instalments.

    Args:
        lines: ``day``, ``amount`` (out positive), ``currency``, ``supplier``, ``description``, ``category``,
            ``department``, ``batch``, ``row``.

    Returns:
        At most :data:`PAIRS_MAX` pairs, the largest amount first.
    """
    newest = lines["day"].max()
    if not isinstance(newest, date):
        return []
    named = lines.with_columns(
        pl.col("supplier").fill_null("").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars(),
        pl.col("supplier").fill_null("").str.strip_chars().alias("label"),
    ).filter(~pl.col("supplier").str.contains(NAMELESS))
    uneven = (pl.col("amount") >= FLOOR) & (pl.col("amount") % 1 != 0)
    groups = (
        named.filter(uneven)
        .sort("day", "batch", "row")
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.len().alias("times"),
            pl.struct("description", "category", "department").n_unique().alias("purposes"),
            pl.col("day", "batch", "row"),
            pl.col("label", "department").first(),
        )
        .filter((pl.col("times") == 2) & (pl.col("purposes") == 1))
        .filter((pl.col("day").list.last() - pl.col("day").list.first()) <= timedelta(days=WINDOW_DAYS))
    )
    credited = named.filter(pl.col("amount") < 0).select("supplier", "currency", -pl.col("amount")).unique()
    often = named.group_by("supplier").len().filter(pl.col("len") >= PAYMENTS_MIN)
    odd = (
        groups.join(credited, on=list(KEY), how="anti")
        .join(often, on="supplier", how="semi")
        .filter(pl.len().over("supplier") == 1)
        .filter(pl.col("day").list.last() > newest - timedelta(days=LOOK_BACK_DAYS))
        .sort("amount", "supplier", descending=[True, False])
        .head(PAIRS_MAX)
    )
    return [
        Double(
            account=row["department"] or "",
            payee=row["supplier"],
            label=row["label"],
            currency=row["currency"],
            amount=row["amount"],
            days=(row["day"][0], row["day"][1]),
            rows=((row["batch"][0], row["row"][0]), (row["batch"][1], row["row"][1])),
            reference="",
            sure=SURE,
            why="an uneven amount that this supplier was paid twice and never else; the export names no invoice",
        )
        for row in odd.iter_rows(named=True)
    ]
