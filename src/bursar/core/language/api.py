"""Language models over HTTP: whether they are wanted, and what they cost this month."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from bursar.core.language import service
from bursar.core.language.rules import CAP_MAX
from bursar.core.language.service import Means
from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Out, Router, TheDb, Traces, router
from bursar.kernel.errors import Invalid

Dollars = Annotated[str, Field(description="US dollars, an exact decimal.", examples=["12.50"])]


class PolicyIn(In):
    """Whether the organisation wants language models, and the most a month may cost it."""

    enabled: bool
    monthly_max_usd: Annotated[
        str,
        Field(
            pattern=r"^[0-9]{1,7}(\.[0-9]{1,4})?$",
            max_length=12,
            description=f"Most that a month may cost, up to {CAP_MAX:,} USD.",
            examples=["10"],
        ),
    ]


class StandingOut(Out):
    """Where the organisation stands this month."""

    enabled: bool
    monthly_max_usd: Dollars
    held_usd: Annotated[str, Field(description="The most that calls on their way can cost.")]
    spent_usd: Dollars
    left_usd: Dollars
    models: list[str]
    trace: Annotated[
        str, Field(description="`/v1/trace/{token}` tells `spent_usd`, and the cap and holds it counts against.")
    ]
    why_not: Annotated[str | None, Field(description="Why nothing can be asked now; null when it can.")]


def _dollars(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def routes(means: Means) -> Router:
    """Return the routes; they tell the standing under these means."""
    r = router("language", tag="Language models", about="Opt in, caps, and what was spent. Nothing needs them.")

    @r.get("/v1/language", right="language:read")
    async def get_language(db: TheDb, actor: As, traces: Traces) -> StandingOut:
        """Tell whether language models may be asked, and what this month did cost."""
        async with db.reading(actor) as tx:
            here = await service.standing(tx, actor, means=means, now=utc_now())
        return StandingOut(
            enabled=here.enabled, monthly_max_usd=_dollars(here.monthly_max), held_usd=_dollars(here.held),
            spent_usd=_dollars(here.spent), left_usd=_dollars(here.left), models=[model.name for model in means.models],
            trace=traces.asked("language", "spent", "USD"), why_not=here.why_not.value if here.why_not else None,
        )  # fmt: skip

    @r.put("/v1/language", right="language:write", status_code=204, refusals=[Invalid])
    async def set_language(body: PolicyIn, db: TheDb, actor: As) -> None:
        """Switch language models on or off, with the organisation's own monthly cap."""
        async with db.writing(actor) as tx:
            await service.set_policy(
                tx, actor, enabled=body.enabled, monthly_max=Decimal(body.monthly_max_usd), now=utc_now()
            )

    return r
