"""Figures about what is to come: cash week by week, recurring payments, stored forecasts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from bursar.core.planning.forecasts import service as forecasts
from bursar.core.planning.forecasts.service import amount_of
from bursar.core.planning.series import service as series
from bursar.kernel.errors import NotAllowed, NotFound
from bursar.kernel.finding import Evidence, Part, SourceRow
from bursar.kernel.period import Grain
from bursar.kernel.trace import AskedFigure
from bursar.parts.banking import service as banking
from bursar.parts.banking.cash import service as cash
from bursar.parts.banking.cash.rules import views
from bursar.parts.banking.cash.rules.paths import Flow
from bursar.parts.banking.cash.rules.views import Outlook, Week
from bursar.reports.trace.answer import ROWS_MAX, Asking, Traced, files_of, parts_of
from bursar.reports.trace.spent import of_spent

LATELY_DAYS = 91
"""Movements of so many days before the outlook are told as its rows."""

_SUMS = {"recurring_in": "recurring", "recurring_out": "recurring", "committed": "commitment"}
_ENDS = {"lower80": "lower end of the 80 % interval", "upper80": "upper end of the 80 % interval",
         "lower95": "lower end of the 95 % interval", "upper95": "upper end of the 95 % interval"}  # fmt: skip


async def _rows(asking: Asking, kept: pl.Expr, *, last: bool = False) -> tuple[tuple[SourceRow, ...], int]:
    """Return the largest booked movements that ``kept`` keeps, or the newest, and how many there are."""
    lines = (await banking.movements(asking.tx, asking.actor, lake=asking.lake)).filter(kept)
    rank = pl.col("booking_date") if last else pl.col("amount").abs()
    top = lines.sort(rank, "batch", "row", descending=[True, False, False]).head(ROWS_MAX)
    files = await files_of(asking, top["batch"].to_list())
    rows = tuple(
        SourceRow(one["batch"], files.get(one["batch"], ""), one["row"], f"{one['booking_date']} {one['label']}", one["amount"], one["currency"])
        for one in top.iter_rows(named=True)
    )  # fmt: skip
    return rows, lines.height


async def _outlook(asking: Asking, figure: AskedFigure) -> Outlook:
    key = (figure.fact("account"), figure.currency)
    for one in await cash.outlook(asking.tx, asking.actor, lake=asking.lake):
        if (one.account, one.currency) == key:
            return one
    raise NotFound("outlook of the account", key[0] or f"all in {key[1]}")


async def of_cash(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what a balance, or an amount of one of the thirteen weeks ahead, is made of."""
    one = await _outlook(asking, figure)
    mine = pl.col("currency") == one.currency
    if one.account:
        mine &= pl.col("account") == one.account
    rows, count = await _rows(asking, mine & (pl.col("booking_date") > one.on - timedelta(days=LATELY_DAYS)))
    name = one.account or f"All accounts in {one.currency}"
    if not figure.fact("week"):
        said = (
            "newest stated balance and what was booked since" if one.known else "sum of its rows: no balance is stated"
        )
        evidence = Evidence(said, parts_of([(f"balance on {one.on}", one.balance)], one.balance), (), rows, count)
        return Traced(f"{name}: balance on {one.on}", one.balance, one.currency, evidence)
    start = date.fromisoformat(figure.fact("week"))
    at = next((number for number, week in enumerate(one.weeks) if week.start == start), None)
    if at is None:
        raise NotFound("week of the outlook", f"{start}")
    amount = views.told_amount(getattr(one.weeks[at], figure.part), one.currency)
    sums, formula = _week(one, at, figure.part)
    evidence = Evidence(formula, parts_of(sums, amount), (), rows, count)
    return Traced(f"{name}, week of {start}: {figure.part}", amount, one.currency, evidence)


def _week(one: Outlook, at: int, part: str) -> tuple[Sequence[tuple[str, Decimal]], str]:
    """Return the parts of an amount of a week, and how it comes about in words."""

    def cents(amount: float) -> Decimal:
        return views.told_amount(amount, one.currency)

    week, origin = one.weeks[at], one.weeks[0].start
    if source := _SUMS.get(part):
        flows = [
            flow for flow in views.flows_of(one.flows, origin, at) if flow.source == source and _counts(flow, part)
        ]
        return [(f"{flow.day} {flow.label}", flow.amount) for flow in flows], "sum of the payments expected in the week"
    if part == "rest":
        said = f"everything that does not recur, as {one.model} forecasts it"
        return [("forecast of the rest", cents(week.rest))], said
    until: Sequence[Week] = one.weeks[: at + 1]
    sums = [
        (f"balance on {one.on}", one.balance),
        ("recurring payments in", sum((week.recurring_in for week in until), Decimal(0))),
        ("recurring payments out", sum((week.recurring_out for week in until), Decimal(0))),
        ("committed", sum((week.committed for week in until), Decimal(0))),
        (f"the rest, as {one.model} forecasts it", cents(sum(week.rest for week in until))),
    ]
    said = "balance, and all that is expected until the end of the week"
    if part in _ENDS:
        sums.append((_ENDS[part], cents(getattr(week, part)) - cents(week.balance)))
        said += f"; the interval is as wide as {one.tried} earlier forecasts were off"
    return sums, said


