"""Holidays and planned events of an organisation; pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from bursar.kernel.errors import Invalid, TooLarge
from bursar.ml.calendar import Calendar, named_holidays

EVENTS_MAX = 100
"""Events of one calendar."""

EVENT_DAYS_MAX = 400
"""Days of one event."""

NAME_CHARS_MAX = 80
AMOUNT_MAX = Decimal(10**12)

HOME = {
    "AUD": "AU", "BRL": "BR", "CAD": "CA", "CHF": "CH", "CZK": "CZ", "DKK": "DK", "GBP": "GB", "HUF": "HU", "INR": "IN",
    "JPY": "JP", "MXN": "MX", "NOK": "NO", "NZD": "NZ", "PLN": "PL", "RON": "RO", "SEK": "SE", "SGD": "SG", "ZAR": "ZA",
}  # fmt: skip
"""Whose holidays count for series of a currency while the organisation names no country; a currency of several
countries, or one that bills of everywhere are written in, is not here."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something known in advance.

    Attributes:
        name: The same name on several days is one effect, learned from the days that are over.
        days: When; at least one.
        series: Id of the series that an amount is added to; empty for the total.
        amount: Cost known in advance, major units, for each day; None where the effect is to be learned.
        currency: Of the amount.
    """

    name: str
    days: tuple[date, ...]
    series: str = ""
    amount: Decimal | None = None
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """The calendar of an organisation.

    Attributes:
        country: ISO 3166-1 alpha-2 code; empty for no holidays, None while nobody said: then the currency decides.
        subdivision: State or region.
        events: What is planned.
    """

    country: str | None = None
    subdivision: str = ""
    events: tuple[Event, ...] = ()

    def digest(self) -> str:
        """Return a hash of everything in it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


NOTHING = Planned()


def check(planned: Planned) -> None:
    """Refuse a calendar that cannot be used.

    Raises:
        Invalid: The country or region is not known, or an event is not well formed.
        TooLarge: Too many events, or days of one.
    """
    if planned.country:
        named_holidays(planned.country, planned.subdivision, 2024, 2024)
    elif planned.subdivision:
        raise Invalid("a region needs its country")
    if len(planned.events) > EVENTS_MAX:
        raise TooLarge("a calendar", EVENTS_MAX, "events")
    names = [event.name for event in planned.events]
    if len(set(names)) != len(names):
        raise Invalid("an event comes twice", "Give all its days in one entry.")
    for event in planned.events:
        if not 0 < len(event.name.strip()) <= NAME_CHARS_MAX or "\0" in event.name:
            raise Invalid(f"the name of an event has 1 to {NAME_CHARS_MAX} characters")
        if not event.days:
            raise Invalid(f"the event {event.name} has no day")
        if len(event.days) > EVENT_DAYS_MAX:
            raise TooLarge(f"the event {event.name}", EVENT_DAYS_MAX, "days")
        if (event.amount is None) != (not event.currency):
            raise Invalid(f"the event {event.name} needs an amount with its currency, or neither")
        if event.amount is not None and abs(event.amount) > AMOUNT_MAX:
            raise Invalid(f"the amount of the event {event.name} is beyond {AMOUNT_MAX:.0e}")


def calendar_of(planned: Planned, currency: str) -> tuple[Calendar, tuple[str, ...]]:
    """Return what the models of one currency are told, and the same in words.

    Events with an amount are added to the forecast afterwards; the models are told of the others.
    """
    chosen = planned.country is not None
    country = planned.country if planned.country is not None else HOME.get(currency, "")
    learned = tuple((event.name, event.days) for event in planned.events if event.amount is None)
    notes = []
    if country:
        where = f"{country}-{planned.subdivision}" if planned.subdivision else country
        notes.append(f"public holidays of {where}, " + ("as set" if chosen else f"because it is in {currency}"))
    if learned:
        notes.append("events learned from: " + ", ".join(name for name, _ in learned))
    added = [event.name for event in planned.events if event.amount is not None and event.currency == currency]
    if added:
        notes.append("known amounts added: " + ", ".join(added))
    return Calendar(country, planned.subdivision, learned), tuple(notes)


def to_json(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return events as they are stored."""
    return [
        asdict(event)
        | {
            "days": [day.isoformat() for day in event.days],
            "amount": None if event.amount is None else f"{event.amount:f}",
        }
        for event in events
    ]


def from_json(stored: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Return events from their stored form."""
    return tuple(
        Event(
            one["name"],
            tuple(date.fromisoformat(day) for day in one["days"]),
            one["series"],
            None if one["amount"] is None else Decimal(one["amount"]),
            one["currency"],
        )
        for one in stored
    )
