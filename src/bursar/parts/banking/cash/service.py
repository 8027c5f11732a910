"""Use cases of cash: the thirteen weeks ahead, recurring payments, least balances, the watch over them."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import polars as pl

from bursar.core.audit import service as audit
from bursar.core.findings import service as findings
from bursar.core.ledger import service as ledger
from bursar.core.notices import service as notices
from bursar.core.planning.forecasts import service as forecasts
from bursar.infra.cache import Cache
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound
from bursar.kernel.finding import Finding
from bursar.kernel.lines import BANK_LINES
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats
from bursar.parts.banking import service as banking
from bursar.parts.banking.cash import store
from bursar.parts.banking.cash.rules import paths, views
from bursar.parts.banking.cash.rules.paths import TOTAL, Band, Flow, Key, Look
from bursar.parts.banking.cash.rules.views import Outlook
from bursar.parts.banking.posting import rules as posting_rules
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.rules.recurring import Recurring

KINDS = views.KINDS
"""Every kind of finding that cash raises."""

LOW = "balance.low"
"""The event of an account that is, or is expected to fall, below its least balance; once for each crossing."""

ACCOUNTS_MAX = 150
"""Accounts looked at, those with the most money moved first; totals hold all."""

CACHED_S = 900.0
CACHED_MAX = 16
LEAST_MAX = Decimal(10) ** 15


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What the movements alone say of one account: the rest by week, the intervals, which model serves."""

    rest: Floats
    band: Band
    model: str


@dataclass(frozen=True, slots=True)
class _Seen:
    """One organisation's movements, looked at once for the same set of files."""

    look: Look
    ahead: Mapping[Key, _Ahead]


_SEEN: Cache[tuple[UUID, str, str, date], _Seen] = Cache("cash outlook", ttl_s=CACHED_S, size_max=CACHED_MAX)


def _inside(actor: Actor) -> Actor:
    """Return the actor with the rights of what cash itself reads; its own right was asked for before."""
    return replace(actor, rights=frozenset({"bank:read", "forecast:read", "intake:read", "ledger:read"}))


async def outlook(tx: Tx, actor: Actor, *, lake: Lake) -> list[Outlook]:
    """Return the thirteen weeks ahead: each currency's total, then its accounts, those with the most money moved first.

    The first week begins the day after the newest movement or stated balance, so old statements give an old outlook.

    Args:
        tx: Any transaction.
        actor: Needs ``bank:read``.
        lake: The lake.
    """
    actor.must("bank:read")
    inside = _inside(actor)
    lines = await banking.movements(tx, inside, lake=lake)
    if lines.is_empty():
        return []
    stated = await posting.stated(tx, inside)
    newest: date = lines["booking_date"].max()  # type: ignore[assignment]
    on = max([newest, *(one.closing_day for one in stated if one.closing is not None)])
    seen = await _seen(tx, inside, lake, lines, on)
    balances = _balances(lines, stated)
    held = await _commitments(tx, inside, list(balances))
    watched = await store.watches(tx)
    found = []
    for key, ahead in seen.ahead.items():
        flows = [one for one in (*seen.look.flows, *held) if one.currency == key[1] and key[0] in (one.account, TOTAL)]
        balance, known = _total(balances, key[1]) if key[0] == TOTAL else balances.get(key, (Decimal(0), False))
        limit = watched[key].least if key in watched else None
        found.append(_outlook(key, ahead, flows, balance, known, limit or Decimal(0), on))
    return found


async def _seen(tx: Tx, actor: Actor, lake: Lake, lines: pl.DataFrame, on: date) -> _Seen:
    """Look at the movements now and at earlier origins; the same set of files is looked at once, whoever asks meanwhile."""
    ids = sorted(str(file.id) for file in await lake.files(tx, BANK_LINES.name))
    key = (tx.org, str(lake.root), hashlib.sha256("".join(ids).encode()).hexdigest(), on)
    return await _SEEN.get_or(key, lambda: _looked(actor, lines, on + timedelta(days=1)))


@dataclass(frozen=True, slots=True)
class Tried:
    """What the procedure says now, and what it would have said at earlier origins beside what happened.

    Attributes:
        keys: The n accounts and totals.
        looks: What is known now, then at each of the w earlier origins.
        rests: For each look and key the rest in each way, shape (5, 13), and which model of planning's is the first.
        said: Shape (5, w, n, 13): change of the balance by the end of each week; NaN where an account was too young.
        actual: Shape (w, n, 13): what happened.
        scales: Shape (w, n): unit of the errors.
    """

    keys: Sequence[Key]
    looks: Sequence[Look]
    rests: Sequence[Mapping[Key, tuple[Floats, str]]]
    said: Floats
    actual: Floats
    scales: Floats