def _counts(flow: Flow, part: str) -> bool:
    return part == "committed" or (flow.amount > 0) == (part == "recurring_in")


async def of_flow(asking: Asking, figure: AskedFigure) -> Traced:
    """Say where one expected payment comes from: the payments it recurs after, or what is held in the ledger."""
    total = await _outlook(asking, replace(figure, facts=()))
    account, label, day = (figure.fact(name) for name in ("account", "label", "day"))
    wanted = (account, day, label, figure.part, Decimal(figure.fact("of")))
    if wanted not in [(flow.account, f"{flow.day}", flow.label, flow.source, flow.amount) for flow in total.flows]:
        raise NotFound("expected payment", label[:100])
    mine = (pl.col("account") == account) & (pl.col("label") == label)
    rows, count = await _rows(asking, mine, last=True) if figure.part == "recurring" else ((), 0)
    said = {
        "recurring": "the lower median of the last payments of the series, on the day that its cadence gives",
        "commitment": "held in the ledger, on the day it is due",
    }[figure.part]
    evidence = Evidence(said, (Part(label, wanted[-1]),), (), rows, count)
    return Traced(f"Expected on {day}: {label}", wanted[-1], figure.currency, evidence)


async def of_recurring(asking: Asking, figure: AskedFigure) -> Traced:
    """Say which payments a recurring series is, and what its next one is taken from."""
    key = (figure.fact("account"), figure.fact("payee"), figure.currency)
    known = await cash.recurring_payments(asking.tx, asking.actor, lake=asking.lake)
    one = next((one for one in known if (one.account, one.payee, one.currency) == key), None)
    if one is None:
        raise NotFound("recurring payment", key[1])
    amounts = views.recurring_amounts(one)
    mine = pl.concat_str("batch", pl.lit("|"), "row").is_in([f"{batch}|{row}" for batch, row in one.rows])
    rows, count = await _rows(asking, mine, last=True)
    usual, amount = amounts["usual"], amounts[figure.part]
    sums = (
        [(f"{one.per_year} payments a year of {usual} each", amount)]
        if figure.part == "a_year"
        else [(figure.part, amount)]
    )
    formula = (
        f"{one.cadence}, {len(one.days)} times since {one.days[0]}; the usual amount is the lower median of the last"
    )
    evidence = Evidence(formula, parts_of(sums, amount), (), rows, count)
    return Traced(f"{one.label}: {figure.part}", amount, one.currency, evidence)


async def of_forecast(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what is expected of one period of a series, or of all that was forecast: baseline, model, rows it was learned from."""
    grain = Grain(figure.fact("grain"))
    run, values = await forecasts.of_series(asking.tx, asking.actor, id_=figure.fact("series"), grain=grain)
    starts, start = [f"{one}" for one in run.starts], figure.fact("start")
    if start and start not in starts:
        raise NotFound("forecast of", start)
    steps = [starts.index(start)] if start else range(len(starts))

    def total(name: str) -> Decimal:
        return sum((amount_of(getattr(values, name)[at]) for at in steps), Decimal(0))

    mean, baseline = total("mean"), total("baseline")
    sums = [(f"baseline ({run.baseline})", baseline), (f"what {values.model} adds to it", mean - baseline)]
    ranges = f"; 80 % from {total('lower80')} to {total('upper80')}, 95 % from {total('lower95')} to {total('upper95')}"
    learned = f"learned from {run.first_day} to {run.last_day}, version {run.code_version}"
    formula = f"{values.model}, {learned}" + (ranges if start else f"; {len(starts)} periods")
    title = f"Forecast of {values.key or 'all'}, {start or f'{starts[0]} to {starts[-1]}'}"
    evidence = Evidence(formula, parts_of(sums, mean))
    try:
        found, _, _ = await series.find(
            asking.tx, asking.actor, lake=asking.lake, id_=values.id, grain=grain, now=asking.now
        )
        past = await of_spent(asking, replace(series.figure(found, found.first), end=run.last_day + timedelta(days=1)))
        evidence = replace(evidence, rows=past.evidence.rows, rows_total=past.evidence.rows_total)
    except (NotAllowed, NotFound):  # the rows need rights of their own; the facts may have been taken back since
        pass
    return Traced(title, mean, run.currency, evidence)
