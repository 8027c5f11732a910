"""What only the past shows to have grown: unit prices, seats, and resources that nobody ever empties."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from bursar.kernel.finding import Part
from bursar.parts.cloud.rules.history import Floats, History, days_of, month_end
from bursar.parts.cloud.rules.netting import PRECISION
from bursar.parts.cloud.rules.telling import NOTHING, Noticed, Words, exact, told
from bursar.parts.cloud.rules.waste import MONEY_FLOOR

MONTHS_A_YEAR = 12
FINDINGS_MAX = 50
"""Most findings of one kind; the most valuable first."""

FLAT = 0.01
"""A price that moves less than this between months did not change (rounding of costs)."""

RISE_MIN = 0.03
RISE_MAX = 2.0
"""A price that more than trebles is another tier, or the end of a free one."""

BEFORE_MONTHS = 3
AFTER_MONTHS = 2

SEATS = r"(?i)\b(seats?|users?|licen[sc]es?|members?|agents?|mailbox(es)?)\b"
SEATS_MONTHS_MIN = 6
SEATS_RISE_MIN = 0.2
SEATS_MIN = 3

GROWTH_MONTHS_MIN = 8
GROWTH_MIN = 0.5
"""Half as much again within a year: beyond what a business grows by."""

GROWTH_FIT_MIN = 0.9
"""Share of the variance that one steady rate of growth has to explain."""

GROWTH_RISING_MIN = 0.75
GROWTH_BY_VOLUME_MIN = 0.8
"""How much of the growth has to be quantity; the rest is price."""

HALF = Decimal("0.5")
"""What can be given back or deleted of what was added, as long as nobody looked."""

KINDS = ("cloud.price_rise", "cloud.seat_creep", "cloud.resource_growth")


def trends(seen: History) -> list[Noticed]:
    """Return every price, seat and resource that grew."""
    found = [price_rises(seen), seat_creep(seen), growth(seen)]
    return [one for kind in found for one in sorted(kind, key=lambda one: -one.finding.worth.minor)[:FINDINGS_MAX]]


def _what(fact: Mapping[str, Any]) -> str:
    service, name = str(fact["service_name"] or fact["provider"]), str(fact["name"] or "")
    return service if name in {"", service} else f"{service} {name}"


@dataclass(frozen=True, slots=True)
class _Rise:
    key: str
    at: int
    last: int
    old: Decimal
    new: Decimal
    quantity: Decimal


def _step(prices: Sequence[float]) -> tuple[int, int] | None:
    """Return the last month of the old price and the first of the new one where a flat price gave way to a higher flat one.

    One month in between may hold days of both. A dozen months are too few for arrays to pay.
    """
    length = len(prices)
    for at in range(length - AFTER_MONTHS, BEFORE_MONTHS - 1, -1):
        after = prices[at:]
        if max(after) > min(after) * (1 + FLAT):
            return None
        for gap in (1, 2):
            before = prices[max(0, at - gap - BEFORE_MONTHS + 1) : at - gap + 1]
            flat = len(before) == BEFORE_MONTHS and max(before) <= min(before) * (1 + FLAT)
            if flat and RISE_MIN <= min(after) / max(before) - 1 <= RISE_MAX:
                return at - gap, at
    return None


def _rises(seen: History) -> Iterator[_Rise]:
    with np.errstate(divide="ignore", invalid="ignore"):
        prices = seen.price_cost / seen.quantity
    for row in np.flatnonzero(seen.runs >= BEFORE_MONTHS + AFTER_MONTHS).tolist():
        key, last = seen.keys[row], int(seen.last[row])
        length = min(int(seen.runs[row]), MONTHS_A_YEAR + BEFORE_MONTHS)
        window = prices[row, last - length + 1 : last + 1]
        if not np.isfinite(window).all() or (window <= 0).any():
            continue
        step = _step(window.tolist())
        if step is None:
            continue
        fact = seen.latest(key)
        if fact["charge_category"] not in {"Usage", "Purchase"} or fact["committed"]:
            continue
        first = last - length + 1
        old, new = (seen.cell(key, first + at) for at in step)
        now = seen.cell(key, last)
        with localcontext(prec=PRECISION):
            yield _Rise(key, first + step[1], last, old["price_cost"] / old["quantity"],
                        new["price_cost"] / new["quantity"], now["quantity"])  # fmt: skip


def price_rises(seen: History) -> list[Noticed]:
    """Return unit prices that stepped up while they were flat before and after; one finding for all that rose alike."""
    alike: dict[tuple[object, ...], list[_Rise]] = defaultdict(list)
    for rise in _rises(seen):
        fact = seen.latest(rise.key)
        same = (
            fact["provider"],
            fact["service_name"],
            fact["sku_meter"],
            fact["currency"],
            rise.at,
            f"{rise.new / rise.old:.2f}",
        )
        alike[same].append(rise)
    found = []
    for (provider, service, meter, currency, at, _), rises in alike.items():
        with localcontext(prec=PRECISION):
            extra = sum(((one.new - one.old) * one.quantity * MONTHS_A_YEAR for one in rises), Decimal(0))
            basis = sum((one.new * one.quantity * MONTHS_A_YEAR for one in rises), Decimal(0))
        if extra < MONEY_FLOOR:
            continue
        one = max(rises, key=lambda rise: rise.new * rise.quantity)
        fact = seen.latest(one.key)
        unit = f"{currency} per {fact['pricing_unit'] or 'unit'}"
        where = _what(fact) if len(rises) == 1 else f"{service} {meter or ''} ({len(rises)} resources)"
        words = Words(
            "cloud.price_rise",
            f"{where[:80]} became {one.new / one.old - 1:.0%} dearer per unit",
            "Ask for the old price or compare offers before the next renewal; check the contract's price clause.",
            f"{one.new:.6g} against {one.old:.6g} {unit} before, x {one.quantity:.6g} a month x {MONTHS_A_YEAR}",
        )
        parts = exact(
            (Part("at the present price, a year", basis), Part("at the former price", extra - basis)),
            extra,
            str(currency),
        )
        finding = told(words, subject=f"{provider}/{service}/{meter or ''}/price@{seen.months[int(str(at))]}",
                       period=seen.span(int(str(at)), one.last), amounts=(NOTHING, extra, extra), currency=str(currency),
                       basis=basis, confidence=0.75, parts=parts)  # fmt: skip
        keys = tuple(rise.key for rise in rises)
        found.append(Noticed(finding, keys, seen.months[int(str(at))], month_end(seen.months[one.last])))
    return found


def _added(seen: History, row: int, length: int) -> tuple[Decimal, Decimal, Decimal]:
    """Return what the key costs a year at its last month's pace, what was added since the first, and the price of a unit."""
    key, last = seen.keys[row], int(seen.last[row])
    then, now = seen.cell(key, last - length + 1), seen.cell(key, last)
    with localcontext(prec=PRECISION):
        price = now["cost"] / now["quantity"] if now["quantity"] else Decimal(0)
        return now["cost"] * MONTHS_A_YEAR, (now["cost"] - then["cost"]) * MONTHS_A_YEAR, price