async def tried(actor: Actor, lines: pl.DataFrame, origin: date) -> Tried:
    """Try the procedure at earlier origins, each seeing only what came before it.

    Args:
        actor: Needs ``forecast:read``.
        lines: Booked movements, as :func:`bursar.parts.banking.service.movements` returns them.
        origin: First day ahead.
    """
    first: date = lines["booking_date"].min()  # type: ignore[assignment]
    looks = [await asyncio.to_thread(paths.look, lines, day) for day in (origin, *paths.origins(first, origin))]
    moved = {key: float(np.abs(net).sum()) for key, net in looks[0].net.items()}
    ranked = sorted(moved, key=lambda key: (key[0] != TOTAL, -moved[key], key))
    keys = ranked[: sum(account == TOTAL for account, _ in ranked) + ACCOUNTS_MAX]
    rests = [await _rests(actor, one, keys) for one in looks]
    shape = (len(looks) - 1, len(keys), paths.WEEKS)
    said, actual = np.full((len(paths.WAYS), *shape), np.nan), np.full(shape, np.nan)
    scales = np.ones(shape[:2])
    for number, (one, rest) in enumerate(zip(looks[1:], rests[1:], strict=True)):
        for place, key in enumerate(keys):
            net = one.net.get(key)
            if net is not None and len(net) >= paths.HISTORY_WEEKS_MIN:
                said[:, number, place] = [paths.path(one.flows, way, key, one.origin)[6::7] for way in rest[key][0]]
                actual[number, place] = paths.happened(lines, key, one.origin, origin)
                scales[number, place] = paths.scale_of(net)
    return Tried(keys, looks, rests, said, actual, scales)


async def _looked(actor: Actor, lines: pl.DataFrame, origin: date) -> _Seen:
    all_ = await tried(actor, lines, origin)
    now, way = all_.looks[0], paths.best(all_.said, all_.actual, all_.scales)
    rests = {key: rest[way] for key, (rest, _) in all_.rests[0].items()}
    means = np.array([paths.path(now.flows, rests[key], key, origin)[6::7] for key in all_.keys])
    scales = np.array([paths.scale_of(now.net[key]) for key in all_.keys])
    held = paths.held_out(all_.said, all_.actual, all_.scales)
    made = paths.bands(means, scales, all_.said[way], all_.actual, all_.scales, held=held)
    bands = dict(zip(all_.keys, made, strict=True))
    names = {key: f"{paths.WAYS[way]} ({model})" for key, (_, model) in all_.rests[0].items()}
    by_currency = sorted(all_.keys, key=lambda key: (key[1], all_.keys.index(key)))
    return _Seen(now, {key: _Ahead(rests[key], bands[key], names[key]) for key in by_currency})


async def _rests(actor: Actor, one: Look, keys: Sequence[Key]) -> dict[Key, tuple[Floats, str]]:
    """Forecast the rest of each account by week in every way; planning's is the first, its model is named."""
    monday = one.origin - timedelta(days=one.origin.weekday())
    asked, answers = [key for key in keys if key in one.rest], {}
    given = []
    for number, (_, currency) in enumerate(asked):
        sums = one.rest[asked[number]]
        weeks = [monday - timedelta(weeks=len(sums) - back) for back in range(len(sums))]
        points = [(datetime(*day.timetuple()[:3], tzinfo=UTC), float(x)) for day, x in zip(weeks, sums, strict=True)]
        given.append(forecasts.Given(str(number), currency, points))
    if given:
        made = await forecasts.forecast_given(actor, given_=given, grain=Grain.WEEK, horizon=paths.WEEKS)
        answers = {
            key: (paths.rests(one, key, answer.mean), answer.model) for key, answer in zip(asked, made, strict=True)
        }
    return answers


def _balances(lines: pl.DataFrame, stated: Sequence[posting_rules.Stated]) -> dict[Key, tuple[Decimal, bool]]:
    """Return the balance of each account: its newest stated closing and what was booked since; else the sum of its lines."""
    newest: dict[Key, posting_rules.Stated] = {}
    for one in stated:
        if one.closing is not None:
            newest[one.account, one.currency] = one
    found: dict[Key, tuple[Decimal, bool]] = {}
    sums = lines.group_by("account", "currency", "booking_date").agg(pl.col("amount").sum())
    for (account, currency), mine in sums.partition_by("account", "currency", as_dict=True).items():
        key = (str(account), str(currency))
        start = newest.get(key)
        since = mine if start is None else mine.filter(pl.col("booking_date") > start.closing_day)
        total = sum(since["amount"].to_list(), (start.closing if start else None) or Decimal(0))
        found[key] = (total, start is not None)
    for key, start in newest.items():
        found.setdefault(key, (start.closing or Decimal(0), True))
    return found


def _total(balances: Mapping[Key, tuple[Decimal, bool]], currency: str) -> tuple[Decimal, bool]:
    mine = [pair for (_, its), pair in balances.items() if its == currency and pair[1]]
    return sum((amount for amount, _ in mine), Decimal(0)), any(known for _, known in mine)


