"""Figures that rules made of cost: shares of what is split, cost of one unit, invoices against their lines, plans, prices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Evidence, Part, PriceUsed
from bursar.kernel.period import add_months
from bursar.kernel.trace import AskedFigure, CostFigure
from bursar.parts.cloud import service as cloud
from bursar.parts.cloud.commitments import service as commitments
from bursar.parts.cloud.commitments.service import Planned, Scope, Wanted
from bursar.parts.cloud.prices.rules import HOURS_A_MONTH
from bursar.parts.cloud.prices.rules import Wanted as WantedPrice
from bursar.parts.cloud.prices.service import must_find
from bursar.parts.cloud.rules.dimensions import CostKind
from bursar.parts.cloud.rules.invoices import Stated
from bursar.parts.cloud.rules.queries import CostQuery
from bursar.parts.cloud.sharing import service as sharing
from bursar.parts.cloud.sharing.rules import RuleBook, per_unit
from bursar.parts.cloud.sharing.service import Answer
from bursar.reports.trace.answer import Asking, Traced, parts_of
from bursar.reports.trace.costs import cost_rows, of_cost, shown


async def _answer(asking: Asking, figure: AskedFigure) -> Answer:
    """Ask the question behind a figure again, by the rules of today or by the rule that came with it."""
    asked, options = sharing.question_of(figure)
    if not (sent := figure.fact("rule")):
        return await sharing.ask(asking.tx, asking.actor, lake=asking.lake, asked=asked, options=options)
    [rule] = RuleBook.from_json({"splits": [json.loads(sent)]}).splits
    groups = await sharing.allocate(asking.tx, asking.actor, lake=asking.lake, asked=asked, rule=rule)
    own, split = sharing.own_lines(asked, [rule]), sharing.split_lines(asked, [rule])
    return Answer(tuple(groups), (None,) * len(groups), (str(rule),), ruled=True, own=own, split=split)


async def of_shares(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what a cost is made of that rules gave: own lines, the share of what is split, and the rules in words."""
    found = await _answer(asking, figure)
    key = (figure.all_of("value"), figure.currency)
    at = next((at for at, one in enumerate(found.groups) if (one.values, one.currency) == key), None)
    if at is None:
        raise NotFound("group of the answer", ", ".join(value or "none" for value in key[0]))
    group, units = found.groups[at], found.units[at]
    own = await of_cost(asking, found.own.figure(group.values, group.currency), found.own.tags)
    rules = "; ".join(("", *found.applied))
    names = [by for by in found.own.by if by.lower() != "currency"]
    values = dict(zip(names, group.values, strict=True))
    name = ", ".join(f"{by} {value or 'none'}" for by, value in values.items()) or "all"
    if figure.part == "per_unit":
        amount = per_unit(group.cost, units) or Decimal(0)
        formula = f"cost of {group.cost or 0:f} {group.currency} over {units or 0:f} units{rules}"
        evidence = replace(own.evidence, formula=formula, parts=parts_of([("cost of one unit", amount)], amount))
        return Traced(f"Cost of one unit: {name}", amount, group.currency, evidence)
    if figure.part == "own":
        return replace(own, title=f"Own cost: {name}")
    share = group.shared or Decimal(0)
    split = Part("share of what is split", share)
    if figure.part == "shared":
        pool = await _pool(asking, found.split, values, group.currency) if found.split else own.evidence
        evidence = replace(pool, formula=f"share of what is split{rules}", parts=(split,), prices=())
        return Traced(f"Shared cost: {name}", share, group.currency, evidence)
    parts = (*own.evidence.parts, split) if found.split else own.evidence.parts
    evidence = replace(own.evidence, formula=f"{own.evidence.formula}{rules}", parts=parts)
    return Traced(f"Cost: {name}", group.cost or Decimal(0), group.currency, evidence)


async def _pool(asking: Asking, split: CostQuery, values: Mapping[str, str | None], currency: str) -> Evidence:
    """Return the dearest lines of what is split in the time of a group."""
    return (await of_cost(asking, split.figure([values[name] for name in split.by], currency), split.tags)).evidence


