"""The money of language models: never over a cap, however many ask at once and wherever a process dies."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.language import rules, service
from bursar.core.language.rules import Model, WhyNot, at_most, cap_from, cost_of, models_from
from bursar.core.language.service import Held, Means
from bursar.infra.db import Database
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, Invalid, NotAllowed, NotFound
from bursar.kernel.language import Ended, Question, Said, Usage

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CHEAP = Model("cheap", Decimal("0.10"), Decimal("0.50"))
ASKED = Question("cheap", "x" * 1_000, "y" * 500, {"type": "object"}, 1_000)
MOST = at_most(ASKED, CHEAP, batch=False)


class Nobody:
    """A vendor that is there and never asked."""

    name = "nobody"


def means(cap: Decimal | int, *, vendor: Any = Nobody) -> Means:
    return Means(vendor() if vendor else None, (CHEAP,), Decimal(cap))


async def allow(db: Database, actor: Actor, monthly_max: Decimal | str = "100", *, enabled: bool = True) -> None:
    async with db.writing(actor) as tx:
        await service.set_policy(tx, actor, enabled=enabled, monthly_max=Decimal(monthly_max), now=NOW)


async def hold(db: Database, actor: Actor, have: Means, many: int = 1, *, now: datetime = NOW) -> Held:
    async with db.writing(actor) as tx:
        return await service.hold(tx, actor, means=have, questions=[ASKED] * many, purpose="test", batch=False, now=now)


async def settle(db: Database, actor: Actor, have: Means, call: Any, said: Said | None) -> Decimal:
    async with db.writing(actor) as tx:
        return await service.settle(tx, actor, means=have, call=call, said=said, now=NOW)


async def books(db: Database) -> Decimal:
    """What the installation's months say is taken."""
    async with db.system("proof") as tx:
        return Decimal(await tx.scalar("select coalesce(sum(taken), 0) from language_month"))


async def taken_by(db: Database, actors: Sequence[Actor]) -> Decimal:
    total = Decimal(0)
    for actor in actors:
        async with db.reading(actor) as tx:
            total += Decimal(
                await tx.scalar(sa.text("select coalesce(sum(coalesce(cost, held)), 0) from language_call"))
            )
    return total


async def test_nothing_is_held_before_somebody_switched_it_on(db: Database, actor: Actor) -> None:
    have = means(1)

    off = await hold(db, actor, have)
    await allow(db, actor)
    no_key, no_cap = await hold(db, actor, means(1, vendor=None)), await hold(db, actor, means(0))
    async with db.reading(actor) as tx:
        here = await service.standing(tx, actor, means=have, now=NOW)

    assert (off, no_key, no_cap) == (Held((), WhyNot.OFF), Held((), WhyNot.NO_KEY), Held((), WhyNot.NO_MONEY))
    assert (here.why_not, here.left, here.held) == (None, Decimal(1), Decimal(0))


async def test_the_most_is_held_and_what_it_did_cost_is_kept(db: Database, actor: Actor) -> None:
    have = means(1)
    await allow(db, actor)

    [call] = (await hold(db, actor, have)).calls
    held = await books(db)
    cost = await settle(db, actor, have, call, Said(Ended.ANSWERED, {}, Usage(400, 100)))

    assert held == MOST
    assert cost == Decimal("0.00009") == await books(db) == await taken_by(db, [actor])
    with pytest.raises(Conflict):
        await settle(db, actor, have, call, None)
    with pytest.raises(NotFound):
        await settle(db, actor, have, actor.org, None)


@pytest.mark.parametrize(
    ("said", "cost"),
    [(None, MOST), (Said(Ended.FAILED), Decimal(0)), (Said(Ended.REFUSED, usage=Usage(1_000)), Decimal("0.0001"))],
)
async def test_what_nobody_can_know_counts_in_full_and_what_was_not_done_counts_nothing(
    db: Database, actor: Actor, said: Said | None, cost: Decimal
) -> None:
    have = means(1)
    await allow(db, actor)
    [call] = (await hold(db, actor, have)).calls

    assert await settle(db, actor, have, call, said) == cost == await books(db)


async def test_concurrent_organisations_never_pass_the_cap(db: Database, make_actor: Callable[..., Actor]) -> None:
    have, rights = means(MOST * 10), ("language:read", "language:write", "language:use")
    actors = [make_actor(*rights) for _ in range(4)]
    for actor in actors:
        await allow(db, actor, MOST * 4)

    got = await asyncio.gather(*(hold(db, actor, have, 2) for actor in actors for _ in range(5)))
    calls = sum(len(one.calls) for one in got)

    assert calls == 10
    assert await books(db) == await taken_by(db, actors) == MOST * 10
    assert max([await taken_by(db, [actor]) for actor in actors]) <= MOST * 4


async def test_the_first_questions_that_fit_are_held(db: Database, actor: Actor) -> None:
    await allow(db, actor, MOST * 3)

    held = await hold(db, actor, means(100), 5)

    assert (len(held.calls), held.why_not) == (3, WhyNot.NO_MONEY)
    assert (await hold(db, actor, means(100), 1, now=NOW + timedelta(days=30))).why_not is None


