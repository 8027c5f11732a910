"""What is expected in the next thirteen weeks: payments, the rest by week, the path of the balance and its intervals. Pure."""

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

from bursar.kernel.series import Floats
from bursar.ml.conformal import held_out_coverage, intervals
from bursar.parts.banking.rules.recurring import Recurring, recurring

WEEKS = 13
DAYS = 7 * WEEKS
ORIGINS_MAX = 5
"""Earlier origins at which the procedure is tried; each costs one forecast of the rest."""
ORIGIN_STEP_WEEKS = 7
HISTORY_WEEKS_MIN = 12
"""Weeks an account is known before an origin counts for it."""
HISTORY_WEEKS_MAX = 156
SCALE_WEEKS = 26
AMOUNTS_LOOKED = 6
"""The next payment of a series is the median of this many."""
OVERDUE_SHARE = 0.5
"""An expected payment that is late by more than this share of its gap is not expected on the first day any more."""
TOTAL = ""
"""The account of a currency's total."""
_MONTHS = {"monthly": 1, "two-monthly": 2, "quarterly": 3, "half-yearly": 6, "yearly": 12}

Key = tuple[str, str]
"""Account (:data:`TOTAL` for all) and currency."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A payment that is expected: signed and exact; ``source`` is recurring or commitment."""

    account: str
    currency: str
    day: date
    amount: Decimal
    label: str
    source: str


def next_days(one: Recurring, origin: date) -> list[date]:
    """Return the days in ``[origin, origin + 91)`` on which a series is expected; months keep their day of the month."""
    found: list[date] = []
    step = 0
    end = origin + timedelta(days=DAYS)
    while True:
        step += 1
        day = _later(one, step)
        if day >= end:
            return found
        if day >= origin:
            found.append(day)
        elif step == 1 and (origin - day).days <= one.gap_days * OVERDUE_SHARE:
            found.append(origin)  # late, and not given up


def next_day(one: Recurring) -> date:
    """Return the day the next payment of a series is expected."""
    return _later(one, 1)


def _later(one: Recurring, steps: int) -> date:
    last = one.days[-1]
    months = _MONTHS.get(one.cadence)
    if months is None:
        return last + timedelta(days=one.gap_days * steps)
    year, month = divmod(last.year * 12 + last.month - 1 + months * steps, 12)
    usual = (
        max(day.day for day in one.days[-AMOUNTS_LOOKED:])
        if last.day >= monthrange(last.year, last.month)[1]
        else last.day
    )
    return date(year, month + 1, min(usual, monthrange(year, month + 1)[1]))