async def of_invoice(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what an invoice states, what its lines add up to, and by what they differ."""
    month, invoice = date.fromisoformat(figure.fact("month")), figure.fact("invoice")
    entered = [Stated(month, invoice, "", figure.currency, Decimal(text)) for text in figure.all_of("entered") if text]
    matches = await cloud.match_invoices(asking.tx, asking.actor, lake=asking.lake, months=[month], entered=entered)
    found = next((one for one in matches if (one.invoice, one.currency) == (invoice, figure.currency)), None)
    if found is None:
        raise NotFound("invoice", invoice)
    stated, billed = ("as the invoice states", found.stated), ("as its lines add up", found.billed)
    what, _, kind = figure.part.partition(" ")
    amount, sums, formula = {
        "stated": (found.stated, [stated], "sum of the amounts that the invoice states"),
        "billed": (found.billed, [billed], f"sum of the billed cost of its {found.lines:,} lines"),
        "difference": (found.difference, [stated, ("less what its lines add up to", -found.billed)], "stated less billed"),
        "kind": (found.by_kind.get(kind, Decimal(0)), [(kind, found.by_kind.get(kind, Decimal(0)))], f"stated less billed of {kind}"),
    }[what]  # fmt: skip
    lines = await cost_rows(asking, _invoiced(month, invoice, figure.currency))
    count = sum(rows for _, _, rows in lines.sums)
    evidence = Evidence(formula, parts_of(sums, amount), (), shown(lines.rows), count)
    return Traced(f"Invoice {invoice} of {month:%Y-%m}: {figure.part}", amount, figure.currency, evidence)


def _invoiced(month: date, invoice: str, currency: str) -> CostFigure:
    """Return the lines that carry the number of an invoice; a line of a month may begin in the one before or after."""
    return CostFigure(
        add_months(month, -1), add_months(month, 2), currency, CostKind.BILLED.value, "", (("invoice", invoice),)
    )


async def of_commitments(asking: Asking, figure: AskedFigure) -> Traced:
    """Say what an amount of a commitment plan rests on: the discounts, the forecast, and the lines not covered yet."""
    discount = figure.fact("discount")
    wanted = Wanted(
        figure.fact("provider"), int(figure.fact("years")), figure.fact("payment"), Scope(figure.fact("scope")),
        float(discount) if discount else None,
    )  # fmt: skip
    answer = await commitments.plan(
        asking.tx, asking.actor, lake=asking.lake, prices=asking.prices, wanted=wanted, today=asking.now.date()
    )
    key = (figure.fact("of"), figure.all_of("family"), figure.currency)
    one = next((one for one in answer.plans if (one.provider, one.families, one.currency) == key), None)
    if one is None:
        raise NotFound("plan", ", ".join(filter(None, key[1])))
    amount = one.amount(figure.part)
    names = ", ".join(
        f"{name} at {offer.discount:.1%} off ({offer.source.value}, {offer.term})"
        for name, offer in zip(one.families, one.offers, strict=True)
    )
    used = CostFigure(answer.history.start, answer.history.end, one.currency, CostKind.EFFECTIVE.value, "",
                      (("provider", one.provider), ("charge", "Usage"), ("instance_type", one.main_type)))  # fmt: skip
    lines = await cost_rows(asking, used)
    formula = (
        f"{one.amount('hourly')} {one.currency} an hour committed to {names}; demand forecast by {', '.join(answer.served_by)}"
        f" from {answer.history}; the rows are those of {one.main_type}"
    )
    count = sum(rows for _, _, rows in lines.sums)
    evidence = Evidence(formula, parts_of(_planned(one, figure.part, amount), amount), (), shown(lines.rows), count)
    return Traced(f"Commitment to {', '.join(one.families)}: {figure.part}", amount, one.currency, evidence)


def _planned(one: Planned, part: str, amount: Decimal) -> Sequence[tuple[str, Decimal]]:
    """Return the parts of an amount of a plan."""
    name, _, at = part.partition(" ")
    match name:
        case "hourly":
            return [(f"bought on {day}", one.amount(f"purchase {at}")) for at, (day, _) in enumerate(one.purchases)]
        case "saving_a_year":
            plain, with_it = one.amount("on_demand_a_year"), one.amount("cost_a_year")
            return [("without it", plain), ("less what it costs with it", -with_it)]
        case "purchase":
            return [(f"bought on {one.purchases[int(at)][0]}", amount)]
        case "demand" | "best_level" | "saving" | "regret":
            return [
                (f"{name.replace('_', ' ')} an hour in the {one.plan.outcomes[int(at)].quantile:.0%} scenario", amount)
            ]
        case _:
            return [(f"{name.replace('_', ' ')}, over all scenarios", amount)]


async def of_price(asking: Asking, figure: AskedFigure) -> Traced:
    """Say which catalogue lists a price, of which day, and how a month of it is counted."""
    asking.actor.must("price:read")
    provider, region, sku, os, term = (figure.fact(name) for name in ("provider", "region", "sku", "os", "term"))
    wanted = WantedPrice(provider, region, sku, os=os, term=term, currency=figure.currency)
    found = must_find(asking.prices.price(wanted, on=date.fromisoformat(figure.fact("on"))), wanted)
    used = PriceUsed(found.id, found.amount, found.currency, found.unit, found.day, found.source)
    name = f"{found.provider} {found.region} {found.instance_type or found.sku}, {found.term}"
    if figure.part == "monthly":
        amount = (found.amount * HOURS_A_MONTH).quantize(Decimal("0.01"))
        sums = [(f"{HOURS_A_MONTH} hours at {found.amount:f}", found.amount * HOURS_A_MONTH)]
        evidence = Evidence(f"{HOURS_A_MONTH} hours of the price", parts_of(sums, amount), (used,))
        return Traced(f"A month of {name}", amount, found.currency, evidence)
    seen = f"as listed by {found.source} for {found.day}, seen on {found.seen_on}"
    return Traced(
        f"Price of {name}", found.amount, found.currency, Evidence(seen, (Part(seen, found.amount),), (used,))
    )
