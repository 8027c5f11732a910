"""What only the past shows to have ended: credits that ran out, and resources that others replaced."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

import polars as pl

from bursar.kernel.period import Period, add_months
from bursar.parts.cloud.rules.history import History, lifetimes, month_end
from bursar.parts.cloud.rules.telling import NOTHING, Noticed, Words, told
from bursar.parts.cloud.rules.trends import FINDINGS_MAX, MONTHS_A_YEAR
from bursar.parts.cloud.rules.waste import MONEY_FLOOR

CREDIT_MONTHS_MIN = 3
CREDIT_SPREAD = 0.25
"""Credits of about the same amount are one agreement; others follow usage."""

SWAP_DAYS_MAX = 5
SWAP_LIFE_MIN = 60
"""What is replaced sooner comes and goes by itself."""

SWAP_SETTLED_MIN = 14
SWAP_SPREAD = Decimal("0.15")
SWAP_DAILY_MIN = Decimal(5)
"""Smallest cost a day, in major units, whose replacement is worth knowing."""

KINDS = ("cloud.credit_ended", "cloud.cancelling_change")


def endings(seen: History) -> list[Noticed]:
    """Return every credit that ended and every resource that was replaced, the most valuable first."""
    credits_ = sorted(credits_ended(seen), key=lambda one: -one.finding.worth.minor)
    return [*credits_[:FINDINGS_MAX], *swaps(seen)[:FINDINGS_MAX]]


def credits_ended(seen: History) -> list[Noticed]:
    """Return credits that came every month at about the same amount and then came no more."""
    rows = seen.rows.filter(pl.col("charge_category") == "Credit").with_columns(
        pl.col("charge_description").fill_null("")
    )
    found = []
    who = ("provider", "billing_account_id", "charge_description", "currency")
    last = dict(zip(seen.keys, seen.last.tolist(), strict=True))
    for keys, one in rows.group_by(*who, maintain_order=True):
        named = dict(zip(who, map(str, keys), strict=True))
        sums = one.group_by("month").agg(pl.col("cost").sum()).sort("month")
        ended = seen.months.index(sums["month"][-1])
        end = max(last[key] for key in one["key"].unique().to_list())
        run = _run(sums)
        level = abs(float(median(run)))
        alike = all(abs(abs(float(amount)) - level) <= CREDIT_SPREAD * level for amount in run)
        if not ended < end <= ended + MONTHS_A_YEAR or len(run) < CREDIT_MONTHS_MIN or level <= 0 or not alike:
            continue
        yearly = -Decimal(median(run)) * MONTHS_A_YEAR
        if yearly < MONEY_FLOOR:
            continue
        words = Words(
            "cloud.credit_ended",
            f"The credit {named['charge_description'][:60]} ended in {sums['month'][-1]:%b %Y}",
            "Ask for an extension, or plan with the higher bill.",
            f"{yearly / MONTHS_A_YEAR:.2f} {named['currency']} a month for {len(run)} months x {MONTHS_A_YEAR}; whether it can be had again is not known",
        )
        finding = told(words, subject=f"{named['provider']}/{named['billing_account_id']}/{named['charge_description']}",
                       period=seen.span(ended + 1, end), amounts=(NOTHING, yearly, yearly), currency=named["currency"],
                       basis=yearly, confidence=0.6)  # fmt: skip
        first = seen.months[ended - len(run) + 1]
        found.append(Noticed(finding, tuple(one["key"].unique().to_list()), first, month_end(seen.months[ended])))
    return found


def _run(sums: pl.DataFrame) -> list[Decimal]:
    """Return the amounts of the last months that follow one another."""
    months, costs = sums["month"].to_list(), sums["cost"].to_list()
    start = len(months) - 1
    while start > 0 and add_months(months[start - 1], 1) == months[start]:
        start -= 1
    return costs[start:]


Row = Mapping[str, Any]


def swaps(seen: History) -> list[Noticed]:
    """Return resources that stopped as another of nearly the same cost began: the total of the bill hides the change."""
    lives = lifetimes(seen).filter((pl.col("last_day") - pl.col("first_day")).dt.total_days() >= SWAP_SETTLED_MIN)
    pairs = list(_pairs(lives))
    wanted = {row["resource_id"] for pair in pairs for row in pair}
    rows = seen.rows.filter(pl.col("resource_id").is_in(list(wanted)) & (pl.col("charge_category") == "Usage"))
    months = rows.group_by("provider", "sub_account_id", "resource_id", "service_name", "currency", "month").agg(
        pl.col("cost").sum(), pl.col("first_day").min(), pl.col("last_day").max(), pl.col("key")
    )
    of = {place: one.sort("month") for place, one in months.partition_by(*PLACE, as_dict=True).items()}
    best: dict[object, tuple[Decimal, Row, Row, Decimal, Decimal]] = {}
    for old, new in pairs:
        was, now = _daily(of[_place(old)].reverse()), _daily(of[_place(new)])
        off = abs(was - now)
        if min(was, now) < SWAP_DAILY_MIN or off > SWAP_SPREAD * was:
            continue
        if _place(old) not in best or off < best[_place(old)][0]:
            best[_place(old)] = (off, old, new, was, now)
    found = sorted(best.values(), key=lambda one: -one[3])
    return [_swapped(old, new, was, now, (of[_place(old)], of[_place(new)])) for _, old, new, was, now in found]


PLACE = ("provider", "sub_account_id", "resource_id", "service_name", "currency")


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in PLACE)


def _pairs(lives: pl.DataFrame) -> Iterator[tuple[Row, Row]]:
    """Yield what ended for good and what began within days of it, where another name or another meter took over."""
    for _, group in lives.group_by("provider", "sub_account_id", "service_name", "currency", maintain_order=True):
        begun: dict[date, list[Row]] = defaultdict(list)
        for row in group.iter_rows(named=True):
            begun[row["first_day"]].append(row)
        for old in group.iter_rows(named=True):
            ended = (old["until"] - old["last_day"]).days > SWAP_SETTLED_MIN
            if not ended or (old["last_day"] - old["first_day"]).days < SWAP_LIFE_MIN:
                continue
            for ahead in range(SWAP_DAYS_MAX + 1):
                for new in begun[old["last_day"] + timedelta(days=ahead)]:
                    routine = set(old["names"]) & set(new["names"]) and old["text"] == new["text"]
                    if not routine and new["resource_id"] != old["resource_id"]:
                        yield old, new


def _daily(months: pl.DataFrame) -> Decimal:
    """Return the cost a day over the first months of ``months`` that hold at least two weeks."""
    cost, days = Decimal(0), 0
    for row in months.iter_rows(named=True):
        cost += row["cost"]
        days += (row["last_day"] - row["first_day"]).days + 1
        if days >= SWAP_SETTLED_MIN:
            break
    return cost / days


def _swapped(old: Row, new: Row, was: Decimal, now: Decimal, rows: tuple[pl.DataFrame, pl.DataFrame]) -> Noticed:
    names = [str(row["name"]) for row in (old, new)]
    words = Words(
        "cloud.cancelling_change",
        f"{names[1][:40]} took over the cost of {names[0][:40]} on {new['first_day']:%-d %b %Y}",
        "Nothing, if the move was meant; else find out who made it: the total of the bill does not show it.",
        f"{was:.2f} {old['currency']} a day until {old['last_day']}, {now:.2f} from {new['first_day']} on",
    )
    around = timedelta(days=SWAP_SETTLED_MIN)
    period = Period(old["last_day"] - around, new["first_day"] + around)
    finding = told(words, subject="/".join(str(old[name] or "") for name in PLACE[:3]), period=period,
                   amounts=(NOTHING, NOTHING, NOTHING), currency=old["currency"], basis=was * 365, confidence=0.65,
                   recurring=False)  # fmt: skip
    keys = {key for side in rows for months in side["key"].to_list() for key in months}
    return Noticed(finding, tuple(sorted(keys)), period.start, period.end - timedelta(days=1))