async def _commitments(tx: Tx, actor: Actor, keys: Sequence[Key]) -> list[Flow]:
    """Return what is held on the ledger accounts of own accounts, on the day it is due."""
    codes = {posting_rules.bank_account(account, currency).code: (account, currency) for account, currency in keys}
    ids = {id_: codes[code] for code, id_ in (await ledger.accounts_by_code(tx, actor, codes=sorted(codes))).items()}
    flows = []
    for hold in await ledger.open_holds(tx, actor, accounts=list(ids)):
        for account, sign in ((hold.debit, 1), (hold.credit, -1)):
            if account in ids:
                day = hold.due.date() if hold.due else hold.value_day
                flows.append(Flow(*ids[account], day, sign * hold.money.amount, hold.memo, "commitment"))
    return flows


def _outlook(
    key: Key, ahead: _Ahead, flows: Sequence[Flow], balance: Decimal, known: bool, limit: Decimal, on: date
) -> Outlook:
    origin = on + timedelta(days=1)
    daily = paths.path(flows, ahead.rest, key, origin)
    weekly, plain = (
        daily[6::7],
        paths.path([one for one in flows if one.source == "recurring"], ahead.rest, key, origin),
    )
    band = views.shifted(ahead.band, weekly - plain[6::7])
    start = float(balance)
    weeks = tuple(
        views.Week(
            origin + timedelta(weeks=n), *views.sums_of(flows, origin, n), float(ahead.rest[n]), start + float(weekly[n]),
            *(start + float(end[n]) for end in (band.lower80, band.upper80, band.lower95, band.upper95)),
        )
        for n in range(paths.WEEKS)
    )  # fmt: skip
    return Outlook(
        key[0], key[1], balance, known, on, limit, weeks, views.low_of(balance, limit, on, daily, band) if known else None,
        views.runway(balance, weekly) if known else None, views.runway(balance, band.lower80) if known else None, band.tried, band.coverage80, ahead.model, flows,
    )  # fmt: skip


async def recurring_payments(tx: Tx, actor: Actor, *, lake: Lake) -> list[Recurring]:
    """Return the recurring payments that still run, those with the most money a year first.

    Args:
        tx: Any transaction.
        actor: Needs ``bank:read``.
        lake: The lake.
    """
    actor.must("bank:read")
    lines = await banking.movements(tx, _inside(actor), lake=lake)
    if lines.is_empty():
        return []
    newest: date = lines["booking_date"].max()  # type: ignore[assignment]
    return list((await asyncio.to_thread(paths.look, lines, newest + timedelta(days=1))).series)


async def advise(tx: Tx, actor: Actor, *, lake: Lake) -> list[Finding]:
    """Return the accounts that will run low, each with its likely day and range."""
    return [found for one in await outlook(tx, actor, lake=lake) if one.account and (found := views.finding_of(one))]


async def watch(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> int:
    """Look at every account: raise findings, tell subscribers once when one becomes low; returns how many became low.

    Args:
        tx: Writing transaction.
        actor: Needs ``bank:read`` and ``finding:write``.
        lake: The lake.
        now: Instant, aware.
    """
    found = [one for one in await outlook(tx, actor, lake=lake) if one.account]
    raised = [finding for one in found if (finding := views.finding_of(one))]
    await findings.raise_(tx, actor, kinds=KINDS, findings=raised, now=now)
    before = await store.watches(tx)
    became = 0
    for one in found:
        key = (one.account, one.currency)
        stood = before.get(key, store.Watch(None, low=False))
        low = one.known and one.low is not None and (one.balance >= one.limit or stood.least is not None)
        if low == stood.low:
            continue
        await store.put(tx, key, {"low": low}, now=now)
        if low and one.low:
            became += 1
            await notices.announce(tx, type_=LOW, data=views.told(one, one.low), now=now)
    return became


async def least(tx: Tx, actor: Actor) -> dict[Key, Decimal]:
    """Return the least balances that people set."""
    actor.must("bank:read")
    return {key: one.least for key, one in (await store.watches(tx)).items() if one.least is not None}


async def set_least(tx: Tx, actor: Actor, *, account: str, currency: str, least: Decimal | None, now: datetime) -> None:
    """Set the least balance an account should have; None takes it back.

    Raises:
        NotFound: There is no such own account.
        Invalid: The amount is no amount of money.
    """
    actor.must("bank:write")
    if least is not None and not (least.is_finite() and abs(least) <= LEAST_MAX):
        raise Invalid(f"A least balance lies within ±{LEAST_MAX:.0e}")
    if (account, currency) not in await posting.own_accounts(tx, _inside(actor)):
        raise NotFound("account", f"{account} in {currency}")
    await store.put(tx, (account, currency), {"least": least}, now=now)
    told = {"least": None if least is None else f"{least:f}", "currency": currency}
    await audit.record(tx, actor, action="cash.least_set", subject=f"bank:{account[:100]}", now=now, after=told)