def _seats(fact: Mapping[str, Any]) -> bool:
    return any(re.search(SEATS, fact[name] or "") for name in ("pricing_unit", "sku_meter"))


def seat_creep(seen: History) -> list[Noticed]:
    """Return seats and licences whose number only ever rises."""
    found = []
    for row in np.flatnonzero(seen.runs >= SEATS_MONTHS_MIN).tolist():
        key, last = seen.keys[row], int(seen.last[row])
        fact = seen.latest(key)
        if not _seats(fact):
            continue
        length = min(int(seen.runs[row]), MONTHS_A_YEAR + 1)
        counts = seen.quantity[row, last - length + 1 : last + 1]
        steps = np.diff(counts)
        rise = counts[-1] - counts[0]
        steady = bool(np.isfinite(counts).all()) and (steps >= 0).all() and (steps > 0).sum() * 2 >= len(steps)
        if not steady or rise < SEATS_MIN or rise < SEATS_RISE_MIN * counts[0]:
            continue
        whole, added, price = _added(seen, row, length)
        if added * HALF < MONEY_FLOOR:
            continue
        first = seen.months[last - length + 1]
        currency = str(fact["currency"])
        words = Words(
            "cloud.seat_creep",
            f"{_what(fact)[:80]} grew from {counts[0]:g} to {counts[-1]:g} and never fell",
            "List who used theirs in the last 90 days and give back the others.",
            f"{rise:g} more since {first:%b %Y} at {price:.6g} {currency} a month x {MONTHS_A_YEAR} x {HALF}: "
            "half of what was added, as long as nobody counted who uses theirs",
        )
        found.append(_grown(seen, row, length, words, whole, added))
    return found


