"""Opinions over HTTP: ask, and see how far it is."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from bursar.core.language.service import Means
from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Out, Router, TheDb, router
from bursar.parts.banking.understanding.opinions import service

_WhyNot = Annotated[str | None, Field(description="Why nothing is asked; the rows stay as they are, for people.")]


class AskIn(In):
    """Whether somebody waits."""

    wait: Annotated[
        bool, Field(description="Ask at once at the full price; else in a batch, within a day, at half.")
    ] = False


class BegunOut(Out):
    """The job that asks; null where nothing is asked."""

    run: Annotated[UUID | None, Field(description="See /v1/jobs.")]
    why_not: _WhyNot


class OpinionsOut(Out):
    """Groups of rows by how far asking about them is."""

    asked: Annotated[int, Field(description="On their way.")] = 0
    disputed: Annotated[int, Field(description="Waiting for the second model.")] = 0
    known: int = 0
    failed: Annotated[int, Field(description="Without a usable answer; may be asked again.")] = 0


def routes(means: Means) -> Router:
    """Return the routes."""
    r = router("opinions", tag="Categories", about="What a language model thinks of groups that nothing here knows.")

    @r.post("/v1/transactions/opinions", right="language:use", status_code=202)
    async def ask_opinions(body: AskIn, db: TheDb, actor: As) -> BegunOut:
        """Ask a language model what undecided rows were for, where the organisation wants that and its caps allow it."""
        async with db.writing(actor) as tx:
            begun = await service.begin(tx, actor, means=means, wait=body.wait, now=utc_now())
        return BegunOut(run=begun.run, why_not=begun.why_not.value if begun.why_not else None)

    @r.get("/v1/transactions/opinions", right="transaction:read")
    async def get_opinions(db: TheDb, actor: As) -> OpinionsOut:
        """Tell how many groups were asked about."""
        async with db.reading(actor) as tx:
            return OpinionsOut(**await service.tally(tx, actor))

    return r
