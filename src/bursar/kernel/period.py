"""Half-open periods ``[start, end)`` of days, and the regular calendars series live on."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

MONTHS_A_YEAR = 12

DAY_MIN, DAY_MAX = date(1900, 1, 1), date(2199, 12, 31)
"""The days that may be asked for; what lies outside is a slip, and months are counted one by one."""


class Grain(StrEnum):
    """A regular calendar."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def month_of(day: date) -> date:
    """Return the first day of the month of ``day``."""
    return day.replace(day=1)


def add_months(day: date, months: int) -> date:
    """Return the first day of the month that lies ``months`` after the month of ``day``."""
    index = day.year * MONTHS_A_YEAR + day.month - 1 + months
    return date(index // MONTHS_A_YEAR, index % MONTHS_A_YEAR + 1, 1)


@dataclass(frozen=True, slots=True)
class Period:
    """The days from ``start`` (included) to ``end`` (excluded)."""

    start: date
    end: date

    def __post_init__(self) -> None:
        """Refuse an empty or reversed period."""
        if self.start >= self.end:
            message = f"period {self.start} to {self.end} is empty"
            raise ValueError(message)

    @classmethod
    def month(cls, day: date) -> "Period":
        """Return the calendar month of ``day``."""
        return cls(month_of(day), add_months(day, 1))

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.end - self.start).days

    def __contains__(self, day: date) -> bool:
        """Tell whether ``day`` lies in the period."""
        return self.start <= day < self.end

    def overlaps(self, other: "Period") -> bool:
        """Tell whether the two periods share a day."""
        return self.start < other.end and other.start < self.end

    def months(self) -> Iterator[date]:
        """Yield the first day of every month touched."""
        at = month_of(self.start)
        while at < self.end:
            yield at
            at = add_months(at, 1)

    def __str__(self) -> str:
        """Return for instance ``2026-01-01 to 2026-01-31`` (the last day is included for people)."""
        return f"{self.start} to {self.end - timedelta(days=1)}"
