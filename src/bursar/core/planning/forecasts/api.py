"""Forecasts over HTTP: stored ones by series, forecasts of sent numbers, what-if."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

import numpy as np
from fastapi import Path
from pydantic import Field

import bursar
from bursar.core.planning.forecasts import service
from bursar.core.planning.forecasts.rules import given
from bursar.core.planning.forecasts.rules.stored import HORIZON_MAX
from bursar.core.planning.forecasts.service import Answer, Drivers, Given, Moved, Run, Values, amount_of
from bursar.core.planning.scores import service as scores
from bursar.core.planning.scores.api import RecordOut, record_out
from bursar.core.planning.scores.service import Record
from bursar.core.planning.series import service as series
from bursar.core.planning.series.api import GrainName
from bursar.infra.clock import utc_now
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.infra.traces import Tracer
from bursar.infra.web import As, Day, In, Out, Router, TheDb, Traces, router
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotFound
from bursar.kernel.money import plainly
from bursar.kernel.period import Grain
from bursar.kernel.series import calendar
from bursar.ml.forecast.lineup import Extras

BODY_BYTES_MAX = 8 * 1024 * 1024
"""Largest request with own numbers."""

HISTORY_MAX = 400
"""Periods of history sent beside a stored forecast."""

Key = Annotated[str, Path(pattern=r"^S[0-9a-f]{16}$", description="Id of a series, from `GET /v1/series`.")]
Stamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?$",
        max_length=40,
        examples=["2026-01-31", "2026-03-29T01:00:00+01:00"],
        description="Day or instant; hours are told apart by their offset from UTC.",
    ),
]
Amount = Annotated[float | None, Field(strict=True, description="Amount in major units; null for a gap.")]
Rate = Annotated[
    str,
    Field(
        pattern=r"^-?[0-9]{1,3}(\.[0-9]{1,6})?$",
        max_length=11,
        examples=["0.1"],
        description="Relative change as a decimal text; 0.1 is 10 % more.",
    ),
]


class PointIn(In):
    """One amount at one time."""

    at: Stamp
    amount: Amount


class GivenIn(In):
    """One series: points in any order, or a start and values without a break."""

    key: Annotated[str, Field(min_length=1, max_length=given.KEY_CHARS_MAX, examples=["cloud/eu"])]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["EUR"], max_length=3)]
    points: Annotated[list[PointIn] | None, Field(max_length=given.POINTS_MAX)] = None
    start: Stamp | None = None
    values: Annotated[list[Amount] | None, Field(max_length=given.POINTS_MAX)] = None


class ForecastIn(In):
    """Own numbers to forecast; nothing is stored."""

    grain: Annotated[Literal["hour", "day", "week", "month"], Field(description="Calendar of the numbers.")] = "day"
    horizon: Annotated[int, Field(strict=True, ge=1, le=HORIZON_MAX, description="Periods ahead.")] = 30
    country: Annotated[
        str, Field(pattern=r"^([A-Z]{2})?$", max_length=2, description="Country whose public holidays matter.")
    ] = ""
    series: Annotated[list[GivenIn], Field(min_length=1, max_length=given.SERIES_MAX)]


class StepOut(Out):
    """What is expected of one period; amounts in major units."""

    start: datetime
    mean: str
    lower80: str
    upper80: str
    lower95: str
    upper95: str


class StoredStepOut(Out):
    """What was predicted for one period, with the stored baseline beside it; amounts in major units."""

    start: date
    mean: str
    lower80: str
    upper80: str
    lower95: str
    upper95: str
    baseline: str
    trace: Annotated[
        str, "`/v1/trace/{token}` tells what `mean` is made of, its ranges and the rows it was learned from."
    ]


class ServedOut(Out):
    """What made a forecast and how it held on earlier windows (errors in seasonal-naive steps)."""

    model: str
    version: str
    baseline: str
    beats_baseline: bool
    error: float | None
    baseline_error: float | None
    trained_from: date
    trained_to: date
    coverage80: Annotated[float | None, "Share of held-out backtest outcomes inside the 80 % interval."]
    coverage95: float | None


class KeptOut(Out):
    """The kept training that served: its name and version, from `GET /v1/models`."""

    model: str
    version: int


class GivenForecastOut(Out):
    """The forecast of one sent series; `notes` says what was assumed."""

    key: str
    currency: str
    served: ServedOut
    notes: list[str]
    steps: list[StepOut]


class ForecastsOut(Out):
    """Forecasts in the order sent."""

    series: list[GivenForecastOut]


class PastOut(Out):
    """One period of history."""

    start: date
    amount: str
    trace: Annotated[str, "`/v1/trace/{token}` tells its exact parts and source lines."]


class StoredForecastOut(Out):
    """The newest stored forecast of a series, with the record of all stored forecasts of its kind."""

    key: str
    name: str
    level: str
    parent: str | None
    source: str
    grain: Grain
    currency: str
    made_at: datetime
    newer_facts: Annotated[bool | None, "Whether days after the training window are known by now; null where unseen."]
    cold: bool
    served: ServedOut
    kept: Annotated[KeptOut | None, "Null where no training was good enough to be kept."]
    notes: Annotated[list[str], "Which training served and why; which holidays and events counted."]
    record: RecordOut | None
    history: list[PastOut]
    steps: list[StoredStepOut]


class ChangeIn(In):
    """Drivers that change one series from a day on."""

    series: Annotated[str, Field(pattern=r"^S[0-9a-f]{16}$", description="Id of the series that changes.")]
    price: Rate = "0"
    volume: Rate = "0"
    growth: Annotated[Rate, "A month, compounding."] = "0"
    since: Annotated[Day | None, "First day of the change; the first day forecast by default."] = None

    def drivers(self) -> Drivers:
        """Translate for the service."""
        return Drivers(Decimal(self.price), Decimal(self.volume), Decimal(self.growth), self.since)


class WhatIfIn(ChangeIn):
    """A change of one series, seen in the forecast of one grain."""

    grain: Literal["day", "week", "month"] = "day"


class MovedOut(Out):
    """One series before and after; the total is the last."""

    key: str
    name: str
    level: str
    before: str
    after: str
    change: str
    steps: list[StepOut]
    trace: Annotated[
        str, "`/v1/trace/{token}` tells what `before` is made of; the drivers of the question do the rest."
    ]


class WhatIfOut(Out):
    """The changed series and everything above it; the tree still adds up."""

    currency: str
    grain: Grain
    made_at: datetime
    series: list[MovedOut]


def routes(lake: Lake, extras: Extras) -> Router:
    """Return the routes of forecasts; ``lake`` holds the facts, ``extras`` compete in stored forecasts alone."""
    r = router("forecasts", tag="Forecasts", about="What comes, with intervals, models and the record of both.")

    @r.post("/v1/forecasts", right="forecast:read", once="never", body_bytes_max=BODY_BYTES_MAX)
    async def forecast_numbers(body: ForecastIn, actor: As) -> ForecastsOut:
        """Forecast own numbers; nothing is stored. Each currency is forecast apart from the others."""
        grain = Grain(body.grain)
        sent = [_given(one, grain) for one in body.series]
        horizon, country = body.horizon, body.country
        answers = await service.forecast_given(
            actor, given_=sent, grain=grain, horizon=horizon, country=country, extras=extras
        )
        return ForecastsOut(series=[_answer(one) for one in answers])

    @r.post("/v1/forecasts/what-if", right="forecast:read", once="never", refusals=[NotFound])
    async def what_if(body: WhatIfIn, db: TheDb, actor: As, traces: Traces) -> WhatIfOut:
        """Change price, volume or growth of a series; see its stored forecast and everything above it move."""
        async with db.reading(actor) as tx:
            run, moved = await service.what_if(
                tx, actor, id_=body.series, grain=Grain(body.grain), drivers=body.drivers()
            )
        return WhatIfOut(
            currency=run.currency,
            grain=run.grain,
            made_at=run.made_at,
            series=[_moved(run, one, traces) for one in moved],
        )

    @r.get("/v1/series/{key}/forecast", right="forecast:read")
    async def series_forecast(
        key: Key, db: TheDb, actor: As, traces: Traces, grain: GrainName = "day"
    ) -> StoredForecastOut:
        """Show the newest stored forecast of a series: intervals, model, version, training window and record."""
        async with db.reading(actor) as tx:
            run, values = await service.of_series(tx, actor, id_=key, grain=Grain(grain))
            record = await scores.live(tx, source=run.source, grain=run.grain, currency=run.currency)
            history, newer = await _history(tx, actor, lake, key, run, traces)
        return _stored(run, values, record, history, newer, traces)

    return r


async def _history(
    tx: Tx, actor: Actor, lake: Lake, key: str, run: Run, traces: Tracer
) -> tuple[list[PastOut], bool | None]:
    """Return the newest periods of history and whether facts go on after the training window."""
    if not actor.may("series:read"):
        return [], None
    try:
        found, times, amounts = await series.find(tx, actor, lake=lake, id_=key, grain=run.grain, now=utc_now())
    except NotFound:  # the facts were taken back since
        return [], None
    past = [
        PastOut(
            start=start,
            amount=plainly(Decimal(f"{amount:.{series.PLACES}f}"), run.currency),
            trace=traces.token(series.figure(found, start)),
        )
        for start, amount in list(zip(times.astype("datetime64[D]").tolist(), amounts, strict=True))[-HISTORY_MAX:]
    ]
    return past, past[-1].start >= run.origin


def _given(one: GivenIn, grain: Grain) -> Given:
    if (one.points is None) == (one.values is None) or (one.values is None) != (one.start is None):
        raise Invalid(f"series {one.key} needs either points, or a start with values")
    if one.points is not None:
        return Given(one.key, one.currency, [(_when(each.at), each.amount) for each in one.points])
    first = _when(str(one.start))
    amounts = one.values or []
    if grain is Grain.HOUR:
        return Given(one.key, one.currency, [(first + timedelta(hours=at), each) for at, each in enumerate(amounts)])
    try:
        starts = calendar(np.datetime64(first.date(), "h"), grain, len(amounts))
        stamps = [start.astype("datetime64[s]").astype(object) for start in starts]
        return Given(one.key, one.currency, list(zip(stamps, amounts, strict=True)))
    except (ValueError, OverflowError) as error:
        raise Invalid(f"series {one.key} runs past the calendar") from error


def _when(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"{text} is no day of the calendar", "Write for instance 2026-01-31.") from error


def _answer(one: Answer) -> GivenForecastOut:
    return GivenForecastOut(
        key=one.key,
        currency=one.currency,
        served=ServedOut(
            model=one.model,
            version=bursar.__version__,
            baseline=one.baseline,
            beats_baseline=one.beats_baseline,
            error=one.error,
            baseline_error=one.baseline_error,
            trained_from=one.first.date(),
            trained_to=one.last.date(),
            coverage80=one.coverage80,
            coverage95=one.coverage95,
        ),
        notes=list(one.notes),
        steps=[
            StepOut(start=start, **{name: f"{getattr(one, name)[at]:.4f}" for name in _ENDS})
            for at, start in enumerate(one.starts)
        ],
    )


_ENDS = ("mean", "lower80", "upper80", "lower95", "upper95")


def _served(run: Run, values: Values) -> ServedOut:
    return ServedOut(
        model=values.model, version=run.code_version, baseline=run.baseline, beats_baseline=values.beats_baseline,
        error=values.error, baseline_error=values.baseline_error, trained_from=run.first_day, trained_to=run.last_day,
        coverage80=run.coverage80, coverage95=run.coverage95,
    )  # fmt: skip


def _stored(
    run: Run, values: Values, record: Record | None, history: list[PastOut], newer: bool | None, traces: Tracer
) -> StoredForecastOut:
    return StoredForecastOut(
        key=values.id,
        name=values.key,
        level=values.level,
        parent=values.parent or None,
        source=run.source,
        grain=run.grain,
        currency=run.currency,
        made_at=run.made_at,
        newer_facts=newer,
        cold=values.cold,
        served=_served(run, values),
        kept=None if run.model_version is None else KeptOut(model=run.model, version=run.model_version),
        notes=list(run.notes),
        record=record_out(record),
        history=history,
        steps=[
            StoredStepOut(
                start=start,
                baseline=f"{amount_of(values.baseline[at]):f}",
                trace=traces.token(service.figure(run, values, start)),
                **{name: f"{amount_of(getattr(values, name)[at]):f}" for name in _ENDS},
            )
            for at, start in enumerate(run.starts)
        ],
    )


def _moved(run: Run, one: Moved, traces: Tracer) -> MovedOut:
    before, after = sum(one.values.mean), sum(one.mean)
    return MovedOut(
        key=one.values.id,
        name=one.values.key,
        level=one.values.level,
        before=f"{amount_of(before):f}",
        after=f"{amount_of(after):f}",
        change=f"{amount_of(after - before):f}",
        trace=traces.token(service.figure(run, one.values)),
        steps=[
            StepOut(
                start=datetime.combine(start, datetime.min.time()),
                **{name: f"{amount_of(getattr(one, name)[at]):f}" for name in _ENDS},
            )
            for at, start in enumerate(run.starts)
        ],
    )