async def test_a_call_whose_process_died_counts_as_spent_and_may_be_asked_again(db: Database, actor: Actor) -> None:
    have = means(1)
    await allow(db, actor)
    first, second = (await hold(db, actor, have, 2)).calls
    async with db.writing(actor) as tx:
        await service.sent(tx, actor, calls=[second], batch="b1")
        early = await service.forget(tx, actor, means=have, now=NOW + timedelta(minutes=5))
        later = await service.forget(tx, actor, means=have, now=NOW + timedelta(minutes=20))
        open_ = await service.of_batch(tx, actor, batch="b1")
        last = await service.forget(tx, actor, means=have, now=NOW + timedelta(hours=31))

    assert (early, later, open_, last) == ([], [first], [second], [second])
    assert await books(db) == MOST * 2


KILLED = """
import asyncio, sys
from uuid import UUID
from tests.core.language.test_money import ASKED, NOW, means
from bursar.core.language import service
from bursar.infra.db import Database
from bursar.kernel.actor import Actor

async def main(url, org, point):
    db, actor = Database(url), Actor(UUID(org), "person:x", frozenset({"language:use"}))
    async with db.writing(actor) as tx:
        await service.hold(tx, actor, means=means(1), questions=[ASKED], purpose="test", batch=False, now=NOW)
        if point == "before":
            print("here", flush=True)
            await asyncio.sleep(60)
    print("here", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(("point", "kept"), [("before", Decimal(0)), ("after", MOST)])
async def test_a_killed_process_leaves_money_held_or_nothing_at_all(
    db: Database, database_url: str, actor: Actor, point: str, kept: Decimal
) -> None:
    await allow(db, actor)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, database_url, str(actor.org), point, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"here\n"

    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with db.writing(actor) as tx:  # waits for the dead one's locks, if it left any
        await service.forget(tx, actor, means=means(1), now=NOW + timedelta(hours=1))

    assert await books(db) == await taken_by(db, [actor]) == kept


async def test_rights_and_limits_are_kept(db: Database, actor: Actor, make_actor: Callable[..., Actor]) -> None:
    nobody = make_actor()
    async with db.writing(nobody) as tx:
        for call in (
            service.standing(tx, nobody, means=means(1), now=NOW),
            service.set_policy(tx, nobody, enabled=True, monthly_max=Decimal(1), now=NOW),
            service.hold(tx, nobody, means=means(1), questions=[], purpose="", batch=False, now=NOW),
            service.settle(tx, nobody, means=means(1), call=nobody.org, said=None, now=NOW),
            service.forget(tx, nobody, means=means(1), now=NOW),
            service.sent(tx, nobody, calls=[], batch=""),
            service.of_batch(tx, nobody, batch=""),
        ):
            with pytest.raises(NotAllowed):
                await call
    for wrong in ("-1", "1000001"):
        with pytest.raises(Invalid):
            await allow(db, actor, wrong)
    with pytest.raises(Invalid):
        await hold(db, actor, means(1), service.QUESTIONS_MAX + 1)


async def test_a_model_that_left_the_settings_costs_what_was_held(db: Database, actor: Actor) -> None:
    await allow(db, actor)
    [call] = (await hold(db, actor, means(1))).calls

    cost = await settle(db, actor, Means(None, (), Decimal(0)), call, Said(Ended.ANSWERED, {}, Usage(1, 1)))

    assert cost == MOST


texts = st.text(max_size=60)


@given(texts, texts, st.integers(0, 500), st.booleans())
def test_no_count_of_the_vendor_can_exceed_what_was_held(standing: str, data: str, written: int, batch: bool) -> None:
    asked = Question("cheap", standing, data, {"type": "object"}, 500)
    sent = len((standing + data).encode()) + len('{"type":"object"}') + rules.OVERHEAD_TOKENS
    worst = [Usage(sent, written), Usage(0, written, cache_written=sent), Usage(0, written, cache_read=sent)]

    assert max(cost_of(one, CHEAP, batch=batch) for one in worst) <= at_most(asked, CHEAP, batch=batch)


def test_a_batch_is_half_the_price_and_caches_have_theirs() -> None:
    model = Model("m", Decimal(1), Decimal(5))

    assert cost_of(Usage(1_000_000, 1_000_000), model, batch=False) == 6
    assert cost_of(Usage(1_000_000, 1_000_000), model, batch=True) == 3
    assert cost_of(Usage(0, 0, 1_000_000, 1_000_000), model, batch=False) == Decimal("1.35")


def test_models_and_caps_are_read_or_refused() -> None:
    assert models_from(["a=0.1/2"]) == (Model("a", Decimal("0.1"), Decimal(2)),)
    assert cap_from("25.00 USD") == 25
    for wrong in ("a", "a=1", "=1/2", "a=x/1", "a=1/-1"):
        with pytest.raises(Invalid):
            models_from([wrong])
    for cap in ("25", "x USD", "25 EUR", "-1 USD", "1000001 USD"):
        with pytest.raises(Invalid):
            cap_from(cap)
