"""Prices, the most a question can cost, what it did cost, and why it cannot be asked; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

import orjson

from bursar.kernel.errors import Invalid
from bursar.kernel.language import Question, Usage
from bursar.kernel.money import decimal_from

MILLION = Decimal(1_000_000)
CACHE_WRITTEN = Decimal("1.25")
CACHE_READ = Decimal("0.1")
BATCHED = Decimal("0.5")
"""Multipliers of the list price: tokens written to and read from the vendor's cache; everything inside a batch."""

OVERHEAD_TOKENS = 2_000
"""What the vendor adds to a question itself (the schema's instructions, roles), at most."""

CURRENCY = "USD"
"""What the vendor charges in."""

CAP_MAX = Decimal(1_000_000)


class WhyNot(StrEnum):
    """Why nothing can be asked now; the books are the same, with more left to people."""

    OFF = "the organisation has not switched language models on"
    NO_KEY = "no key is set"
    NO_MONEY = "the cap of this month is reached"
    OFFLINE = "the vendor did not answer"


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its list prices, in US dollars per million tokens read and written."""

    name: str
    read_usd: Decimal
    written_usd: Decimal


def models_from(entries: Sequence[str]) -> tuple[Model, ...]:
    """Read models with their prices, as ``name=0.10/0.50``; the cheap one first.

    Raises:
        Invalid: An entry has another form, or a price is negative.
    """
    found = []
    for entry in entries:
        name, _, prices = entry.partition("=")
        read, _, written = prices.partition("/")
        try:
            model = Model(name.strip(), decimal_from(read), decimal_from(written))
        except ValueError as error:
            raise Invalid(
                f"{entry[:80]!r} is no model with prices", fix="Write NAME=READ/WRITTEN in USD per million."
            ) from error
        if not model.name or min(model.read_usd, model.written_usd) < 0:
            raise Invalid(f"{entry[:80]!r} is no model with prices")
        found.append(model)
    return tuple(found)


def cap_from(text: str) -> Decimal:
    """Read a monthly cap such as ``25.00 USD``.

    Raises:
        Invalid: It has another form or currency, or is not within 0 and 1,000,000.
    """
    amount, _, currency = text.strip().partition(" ")
    try:
        cap = decimal_from(amount)
    except ValueError as error:
        raise Invalid(f"{text[:80]!r} is no monthly cap", fix="Write for instance 25.00 USD.") from error
    if currency.strip() != CURRENCY:
        raise Invalid("The monthly cap of language models is in USD", fix="The vendor charges in US dollars.")
    check_cap(cap)
    return cap


def check_cap(cap: Decimal) -> None:
    """Refuse a cap below 0 or over 1,000,000."""
    if not 0 <= cap <= CAP_MAX:
        raise Invalid(f"A monthly cap is 0 to {CAP_MAX:,} {CURRENCY}")


def at_most(question: Question, model: Model, *, batch: bool) -> Decimal:
    """Return the most that a question can cost, in USD.

    A token is at least one byte of UTF-8, so the bytes of everything sent bound the tokens read, all of them written to the
    vendor's cache; the answer is bounded by ``tokens_max``.
    """
    sent = len(question.standing.encode()) + len(question.data.encode()) + len(orjson.dumps(dict(question.schema)))
    read = (sent + OVERHEAD_TOKENS) * model.read_usd * CACHE_WRITTEN
    return _charged(read + question.tokens_max * model.written_usd, batch=batch)


def cost_of(usage: Usage, model: Model, *, batch: bool) -> Decimal:
    """Return what a call did cost by the vendor's count, in USD."""
    read = usage.read + usage.cache_written * CACHE_WRITTEN + usage.cache_read * CACHE_READ
    return _charged(read * model.read_usd + usage.written * model.written_usd, batch=batch)


def _charged(dollars_a_million: Decimal, *, batch: bool) -> Decimal:
    return dollars_a_million / MILLION * (BATCHED if batch else 1)


def month_of(now: datetime) -> date:
    """Return the first day of the month, UTC."""
    return now.date().replace(day=1)
