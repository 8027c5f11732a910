"""How a finding about charges is put into words: amounts rounded down, parts that add up, evidence that is filled in later."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import polars as pl

from bursar.kernel.finding import Evidence, Finding, Part, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period
from bursar.parts.cloud.rules.netting import floored

TITLE_CHARS_MAX = 120
NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Words:
    """What does not depend on amounts: kind, title, action and the calculation in words and figures."""

    kind: str
    title: str
    action: str
    formula: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """A finding whose source rows are still to be fetched.

    Attributes:
        finding: The finding, without rows.
        keys: Keys of its lines (:func:`line_key`).
        start: First day of the lines that show it.
        end: Last day of the lines that show it.
        billed: Whether it is about what was billed, not what it costs spread over time.
    """

    finding: Finding
    keys: tuple[str, ...]
    start: date
    end: date
    billed: bool = False

    def shown(self, rows: Iterable[SourceRow], total: int) -> Finding:
        """Return the finding with its source rows."""
        evidence = replace(self.finding.evidence, rows=tuple(rows), rows_total=total)
        return replace(self.finding, evidence=evidence)


KEY_COLUMNS = (
    "provider", "billing_account_id", "sub_account_id", "service_name", "resource_id", "sku_meter", "pricing_unit",
    "charge_category",
)  # fmt: skip
"""What makes a charge the same charge month after month; of what is no usage its description as well."""

KEY_SEPARATOR = "\x1f"


def line_key() -> pl.Expr:
    """Return the key of a line or of a row of the history: who charges whom for what, on which resource."""
    what = pl.when(pl.col("charge_category") == "Usage").then(pl.lit("")).otherwise(pl.col("charge_description"))
    parts = [pl.col(name).fill_null("") for name in (*KEY_COLUMNS, "currency")]
    return pl.concat_str([*parts, what.fill_null("")], separator=KEY_SEPARATOR)


def told(
    words: Words, *, subject: str, period: Period, amounts: tuple[Decimal, Decimal, Decimal], currency: str,
    basis: Decimal, confidence: float, parts: tuple[Part, ...] = (), rows: tuple[Sequence[SourceRow], int] = ((), 0),
    recurring: bool = True, resource: str = "",
) -> Finding:  # fmt: skip
    """Return a finding of low, expected and high ``amounts``, rounded down to the minor unit."""
    low, worth, high = (floored(amount, currency) for amount in amounts)
    return Finding(
        kind=words.kind,
        subject=subject,
        period=period,
        title=words.title if len(words.title) <= TITLE_CHARS_MAX else words.title[: TITLE_CHARS_MAX - 1] + "…",
        worth=worth,
        low=low,
        high=high,
        confidence=confidence,
        action=words.action,
        evidence=Evidence(words.formula, parts, rows=tuple(rows[0]), rows_total=rows[1]),
        recurring=recurring,
        cost_basis=Money.rounded(basis, currency),
        resource=resource or subject,
    )


def exact(parts: tuple[Part, Part], amount: Decimal, currency: str) -> tuple[Part, ...]:
    """Return ``parts`` in minor units so that they sum exactly to the floored ``amount``."""
    first = Money.rounded(parts[0].amount, currency).amount
    return (Part(parts[0].label, first), Part(parts[1].label, floored(amount, currency).amount - first))
