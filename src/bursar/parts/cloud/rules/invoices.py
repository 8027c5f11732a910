"""Does the invoice say what the lines add up to: to the cent, with the difference explained by kind."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from bursar.kernel.money import Money

ROUNDING = "rounding"
UNSPLIT = "not split by kind"


@dataclass(frozen=True, slots=True)
class Stated:
    """One amount of an invoice as its issuer states it; ``kind`` is empty for a total."""

    month: date
    invoice: str
    kind: str
    currency: str
    amount: Decimal
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Billed:
    """What the lines of one kind add up to."""

    month: date
    invoice: str
    kind: str
    currency: str
    amount: Decimal
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """One invoice against its lines.

    ``difference`` is stated minus billed, exactly; ``by_kind`` sums exactly to it. ``settled`` tells whether the two agree
    once both are rounded to the currency's minor unit.
    """

    month: date
    invoice: str
    currency: str
    stated: Decimal
    billed: Decimal
    by_kind: dict[str, Decimal]
    lines: int
    settled: bool

    @property
    def difference(self) -> Decimal:
        """Stated minus billed."""
        return self.stated - self.billed


def match(stated: Iterable[Stated], billed: Iterable[Billed]) -> list[Match]:
    """Match invoices with lines by invoice number, or by month where the lines carry no number.

    Returns:
        One per stated invoice and currency, by month and number.
    """
    invoices: dict[tuple[date, str, str], list[Stated]] = defaultdict(list)
    for one in stated:
        invoices[one.month, one.invoice, one.currency].append(one)
    lines = list(billed)
    numbered = {line.invoice for line in lines if line.invoice}
    found = []
    for (month, invoice, currency), said in sorted(invoices.items()):
        mine = [
            line
            for line in lines
            if line.currency == currency
            and (line.invoice == invoice if invoice in numbered else line.month == month and not line.invoice)
        ]
        found.append(_matched(month, invoice, currency, said, mine))
    return found


def _matched(month: date, invoice: str, currency: str, said: list[Stated], mine: list[Billed]) -> Match:
    total = sum((one.amount for one in said), Decimal(0))
    summed = sum((line.amount for line in mine), Decimal(0))
    by_kind: dict[str, Decimal] = defaultdict(Decimal)
    settled = Money.rounded(total, currency) == Money.rounded(summed, currency)
    if all(one.kind for one in said):
        for one in said:
            by_kind[one.kind] += one.amount
        for line in mine:
            by_kind[line.kind] -= line.amount
    else:
        by_kind[ROUNDING if settled else UNSPLIT] = total - summed
    kept = {kind: amount for kind, amount in by_kind.items() if amount}
    return Match(month, invoice, currency, total, summed, kept, sum(line.lines for line in mine), settled)
