"""Which period a digest tells, and what it says; pure."""

from collections.abc import Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from bursar.core.findings.rules import Kept, totals
from bursar.kernel.period import Period

TOLD_MAX = 20
"""Findings named in one digest; the rest is counted."""

SURE_MIN = 0.6


class Every(StrEnum):
    """How often a digest comes."""

    DAY = "day"
    WEEK = "week"


def told_on(every: Every, today: date) -> Period | None:
    """Return the period that ended before ``today`` and is told then: yesterday, or on Mondays the last week."""
    if every is Every.DAY:
        return Period(today - timedelta(days=1), today)
    return Period(today - timedelta(days=7), today) if today.weekday() == 0 else None


def facts_of(found: Sequence[Kept], period: Period, every: Every, *, organisation: str, link: str) -> dict[str, Any]:
    """Return what the template needs: totals and the dearest findings, amounts as text."""
    sums = totals([kept for kept in found if kept.counted.minor > 0])
    return {
        "organisation": organisation,
        "every": every.value,
        "period": str(period),
        "count": len(found),
        "totals": [f"{total.worth.amount:,.2f} {total.currency}" for total in sums],
        "findings": [
            {
                "id": kept.name,
                "title": kept.finding.title,
                "worth": f"{kept.counted.amount:,.2f} {kept.counted.currency}",
                "often": "a year" if kept.finding.recurring else "once",
                "sure": f"{kept.finding.confidence:.0%}",
                "action": kept.finding.action,
            }
            for kept in found[:TOLD_MAX]
        ],
        "more": max(0, len(found) - TOLD_MAX),
        "link": link,
    }
