"""The alert policy over HTTP."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from bursar.core.planning.policy import rules, service
from bursar.core.planning.policy.service import Policy
from bursar.infra.clock import utc_now
from bursar.infra.web import As, In, Out, TheDb, router

r = router("policy", tag="Anomalies", about="How much an organisation wants to hear about its costs.")


class AlertPolicyIn(In):
    """The whole alert policy."""

    false_alerts: Annotated[
        float,
        Field(
            strict=True,
            gt=0,
            le=rules.FALSE_ALERTS_MAX,
            description="Allowed in 100 series and 30 days.",
            examples=[1.0],
        ),
    ]
    money_floor: Annotated[
        str,
        Field(
            pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})?$",
            max_length=15,
            description="Smallest impact that is told, in major units of `currency`.",
            examples=["20.00"],
        ),
    ]
    percent_floor: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=rules.PERCENT_FLOOR_MAX,
            description="... as a share of what was expected.",
            examples=[0.2],
        ),
    ]
    currency: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Z]{3}$",
            description="Of the money floor, ISO 4217. A bill in another currency is held to it at the latest exchange rate"
            " known, else by order of magnitude; null takes the number for every currency of about a euro's size.",
            examples=["EUR"],
        ),
    ] = None


class AlertPolicyOut(Out):
    """False alerts allowed in 100 series and 30 days; smallest impact told, in money and as a share of the expected.

    ``currency`` is that of the money floor; null where the number holds for every currency of about a euro's size.
    """

    false_alerts: float
    money_floor: str
    percent_floor: float
    currency: str | None


def _out(policy: Policy) -> AlertPolicyOut:
    return AlertPolicyOut.model_validate(service.facts(policy))


@r.get("/v1/anomalies/policy", right="anomaly:read")
async def show_anomaly_policy(db: TheDb, actor: As) -> AlertPolicyOut:
    """Show alert budget and floors."""
    async with db.reading(actor) as tx:
        return _out(await service.get(tx, actor))


@r.put("/v1/anomalies/policy", right="forecast:write")
async def set_anomaly_policy(body: AlertPolicyIn, db: TheDb, actor: As) -> AlertPolicyOut:
    """Replace alert budget and floors; the next scan keeps to them, and every anomaly says what it was told under."""
    wanted = Policy(body.false_alerts, Decimal(body.money_floor), body.percent_floor, body.currency)
    async with db.writing(actor) as tx:
        return _out(await service.put(tx, actor, wanted=wanted, now=utc_now()))
