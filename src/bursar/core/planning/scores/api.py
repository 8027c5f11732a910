"""Models and their record over HTTP."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import Path, Query

from bursar.core.planning.models import service as kept
from bursar.core.planning.models.service import Listed as Kept
from bursar.core.planning.scores import service
from bursar.core.planning.scores.service import Line, Record, Use
from bursar.core.planning.series.api import SourceName
from bursar.infra.web import As, Listed, Out, Page, TheDb, router
from bursar.kernel.period import Grain

r = router("models", tag="Models", about="Which models served, and how what they said held.")

ModelId = Annotated[
    str, Path(pattern=r"^[a-z][a-z0-9_]{0,59}$", description="Name of a model, or `all` for every forecast.")
]


class RecordOut(Out):
    """How stored forecasts held against later facts."""

    periods: int
    coverage80: float
    coverage95: float
    wape: float | None
    baseline_wape: float | None
    mase: float
    baseline_mase: float


class CardOut(Out):
    """What a kept training is; its `artefact` is numbers, checked against `sha256` before it serves."""

    version: int
    state: Annotated[Literal["serving", "previous", "kept"], "`kept` ones do not serve."]
    trained_at: datetime
    window_from: date
    window_to: date
    data_hash: str
    code_version: str
    sha256: str
    size_bytes: int
    parameters: dict[str, str | int | float | list[str]]
    metrics: dict[str, float]
    baseline: str
    baseline_metrics: dict[str, float]
    seed: int
    notes: Annotated[list[str], "How models of optional packages were trained, and which took no part."]


class ModelOut(Out):
    """A model that led forecasts, or one kept training with its `card`.

    `beating` counts the series on which the mix beat the declared baseline.
    """

    id: str
    version: str
    series: int
    runs: int
    beating: int
    first_at: datetime
    last_at: datetime
    card: CardOut | None = None


class HeldOut(RecordOut):
    """How forecasts held over the periods scored; errors beside those of the stored baseline."""


class BlockOut(Out):
    """The record of a range of steps ahead."""

    first_step: int
    last_step: int
    held: HeldOut


class RunOut(Out):
    """The record of one stored run."""

    origin: date
    made_at: datetime
    held: HeldOut


class LineOut(Out):
    """The record on one kind of series."""

    source: str
    grain: Grain
    currency: str
    held: HeldOut
    by_block: list[BlockOut]
    by_run: list[RunOut]


class AlertOut(Out):
    """How often people found one kind of alert real; `precision` is null while nobody judged one."""

    kind: str
    raised: int
    real: int
    dismissed: int
    precision: float | None


class PerformanceOut(Out):
    """How a model held, computed from what was stored when it was predicted."""

    model: str
    lines: list[LineOut]
    alerts: list[AlertOut]


def _training(one: Kept, use: Mapping[tuple[str, int], Use]) -> ModelOut:
    card = one.card
    trained_at = datetime.fromisoformat(card.trained_at)
    used = use.get((card.name, card.version), Use(0, 0, trained_at, trained_at))
    return ModelOut(
        id=card.name,
        version=str(card.version),
        series=used.series,
        runs=used.runs,
        beating=round(card.metrics.get("beats_baseline", 0.0) * used.series),
        first_at=used.first_at,
        last_at=used.last_at,
        card=CardOut(
            version=card.version,
            state=one.state,
            trained_at=trained_at,
            window_from=date.fromisoformat(card.window[0]),
            window_to=date.fromisoformat(card.window[1]),
            data_hash=card.data_hash,
            code_version=card.code_version,
            sha256=card.sha256,
            size_bytes=one.size,
            parameters=dict(card.parameters),
            metrics=dict(card.metrics),
            baseline=card.baseline,
            baseline_metrics=dict(card.baseline_metrics),
            seed=card.seed,
            notes=list(card.notes),
        ),
    )


def _held(record: service.Record) -> HeldOut:
    return HeldOut(**{name: getattr(record, name) for name in HeldOut.model_fields})


def _line(line: Line) -> LineOut:
    return LineOut(
        source=line.kind.source,
        grain=line.kind.grain,
        currency=line.kind.currency,
        held=_held(line.whole),
        by_block=[BlockOut(first_step=a, last_step=b, held=_held(held)) for a, b, held in line.by_block],
        by_run=[RunOut(origin=day, made_at=at, held=_held(held)) for day, at, held in line.by_run],
    )


def record_out(record: Record | None) -> RecordOut | None:
    """Translate a record for the wire."""
    return None if record is None else RecordOut(**{name: getattr(record, name) for name in RecordOut.model_fields})


@r.get("/v1/models", right="model:read")
async def list_models(db: TheDb, actor: As, page: Page) -> Listed[ModelOut]:
    """List kept trainings with their cards, then the models that led stored forecasts, the last serving first."""
    async with db.reading(actor) as tx:
        found = await service.models(tx, actor)
        trainings = await kept.listed(tx, actor)
        use = await service.served(tx, actor)
    every = [_training(one, use) for one in trainings] + [
        ModelOut(**{name: getattr(one, name) for name in ModelOut.model_fields if name != "card"}) for one in found
    ]
    start = int(page.after[0]) if page.after else 0
    numbered = list(enumerate(every[start : start + page.limit + 1], start + 1))
    return page.listed(numbered, key=lambda pair: (pair[0],), out=lambda pair: pair[1])


@r.get("/v1/models/{id}/performance", right="model:read")
async def model_performance(
    id: ModelId,  # noqa: A002  the word of the API
    db: TheDb,
    actor: As,
    source: SourceName = None,
    grain: Annotated[Literal["day", "week", "month"] | None, Query(description="Only this calendar.")] = None,
) -> PerformanceOut:
    """Show how a model's stored forecasts held against later facts, and how often alerts were found real."""
    async with db.reading(actor) as tx:
        lines = await service.performance(
            tx, actor, model=id, source=source or "", grain=Grain(grain) if grain else None
        )
        alerts = await service.precision(tx, actor)
    return PerformanceOut(
        model=id,
        lines=[_line(one) for one in lines],
        alerts=[AlertOut(**{name: getattr(one, name) for name in AlertOut.model_fields}) for one in alerts],
    )