def usual_amount(one: Recurring) -> Decimal:
    """Return the lower median of the last amounts: one that was really paid."""
    recent = sorted(one.amounts[-AMOUNTS_LOOKED:])
    return recent[(len(recent) - 1) // 2]


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at an origin.

    Attributes:
        origin: First day ahead.
        flows: Recurring payments expected in the thirteen weeks.
        rest: Key to the weekly sums of all other movements, oldest first, weeks ending before the origin.
        net: Key to the weekly sums of all movements, same weeks.
    """

    origin: date
    flows: Sequence[Flow]
    rest: Mapping[Key, Floats]
    net: Mapping[Key, Floats]
    series: Sequence[Recurring]


def look(lines: pl.DataFrame, origin: date) -> Look:
    """Split what is known before a day into recurring series that still run, and the rest by week.

    Args:
        lines: Booked movements: ``account``, ``payee``, ``label``, ``currency``, ``booking_date``, ``amount``, ``batch``,
            ``row``.
        origin: First day ahead; rows from it on are not looked at.
    """
    before = lines.filter(pl.col("booking_date") < origin)
    alive = [one for one in recurring(before) if one.alive(origin)]
    flows = [
        Flow(one.account, one.currency, day, usual_amount(one), one.label, "recurring")
        for one in alive
        for day in next_days(one, origin)
    ]
    rows = pl.DataFrame(
        [row for one in alive for row in one.rows], schema={"batch": pl.String, "row": pl.Int64}, orient="row"
    )
    rest = before.join(rows, on=["batch", "row"], how="anti")
    firsts = _firsts(before)
    return Look(origin, flows, _weekly(rest, origin, firsts), _weekly(before, origin, firsts), alive)


def _firsts(lines: pl.DataFrame) -> dict[Key, date]:
    by_account = lines.group_by("account", "currency").agg(pl.col("booking_date").min())
    found: dict[Key, date] = {(row[0], row[1]): row[2] for row in by_account.iter_rows()}
    for (_, currency), day in list(found.items()):
        found[TOTAL, currency] = min(day, found.get((TOTAL, currency), day))
    return found


def _weekly(lines: pl.DataFrame, origin: date, firsts: Mapping[Key, date]) -> dict[Key, Floats]:
    """Return weekly sums of accounts and of each currency's total; a week without movements is 0."""
    age = ((pl.lit(origin) - pl.col("booking_date")).dt.total_days() - 1) // 7
    sums = (
        lines.with_columns(age.alias("age"))
        .filter(pl.col("age") < HISTORY_WEEKS_MAX)
        .group_by("account", "currency", "age")
        .agg(pl.col("amount").sum().cast(pl.Float64))
    )
    found = {
        key: np.zeros(min(HISTORY_WEEKS_MAX, max(1, -(-(origin - first).days // 7)))) for key, first in firsts.items()
    }
    for account, currency, weeks, amount in sums.iter_rows():
        for key in ((account, currency), (TOTAL, currency)):
            found[key][-1 - weeks] += amount
    return found


def expected(flows: Iterable[Flow], key: Key, origin: date) -> Floats:
    """Return what expected payments add on each of the 91 days, shape (91,), major units."""
    account, currency = key
    daily = np.zeros(DAYS)
    for flow in flows:
        if flow.currency == currency and account in (flow.account, TOTAL):
            daily[max(0, min(DAYS - 1, (flow.day - origin).days))] += float(flow.amount)
    return daily


def path(flows: Iterable[Flow], rest: Floats, key: Key, origin: date) -> Floats:
    """Return the expected change of the balance at the end of each of the 91 days: payments, and the rest spread evenly.

    Args:
        flows: Expected payments.
        rest: Shape (13,): what planning forecasts for everything else, by week.
        key: Account and currency.
        origin: First day ahead.
    """
    out: Floats = np.cumsum(expected(flows, key, origin) + np.repeat(rest / 7, 7))
    return out


WAYS = ("planning", "mean of the rest", "mean of all", "last weeks again", "mean of the ways")
"""Ways to forecast what is not expected; the one that erred least on the balance at earlier origins serves."""
BASELINE = WAYS.index("mean of all")
MARGIN = 0.05
"""Another way serves only where it erred at least this share less than the baseline."""


def rests(look_: Look, key: Key, planned: Floats) -> Floats:
    """Return the rest by week in each of the :data:`WAYS`, shape (5, 13).

    The ways that look at all movements forecast these, so that what is expected of them is taken off again.

    Args:
        look_: What is known.
        key: Account and currency.
        planned: Shape (13,): planning's forecast of the rest.
    """
    due = expected(look_.flows, key, look_.origin).reshape(WEEKS, 7).sum(axis=1)
    net = look_.net[key]
    level = np.full(WEEKS, net[-WEEKS:].mean())
    again = net[-WEEKS:] if len(net) >= WEEKS else level
    known = np.array([planned, np.full(WEEKS, look_.rest[key][-SCALE_WEEKS:].mean()), level - due, again - due])
    return np.vstack([known, known.mean(axis=0)])


def best(said: Floats, actual: Floats, scales: Floats) -> int:
    """Return the way of the least mean absolute error, the baseline unless that is beaten clearly.

    Clearly is by :data:`MARGIN`, and by more than one standard error of the gain from origin to origin: a way that was far
    better once and worse at other times is luck. Without earlier origins it is the mean of the ways.

    Args:
        said: Shape (5, w, n, 13).
        actual: Shape (w, n, 13).
        scales: Shape (w, n).

    Source:
        L. Breiman et al., Classification and Regression Trees, 1984, section 3.4.3: the rule of one standard error.
    """
    errors = np.abs(said - actual) / scales[:, :, None]
    live = ~np.isnan(errors)
    if not live.any():
        return len(WAYS) - 1
    sums, counts = np.where(live, errors, 0.0).sum(axis=(2, 3)), live.sum(axis=(2, 3))
    totals = sums.sum(axis=1) / counts.sum(axis=1)
    first = int(totals.argmin())
    tried = counts[BASELINE] > 0
    gains = ((sums[BASELINE] - sums[first])[tried]) / counts[BASELINE][tried]
    doubt = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
    clear = totals[first] < (1 - MARGIN) * totals[BASELINE] and gains.mean() > doubt
    return first if clear else BASELINE


def held_out(said: Floats, actual: Floats, scales: Floats) -> Floats:
    """Return at each origin the way that the other origins would have chosen, shape (w, n, 13); arguments as :func:`best`."""
    out = np.full_like(actual, np.nan)
    for at in range(len(actual)):
        others = np.arange(len(actual)) != at
        out[at] = said[best(said[:, others], actual[others], scales[others]), at]
    return out


def happened(lines: pl.DataFrame, key: Key, origin: date, end: date) -> Floats:
    """Return how the balance really changed by the end of each of the thirteen weeks; NaN from ``end`` on."""
    account, currency = key
    mine = (pl.col("currency") == currency) & (pl.lit(account == TOTAL) | (pl.col("account") == account))
    after = lines.filter(mine & pl.col("booking_date").is_between(origin, origin + timedelta(days=DAYS - 1)))
    weeks = np.array([(day - origin).days // 7 for day in after["booking_date"]], dtype=int)
    sums = np.bincount(weeks, weights=after["amount"].cast(pl.Float64).to_numpy(), minlength=WEEKS)
    out: Floats = np.cumsum(sums, dtype=float)  # without a row bincount counts in whole numbers
    out[max(0, (end - origin).days // 7) :] = np.nan
    return out


def origins(first: date, origin: date) -> list[date]:
    """Return earlier origins whose thirteen weeks are over, the newest first."""
    found = [origin - timedelta(days=DAYS + 7 * ORIGIN_STEP_WEEKS * back) for back in range(ORIGINS_MAX)]
    return [day for day in found if (day - first).days >= 7 * HISTORY_WEEKS_MIN]


def scale_of(net: Floats) -> float:
    """Return the unit of errors: the mean absolute weekly movement of the last half year, at least a hundredth."""
    return max(float(np.abs(net[-SCALE_WEEKS:]).mean()), 0.01)


@dataclass(frozen=True, slots=True)
class Band:
    """Intervals of the change of the balance at the end of each week, each of shape (13,), and how earlier ones held.

    ``tried`` is the number of earlier origins; ``coverage80`` the share of weeks inside 80 % intervals that were made
    without them, NaN when it cannot be told.
    """

    lower80: Floats
    upper80: Floats
    lower95: Floats
    upper95: Floats
    tried: int
    coverage80: float


def bands(
    means: Floats, scales: Floats, forecasts: Floats, actual: Floats, scales_then: Floats, *, held: Floats
) -> list[Band]:
    """Return the intervals of some paths from the errors of the same procedure at earlier origins.

    Errors of a balance add up week by week, so they are pooled after division by the square root of the week's number.

    Args:
        means: Shape (n, 13): change of the balance by the end of each week.
        scales: Shape (n,).
        forecasts: Shape (w, n, 13): what would have been said at earlier origins; NaN where an account was too young.
        actual: Shape (w, n, 13): what happened.
        scales_then: Shape (w, n).
        held: Shape (w, n, 13): what a way chosen without the origin would have said; the coverage is counted on it.
    """
    grown = np.sqrt(np.arange(1, WEEKS + 1))
    errors = (actual - forecasts) / scales_then[:, :, None] / grown
    made = intervals(np.zeros_like(means), scales, errors)
    live = np.where(np.isnan(held), np.nan, actual)
    coverage = held_out_coverage(np.nan_to_num(held) / grown, live / grown, scales_then)
    tried = (~np.isnan(errors)).any(axis=2).sum(axis=0)
    low80, high80, low95, high95 = (
        means + grown * end[level] for level in (0.8, 0.95) for end in (made.lower, made.upper)
    )
    return [Band(low80[n], high80[n], low95[n], high95[n], int(tried[n]), coverage[0.8]) for n in range(len(means))]
