"""One piece of advice on one resource before netting, and how amounts of a period become a year's."""

from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from bursar.kernel.finding import PriceUsed
from bursar.kernel.period import Period
from bursar.parts.cloud.rules.netting import PRECISION, Saving

DAYS_A_YEAR = 365
NAME_CHARS_MAX = 60


@dataclass(frozen=True, slots=True)
class Advice:
    """A saving with the words around it.

    ``prices`` are those the share rests on; ``resource_id`` finds the source rows; advice of one ``group`` is told as one.
    """

    saving: Saving
    title: str
    action: str
    formula: str
    resource_id: str
    effort: str = "low"
    risk: str = "low"
    prices: tuple[PriceUsed, ...] = field(default_factory=tuple)
    group: str = ""


def yearly(amount: Decimal, period: Period) -> Decimal:
    """Return ``amount`` of ``period`` as a year of 365 days."""
    with localcontext(prec=PRECISION):
        return amount * DAYS_A_YEAR / period.days


def short(name: str) -> str:
    """Return the end of a long name."""
    tail = name.rsplit("/", 1)[-1] if len(name) > NAME_CHARS_MAX else name
    return tail if len(tail) <= NAME_CHARS_MAX else "…" + tail[-(NAME_CHARS_MAX - 1) :]
