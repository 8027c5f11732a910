"""The planning calendar over HTTP."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from bursar.core.planning.calendars import rules, service
from bursar.core.planning.calendars.service import Event, Planned
from bursar.infra.clock import utc_now
from bursar.infra.web import As, Day, In, Out, TheDb, router

r = router("calendar", tag="Forecasts", about="Holidays and planned events that forecasts count with.")


class EventIn(In):
    """Something known in advance; with an amount it is added to the forecast, without one its effect is learned."""

    name: Annotated[str, Field(min_length=1, max_length=rules.NAME_CHARS_MAX, examples=["licence renewal"])]
    days: Annotated[list[Day], Field(min_length=1, max_length=rules.EVENT_DAYS_MAX)]
    series: Annotated[str, Field(pattern=r"^(S[0-9a-f]{16})?$", max_length=17, description="Empty for the total.")] = ""
    amount: Annotated[
        str | None, Field(pattern=r"^-?[0-9]{1,12}(\.[0-9]{1,4})?$", max_length=18, examples=["12000.00"])
    ] = None
    currency: Annotated[str, Field(pattern=r"^([A-Z]{3})?$", max_length=3)] = ""


class CalendarIn(In):
    """The whole calendar."""

    country: Annotated[
        str | None,
        Field(
            pattern=r"^([A-Z]{2})?$", max_length=2, description="Empty for no holidays; null lets each currency decide."
        ),
    ] = None
    subdivision: Annotated[str, Field(pattern=r"^[A-Z0-9]{0,6}$", max_length=6)] = ""
    events: Annotated[list[EventIn], Field(default_factory=list, max_length=rules.EVENTS_MAX)]


class EventOut(Out):
    """Something known in advance."""

    name: str
    days: list[date]
    series: str
    amount: str | None
    currency: str


class CalendarOut(Out):
    """Whose public holidays count; `country` is null while nobody said, then the currency of a series decides."""

    country: str | None
    subdivision: str
    events: list[EventOut]


def _out(planned: Planned) -> CalendarOut:
    return CalendarOut(
        country=planned.country,
        subdivision=planned.subdivision,
        events=[
            EventOut(
                name=event.name,
                days=list(event.days),
                series=event.series,
                amount=None if event.amount is None else f"{event.amount:f}",
                currency=event.currency,
            )
            for event in planned.events
        ],
    )


@r.get("/v1/planning/calendar", right="forecast:read")
async def show_calendar(db: TheDb, actor: As) -> CalendarOut:
    """Show whose holidays and which events forecasts count with."""
    async with db.reading(actor) as tx:
        return _out(await service.get(tx, actor))


@r.put("/v1/planning/calendar", right="forecast:write")
async def set_calendar(body: CalendarIn, db: TheDb, actor: As) -> CalendarOut:
    """Replace holidays and events; the next forecast counts with them, and its models are trained anew."""
    events = tuple(
        Event(
            one.name,
            tuple(sorted(set(one.days))),
            one.series,
            None if one.amount is None else Decimal(one.amount),
            one.currency,
        )
        for one in body.events
    )
    async with db.writing(actor) as tx:
        return _out(
            await service.put(tx, actor, planned=Planned(body.country, body.subdivision, events), now=utc_now())
        )
