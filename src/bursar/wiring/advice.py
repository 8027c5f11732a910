"""The main job: import, let every advisor look, put the answer together."""

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import UUID

from bursar.core.findings import service as findings
from bursar.core.identity.organisations import service as organisations
from bursar.core.intake import service as intake
from bursar.core.intake.service import Batch, BatchState
from bursar.core.planning import service as planning
from bursar.core.planning.commitments.service import Paid
from bursar.infra import jobs, log
from bursar.infra.clock import utc_now
from bursar.infra.db import Database, Tx
from bursar.kernel.errors import Refusal
from bursar.kernel.finding import Finding
from bursar.parts.banking import service as banking
from bursar.parts.banking.cash import service as cash
from bursar.parts.banking.understanding.promises import service as promises
from bursar.parts.cloud.savings import service as cloud
from bursar.reports.review import Review, made
from bursar.wiring.house import House, local_actor, producer, sources_at, tracer

PAID = Paid(promises.paid)
"""What bank lines and payments have paid of the books' commitments."""

FINDING_KINDS: tuple[str, ...] = (*banking.KINDS, *cash.KINDS, *cloud.KINDS, *planning.KINDS)
"""Every kind of finding the advisors raise."""


THINKING_S = 900
"""How long an advisor may compute between two questions: minutes, where a crowded machine looks at years of a bank."""


async def advise(house: House, org: UUID, *, db: Database | None = None) -> tuple[str, ...]:
    """Run every advisor on the facts of an organisation and bring its inbox up to date.

    Advisors are independent: one that fails leaves its own findings as they were and is named in the answer.

    Args:
        house: The running house.
        org: Id of the organisation.
        db: The database as the caller may use it, such as a job's; the house's by default.

    Returns:
        A sentence about each advisor that failed; empty when all is well.
    """
    actor, now, db = producer(org), utc_now(), db or house.db
    advisors: tuple[tuple[str, tuple[str, ...], Callable[[Tx], Awaitable[list[Finding]]]], ...] = (
        ("banking", banking.KINDS, lambda tx: banking.advise(tx, actor, lake=house.lake)),
        ("cloud", cloud.KINDS, lambda tx: cloud.advise(tx, actor, lake=house.lake, prices=house.prices, now=now)),
        ("cash", cash.KINDS, lambda tx: cash.advise(tx, actor, lake=house.lake)),
        ("planning", planning.KINDS, lambda tx: planning.cost_anomalies(tx, actor, lake=house.lake, now=now)),
    )
    found: list[Finding] = []
    kinds: list[str] = []
    failed: list[str] = []
    for name, its_kinds, run in advisors:
        try:
            async with db.reading(actor) as tx:
                await tx.allow_idle(THINKING_S)
                found += await run(tx)
            kinds += its_kinds
        except Refusal:
            raise
        except Exception as error:  # one advisor's bug must not cost the answers of the others
            log.logger("advise").exception("advisor failed", advisor=name)
            failed.append(f"the advice on {name} failed ({type(error).__name__}); its findings are as they were before")
    async with db.writing(actor) as tx:
        await findings.raise_(tx, actor, kinds=kinds, findings=found, now=now)
        await jobs.enqueue(tx, "banking.refresh", key="banking.refresh", once="all")
    return tuple(failed)


async def review(
    house: House,
    places: Sequence[str | Path],
    *,
    org: str | None = None,
    on_batch: Callable[[Batch], None] = lambda _: None,
) -> Review:
    """Do the main job: import files and folders, run the advisors, return what is worth doing.

    Args:
        house: The running house.
        places: Files, folders and ``s3://bucket/prefix``; what is provably unchanged since its import is not read again.
        org: Id of the organisation that the facts belong to; the local owner's by default.
        on_batch: Called for each document as soon as it is imported.
    """
    began = time.perf_counter()
    actor = await local_actor(house, org)
    batches = []
    sources = await sources_at(house, [str(place) for place in places])
    async for batch in house.importer.import_sources(actor, sources, clock=utc_now, trust_marks=True):
        batches.append(batch)
        on_batch(batch)
    failed = await advise(house, actor.org)
    async with house.db.reading(actor) as tx:
        inbox = await findings.inbox(tx, actor)
        name = (await organisations.organisation(tx, actor)).name
    seconds = time.perf_counter() - began
    return made(batches, inbox, seconds=seconds, tracer=tracer(house, actor.org), failed=failed, organisation=name)


def report(made_review: Review, *, sample: bool = False) -> str:
    """Return the self-contained HTML report of a review; that of the sample is headed with its name and marked."""
    from bursar.reports.html import render
    from bursar.reports.sample.company import COMPANY

    name = COMPANY if sample else made_review.organisation
    return render(made_review, made_at=utc_now(), organisation=name, sample=sample)


async def standing(house: House) -> Review:
    """Return the review of what the local owner's organisation holds now, without importing anything."""
    actor = await local_actor(house)
    async with house.db.reading(actor) as tx:
        batches = await intake.history(tx, actor, limit=1000, state=BatchState.IMPORTED)
        inbox = await findings.inbox(tx, actor)
        name = (await organisations.organisation(tx, actor)).name
    return made(batches, inbox, seconds=0.0, tracer=tracer(house, actor.org), organisation=name)
