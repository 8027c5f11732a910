"""Forecasts on the command line: make those of every series, show one."""

from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running
from bursar.cli.findings import json_option, org_option
from bursar.cli.main import OK, REFUSED_INPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bursar.core.planning.forecasts.service import Done, Left, Run, Values
    from bursar.core.planning.series.service import Found
    from bursar.kernel.period import Grain
    from bursar.wiring import House

STEPS_SHOWN = 14
"""Periods printed without ``--json``."""


@click.command()
@click.option("--all", "everything", is_flag=True, help="Forecast every series and store what is predicted.")
@click.option("--key", default="", help="Show the stored forecast of this series: its id or its name.")
@click.option("--horizon", type=click.IntRange(1, 360), default=None, help="Periods ahead; 92 days by default.")
@click.option(
    "--grain",
    type=click.Choice(["day", "week", "month"]),
    default=None,
    help="Calendar; that of the nearest steps by default.",
)
@json_option
@org_option
def forecast(everything: bool, key: str, horizon: int | None, grain: str | None, as_json: bool, org: str | None) -> int:
    """Forecast every series of your bills and payments, or show one with its interval and record.

    \b
    bursar forecast --all                      forecast and store; the same facts are not forecast twice
    bursar forecast --key "aws"                what comes for one series
    bursar forecast                            the totals
    """  # noqa: D301  click's mark for text that is not re-wrapped
    if everything:
        return _all(horizon, grain, as_json=as_json, org=org)
    if horizon is not None:
        raise click.UsageError("--horizon belongs to --all; a stored forecast has the horizon it was made with.")
    return _show(key, grain, as_json=as_json, org=org)


def _all(horizon: int | None, grain: str | None, *, as_json: bool, org: str | None) -> int:
    from bursar import wiring
    from bursar.core.planning.scores import service
    from bursar.infra.clock import utc_now
    from bursar.infra.fleet import Fleet
    from bursar.kernel.period import Grain
    from bursar.ml.forecast.lineup import Extras

    left: list[Left] = []

    async def use(house: "House") -> "tuple[list[Done], int]":
        actor = await wiring.local_actor(house, org)
        with running.progress_bar("series") as told:
            return await service.renew(
                house.db,
                actor,
                lake=house.lake,
                now=utc_now(),
                grains=(Grain(grain),) if grain else (),
                horizon=horizon,
                progress=told,
                fleet=Fleet(house.settings.engine),
                extras=Extras.of(house.settings.forecasters),
                leave=left.append,
            )

    done, scored = running.in_house(use)
    for each in left:
        running.talk(
            f"{each.source} {each.grain} {each.currency} is not forecast: {each.because.what}. {each.because.fix}"
        )
    status = REFUSED_INPUT if left else OK
    if as_json:
        why = [
            {"source": one.source, "grain": one.grain, "currency": one.currency, "because": str(one.because)}
            for one in left
        ]
        panels = [_run_dict(one.run) | {"new": one.made} for one in done]
        running.print_json({"panels": panels, "scored": scored, "left": why})
        return status
    for one in done:
        run = one.run
        held = f"{run.coverage80:.0%}/{run.coverage95:.0%}" if run.coverage80 and run.coverage95 else "no backtest"
        click.echo(
            f"{run.source:<8} {run.grain:<6} {run.currency}  {run.series:>6,} series  {run.horizon:>3} ahead from"
            f" {run.origin}  80/95 % held {held:<11}  {_served_by(run)}"
            f"  {'made now' if one.made else 'known already'}"
        )
    if not done and not left:
        running.talk("There is nothing to forecast yet. `bursar review FOLDER` imports bills.")
    return status


def _served_by(run: "Run") -> str:
    return f"model {run.model_version}" if run.model_version is not None else "no kept model"


def _show(key: str, grain: str | None, *, as_json: bool, org: str | None) -> int:
    from bursar import wiring
    from bursar.core.planning.forecasts import service
    from bursar.core.planning.series import service as series
    from bursar.infra.clock import utc_now
    from bursar.kernel.errors import NotFound
    from bursar.kernel.period import Grain

    async def use(house: "House") -> "list[tuple[Run, Values]]":
        actor = await wiring.local_actor(house, org)
        async with house.db.reading(actor) as tx:
            found = [
                one
                for source, grains in series.GRAINS.items()
                for one in await series.listed(
                    tx, actor, lake=house.lake, source=source, grain=Grain(grain) if grain else grains[0], now=utc_now(),
                    search=key,
                )
            ]  # fmt: skip
            exact = [one for one in found if key in {one.id, one.key}] if key else found
            totals = [one for one in found if one.level == "total" and one.grain in series.GRAINS[one.source]]
            wanted = (exact or found)[:1] if key else totals
            out = []
            for one in wanted:
                try:
                    out.append(await service.of_series(tx, actor, id_=one.id, grain=one.grain))
                except NotFound:
                    running.talk(_missing(one, series.GRAINS[one.source]))
            if key and not wanted:
                raise NotFound("series", key)
            return out

    found = running.in_house(use)
    if as_json:
        running.print_json([_series_dict(run, values) for run, values in found])
        return OK
    for run, values in found:
        click.echo("\n".join(_lines(run, values)))
    return OK


def _missing(one: "Found", grains: "Sequence[Grain]") -> str:
    """Say why there is no forecast of a series and what makes one."""
    if one.grain not in grains:
        return f"{one.key} of {one.source} is forecast by the {' and the '.join(grains)}: --grain {grains[0]}"
    return (
        f"{one.key} of {one.source} is not forecast by the {one.grain} yet: `{running.chosen.command} forecast --all`"
    )


def _run_dict(run: "Run") -> dict[str, Any]:
    return {name: getattr(run, name) for name in type(run).__dataclass_fields__}


def _series_dict(run: "Run", values: "Values") -> dict[str, Any]:
    from bursar.core.planning.forecasts.service import amount_of

    arrays = ("mean", "lower80", "upper80", "lower95", "upper95", "baseline")
    facts = {name: getattr(values, name) for name in type(values).__dataclass_fields__ if name not in arrays}
    steps = [
        {"start": start} | {name: f"{amount_of(getattr(values, name)[at]):f}" for name in arrays}
        for at, start in enumerate(run.starts)
    ]
    return {"run": _run_dict(run), "series": facts, "steps": steps}


def _lines(run: "Run", values: "Values") -> list[str]:
    from bursar.core.planning.forecasts.service import amount_of

    beats = f"MASE {values.error:.2f} against {values.baseline_error:.2f}" if values.error is not None else "not tried"
    lines = [
        f"{values.key}  {run.source}, by the {run.grain}, {run.currency}  ({values.id})",
        f"    {values.model}; {run.baseline} is the baseline, {beats}",
        *(f"    {note}" for note in run.notes),
        f"    trained on {run.first_day} to {run.last_day}, made {run.made_at:%Y-%m-%d %H:%M}, version {run.code_version}",
    ]
    for at, start in enumerate(run.starts[:STEPS_SHOWN]):
        mean, low, high = (amount_of(getattr(values, name)[at]) for name in ("mean", "lower80", "upper80"))
        lines.append(f"    {start}  {mean:>14,.2f}   80 %: {low:>14,.2f} to {high:>14,.2f}")
    if run.horizon > STEPS_SHOWN:
        lines.append(f"    … {run.horizon - STEPS_SHOWN} more with --json")
    total = sum(values.mean)
    lines.append(f"    {'together':<10}  {amount_of(total):>14,.2f}")
    return lines