def _grown(seen: History, row: int, length: int, words: Words, whole: Decimal, added: Decimal) -> Noticed:
    key, last = seen.keys[row], int(seen.last[row])
    fact = seen.latest(key)
    currency, worth = str(fact["currency"]), added * HALF
    parts = exact((Part("added since, a year", added), Part("taken to be needed", worth - added)), worth, currency)
    place = (fact["provider"], fact["sub_account_id"] or "", fact["resource_id"] or fact["service_name"])
    resource = "/".join(map(str, place))
    finding = told(words, subject=f"{resource}/{fact['sku_meter'] or ''}", period=seen.span(last - length + 1, last),
                   amounts=(NOTHING, worth, added), currency=currency, basis=whole, confidence=0.6, parts=parts,
                   resource=resource)  # fmt: skip
    return Noticed(finding, (key,), seen.months[last - length + 1], month_end(seen.months[last]))


def growth(seen: History) -> list[Noticed]:
    """Return resources whose cost grew at a steady rate for most of a year because there is ever more of them."""
    lengths = np.array([days_of(month) for month in seen.months], dtype=float)
    found = []
    for row in np.flatnonzero(seen.runs >= GROWTH_MONTHS_MIN).tolist():
        key, last = seen.keys[row], int(seen.last[row])
        length = min(int(seen.runs[row]), MONTHS_A_YEAR + 1)
        part = slice(last - length + 1, last + 1)
        cost = seen.cost[row, part] / lengths[part]
        if (cost <= 0).any() or not _steady(np.log(cost)):
            continue
        fact = seen.latest(key)
        if _seats(fact) or not fact["resource_id"] or fact["charge_category"] != "Usage":
            continue
        grew = float(np.log(cost[-1] / cost[0]))
        amount = seen.quantity[row, part] / lengths[part]
        if (
            np.isfinite(amount).all()
            and (amount > 0).all()
            and np.log(amount[-1] / amount[0]) < GROWTH_BY_VOLUME_MIN * grew
        ):
            continue
        whole, added, _ = _added(seen, row, length)
        if added * HALF < MONEY_FLOOR:
            continue
        pace = np.exp(grew / (length - 1)) - 1
        words = Words(
            "cloud.resource_growth",
            f"{_what(fact)[:80]} keeps growing, {pace:.0%} a month",
            "Set an expiry or lifecycle rule, or find what only ever adds to it.",
            f"{np.exp(grew) - 1:.0%} more than in {seen.months[last - length + 1]:%b %Y}: what was added a year x {HALF}, "
            "as half of what piled up can usually go",
        )
        found.append(_grown(seen, row, length, words, whole, added))
    return found


def _steady(logs: Floats) -> bool:
    """Tell whether one rate of growth explains a series of logarithms, and is high."""
    at = np.arange(len(logs), dtype=float)
    slope, start = np.polyfit(at, logs, 1)
    if slope * (len(logs) - 1) < np.log(1 + GROWTH_MIN):
        return False
    rest = logs - (slope * at + start)
    rising = (np.diff(logs) > 0).mean()
    return bool(1 - rest.var() / logs.var() >= GROWTH_FIT_MIN and rising >= GROWTH_RISING_MIN)
