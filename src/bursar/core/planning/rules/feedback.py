"""What people said about alerts, and what is planned, turned into what the next scan doubts and leaves out; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np

from bursar.core.findings.service import returns
from bursar.core.planning.calendars.rules import Event
from bursar.core.planning.series.rules import COST, series_id
from bursar.kernel.finding import Finding
from bursar.kernel.money import Money
from bursar.kernel.series import Floats, Panel
from bursar.ml.calendar import Bools

NOISE_STEP = 3.0
"""Each alert on a series that was noise makes its next ones this many times as doubtful, as one more false one would."""

DOUBT_RANGE = (1 / 3, 100.0)

QUIET_DAYS = 14
"""A change on a series that begins this near to one that was dismissed is the same one: scans tell no two of them apart."""


class Said(StrEnum):
    """What a person says about an alert."""

    REAL = "real"
    EXPECTED = "expected"
    NOISE = "noise"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said about one alert on the series ``key``: its days ``first`` to ``last``, its kind and the worth seen."""

    key: str
    said: Said
    first: date
    last: date
    kind: str = ""
    worth: Money | None = None


def known(finding: Finding, verdicts: Iterable[Verdict]) -> bool:
    """Tell whether a finding is a change that was dismissed, under another kind or date, and worth no more than was seen.

    It begins within :data:`QUIET_DAYS` of the dismissed one on the same series and lasts, or has only days of it. The
    dismissed finding itself is left to the inbox.
    """
    start, last = finding.period.start, finding.period.end - timedelta(days=1)
    return any(
        one.said is not Said.REAL
        and f"series:{one.key}" == finding.resource
        and (one.kind, one.first) != (finding.kind, start)
        and abs(start - one.first) <= timedelta(days=QUIET_DAYS)
        and (finding.recurring or one.first <= start <= last <= one.last)
        and not returns(one.worth, finding.worth)
        for one in verdicts
    )


def learned(panel: Panel, verdicts: Iterable[Verdict], events: Sequence[Event], periods: int) -> tuple[Floats, Bools]:
    """Return what the next scan doubts and leaves out.

    Args:
        panel: Daily cost series that all end on the same day.
        verdicts: What people said.
        events: What is planned; a spike on its days is no news.
        periods: Days scanned.

    Returns:
        Shape (n,): how many times as unlikely an alert must be, 1 without feedback: threefold for each noise, shared by
        the real ones. Shape (n, periods): True on days that were said to be expected, or planned.
    """
    row = {key: at for at, key in enumerate(panel.keys)}
    noise, real = np.zeros(len(panel)), np.zeros(len(panel))
    known = np.zeros((len(panel), periods), dtype=bool)
    begin = panel.ends.max().astype("datetime64[D]") - np.timedelta64(periods, "D")

    def leave_out(at: int | slice, first: date, last: date) -> None:
        from_, to = (int((np.datetime64(day, "D") - begin).astype(int)) for day in (first, last))
        known[at, max(0, from_) : max(0, to + 1)] = True

    for one in verdicts:
        at = row.get(one.key)
        if at is None:
            continue
        noise[at] += one.said is Said.NOISE
        real[at] += one.said is Said.REAL
        if one.said is Said.EXPECTED:
            leave_out(at, one.first, one.last)
    ids = {series_id(COST.name, panel.currency, key): at for at, key in enumerate(panel.keys)}
    for event in events:
        place = ids.get(event.series) if event.series else slice(None)
        if place is None:
            continue
        for day in event.days:
            leave_out(place, day, day)
    doubt: Floats = np.clip(NOISE_STEP**noise / (1 + real), *DOUBT_RANGE)
    return doubt, known
