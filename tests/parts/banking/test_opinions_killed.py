"""A batch whose sender is killed at any point is asked once, collected once and paid once."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bursar.connectors.language.anthropic import Anthropic
from bursar.core.intake.jobs import Importer
from bursar.core.language.service import ASKING_MAX, WhyNot
from bursar.infra.clock import utc_now
from bursar.infra.http import NoAnswer
from bursar.kernel.actor import Actor
from bursar.kernel.language import Question
from bursar.parts.banking.understanding.opinions import jobs, service
from tests.connectors.language.vendor import Model
from tests.parts.banking.statements import importer_in
from tests.parts.banking.test_opinions import asking, money, running, sorting, state


@pytest.fixture
async def importer(db: Any, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


STRANGE = Question("cheap", "put there:\n", "[]", {}, 1)


class Killed(BaseException):
    """The process dies here."""


async def _before_sending(*_: Any, **__: Any) -> Any:
    raise Killed


def _after(real: Callable[..., Any], *, times: int = 1) -> Callable[..., Any]:
    """Return ``real`` that dies once it is done for the ``times``-th time."""
    left = [times]

    async def dying(*args: Any, **kwargs: Any) -> Any:
        done = await real(*args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return done

    return dying


POINTS: Mapping[str, tuple[Any, str, Callable[..., Any]]] = {
    "planned, not sent": (Anthropic, "submit", _before_sending),
    "sent, name not received": (Anthropic, "submit", _after(Anthropic.submit)),
    "name received, not written down": (service, "batch_sent", _before_sending),
    "name written down, not committed": (service, "batch_sent", _after(service.batch_sent)),
    "collected, nothing settled": (Anthropic, "collect", _after(Anthropic.collect)),
    "one answer taken, not committed": (service, "take", _after(service.take)),
}


async def queued(importer: Importer, actor: Actor, name: str) -> list[dict[str, Any]]:
    """Return what is queued under a name, the newest last."""
    async with importer.db.reading(actor) as tx:
        query = sa.text("select args from procrastinate_jobs where task_name = :name and status = 'todo' order by id")
        return [dict(row.args["args"]) for row in await tx.all(query, {"name": name})]


async def worked_off(importer: Importer, actor: Actor, context: Any, means: Any) -> None:
    """Do what a fresh worker does: the killed job again, then what is queued."""
    await jobs.ask.run(context, org=str(actor.org))
    for job in (jobs.look, jobs.collect, jobs.collect, jobs.look, jobs.collect):
        for facts in await queued(importer, actor, job.name):
            await job.run(running(importer.db, job, actor, means), **{"org": str(actor.org), **facts})


@pytest.mark.parametrize("point", POINTS)
async def test_a_batch_survives_a_kill_at(
    point: str, importer: Importer, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(sorting({"CAB": "Travel", "IGNORE": "Office"}), pending=0)
    async with asking(importer, actor, model) as (means, context):
        with monkeypatch.context() as dying:
            dying.setattr(POINTS[point][0], POINTS[point][1], POINTS[point][2])
            with pytest.raises(Killed):
                await jobs.ask.run(context, org=str(actor.org))
                for facts in await queued(importer, actor, jobs.COLLECT):
                    await jobs.collect.run(
                        running(importer.db, jobs.collect, actor, means), **{"org": str(actor.org), **facts}
                    )
        await worked_off(importer, actor, context, means)
        if point == "planned, not sent":
            assert model.batches == {}
            await worked_off(importer, actor, context, means)
        spent = await money(importer, actor, means)
        async with importer.db.reading(actor) as tx:
            calls = await tx.all(sa.text("select state, cost, held from language_call order by id"))
            taken = await tx.scalar(sa.text("select sum(taken) from language_month"))

    assert len(model.batches) == 1
    assert await state(importer, actor) == {"known": 2}
    assert spent.held == 0 < spent.spent == sum(one.cost for one in calls) == taken
    assert [one.state for one in calls if one.cost] == ["settled"]


async def test_a_batch_in_progress_is_looked_for_again_and_a_stranger_is_left_alone(
    importer: Importer, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(sorting({"CAB": "Travel", "IGNORE": "Office"}), pending=1, page_max=1)
    async with asking(importer, actor, model) as (means, context):
        vendor: Any = means.vendor
        with monkeypatch.context() as dying:
            dying.setattr(Anthropic, "submit", _after(Anthropic.submit))
            with pytest.raises(Killed):
                await jobs.ask.run(context, org=str(actor.org))
        [ours] = model.batches.values()
        await vendor.submit({"somebody-else": STRANGE})
        await vendor.submit({"a": STRANGE, "b": STRANGE})
        [facts] = await queued(importer, actor, jobs.LOOK)
        looking = running(importer.db, jobs.look, actor, means)
        early = await jobs.look.run(looking, **{"org": str(actor.org), **facts})
        model.polls = 1
        found = await jobs.look.run(looking, **{"org": str(actor.org), **facts})
        again = await jobs.look.run(looking, **{"org": str(actor.org), **facts})
        [collecting] = await queued(importer, actor, jobs.COLLECT)

    assert (early["why_not"], found["asked"], again["asked"]) == (WhyNot.OFFLINE.value, 1, 0)
    assert model.batches[collecting["batch"]] == ours


async def test_what_cannot_be_found_is_counted_when_the_vendor_has_ended_it(
    importer: Importer, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(sorting({}), pending=99)
    async with asking(importer, actor, model) as (means, context):
        with monkeypatch.context() as dying:
            dying.setattr(Anthropic, "submit", _after(Anthropic.submit))
            with pytest.raises(Killed):
                await jobs.ask.run(context, org=str(actor.org))
        soon, late = utc_now() + ASKING_MAX * 2, utc_now() + timedelta(hours=31)
        async with importer.db.writing(actor) as tx:
            await service.plan(tx, actor, means=means, batch=True, now=soon)
            held = (await money(importer, actor, means)).held
        async with importer.db.writing(actor) as tx:
            await service.plan(tx, actor, means=means, batch=True, now=late)
        spent = await money(importer, actor, means)

    assert held > 0
    assert spent.spent == held


async def test_looking_without_a_vendor_that_answers_waits(
    importer: Importer, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise NoAnswer("vendor", "it is away")

    model = Model(sorting({}))
    async with asking(importer, actor, model) as (means, context):
        with monkeypatch.context() as dying:
            dying.setattr(Anthropic, "submit", _after(Anthropic.submit))
            with pytest.raises(Killed):
                await jobs.ask.run(context, org=str(actor.org))
        [facts] = await queued(importer, actor, jobs.LOOK)
        monkeypatch.setattr(Anthropic, "batches", away)
        done = await jobs.look.run(running(importer.db, jobs.look, actor, means), **{"org": str(actor.org), **facts})
        later = await queued(importer, actor, jobs.LOOK)

    assert done["why_not"] == WhyNot.OFFLINE.value
    assert [one["polls"] for one in later] == [0, 1]
