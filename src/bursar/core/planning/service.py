"""Use cases of planning: series from the lake, anomalies as findings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

import numpy as np
import polars as pl

from bursar.core.findings import service as findings
from bursar.core.intake import service as intake
from bursar.core.planning.rules import alerts as rules
from bursar.core.planning.rules.series import KEY_SEPARATOR, covered_until, dense, grouped, panels
from bursar.core.planning.series.rules import COST, usage_rows
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Finding, SourceRow
from bursar.kernel.lines import COST_LINES
from bursar.kernel.series import Panel
from bursar.ml.anomaly.alerts import Alert, AlertKind, Detection, Rules
from bursar.ml.anomaly.detect import detect

KINDS = tuple(rules.KINDS.values())
"""Every kind of finding that planning raises."""

SCAN_DAYS_MAX = 365
"""How far back a first review looks for anomalies."""

HISTORY_DAYS_MIN = 42
"""A series needs this many days before the scanned ones."""

MONEY_FLOOR = 20.0
"""Smallest impact, in major units, that is told."""

COST_DIMENSIONS = COST.dimensions
"""What makes a cost series: provider, account, service."""


@dataclass(frozen=True, slots=True)
class CostSeries:
    """Daily cost series by currency, and the rows they were built from (lazily)."""

    panels: dict[str, Panel]
    rows: pl.LazyFrame


async def cost_series(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> CostSeries:
    """Build the daily cost series of the organisation by one grouping over its bills."""
    actor.must("series:read")
    lines = await lake.scan(tx, COST_LINES)
    if "batch" not in lines.collect_schema().names():
        lines = lines.with_columns(pl.lit("").alias("batch"))
    rows = usage_rows(lines)
    sums = grouped(rows, day="charge_period_start", amount=pl.col("cost"), dimensions=COST_DIMENSIONS).collect()
    until: dict[str, date] = {}
    for (provider,), one in (
        sums.with_columns(pl.col("key").str.split(KEY_SEPARATOR).list.first().alias("provider"))
        .partition_by("provider", as_dict=True)
        .items()
    ):
        until[str(provider)] = covered_until(one["day"].to_list(), now.date())
    return CostSeries(panels(sums, until=until), rows)


async def cost_anomalies(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> list[Finding]:
    """Scan every cost series; return one finding for each change that matters, with the children that explain it."""
    actor.must("anomaly:read")
    series = await cost_series(tx, actor, lake=lake, now=now)
    found: list[Finding] = []
    for whole in series.panels.values():
        panel = dense(whole)
        detection = _scanned(panel) if panel else None
        if panel is None or detection is None:
            continue
        chosen = [alert for alert in detection.alerts if alert.impact > 0 or alert.kind is AlertKind.VANISHED]
        chosen += [alert for alert in detection.alerts if alert.kind is AlertKind.CANCELLING and alert not in chosen]
        for alert in chosen:
            found.append(await _told(tx, actor, series, panel, alert))  # noqa: PERF401  awaits in order
    return found


def _scanned(panel: Panel) -> Detection | None:
    longest = int(np.diff(panel.indptr).max())
    periods = min(SCAN_DAYS_MAX, longest - HISTORY_DAYS_MIN)
    if periods < 1:
        return None
    return detect(panel, periods=periods, rules=Rules(money_least=MONEY_FLOOR, percent_least=0.2))


async def _told(tx: Tx, actor: Actor, series: CostSeries, panel: Panel, alert: Alert) -> Finding:
    change = rules.change_of(alert, panel)
    key = panel.keys[alert.row]
    provider, account, service = key.split(KEY_SEPARATOR, 2)
    mine = series.rows.filter(
        (pl.col("currency") == panel.currency)
        & (pl.col("provider") == provider)
        & (pl.col("account").fill_null("(no account)") == account)
        & (pl.col("service_name").replace("", None).fill_null("(no service)") == service)
    )
    children = _children(mine, panel, alert.row)
    rows, total = await _evidence(tx, actor, mine, change.first, change.last)
    return rules.finding_of(
        change,
        panel,
        title=_title(change.alert.kind, service, change, account),
        subject=f"{key}@{change.first}",
        children=children,
        rows=rows,
        rows_total=total,
    )


def _children(mine: pl.LazyFrame, panel: Panel, row: int) -> rules.Children:
    """Lay the daily cost of each child (resource, else meter) on the parent's calendar."""
    sums = (
        mine.group_by("child", pl.col("charge_period_start").cast(pl.Date).alias("day"))
        .agg(pl.col("cost").sum().cast(pl.Float64))
        .collect()
    )
    names = sums.group_by("child").agg(pl.col("cost").abs().sum()).sort("cost", descending=True)["child"].to_list()
    length = len(panel.series(row))
    values = np.zeros((len(names), length))
    place = {name: at for at, name in enumerate(names)}
    start = panel.starts[row].astype("datetime64[D]")
    columns = (sums["day"].to_numpy().astype("datetime64[D]") - start).astype(int)
    inside = (columns >= 0) & (columns < length)
    lines = np.array([place[name] for name in sums["child"].to_list()], dtype=int)
    values[lines[inside], columns[inside]] = sums["cost"].to_numpy()[inside]
    return rules.Children(tuple(names), values)


EVIDENCE_ROWS_MAX = 30
"""Source rows kept with one anomaly, the dearest first."""


async def _evidence(
    tx: Tx, actor: Actor, mine: pl.LazyFrame, first: date, last: date
) -> tuple[Sequence[SourceRow], int]:
    day = pl.col("charge_period_start").cast(pl.Date)
    within = mine.filter(day.is_between(first, last))
    total: int = within.select(pl.len()).collect().item()
    top = (
        within.select("batch", "row", "cost", "currency", "child", day.alias("day"))
        .sort("cost", "row", descending=[True, False])
        .head(EVIDENCE_ROWS_MAX)
        .collect()
    )
    files = await intake.file_names(tx, actor, batches=[UUID(batch) for batch in set(top["batch"].to_list())])
    return [
        SourceRow(
            batch=one["batch"],
            file=files.get(UUID(one["batch"]), ""),
            row=one["row"],
            text=f"{one['day']} {one['child']}",
            amount=one["cost"],
            currency=one["currency"],
        )
        for one in top.iter_rows(named=True)
    ], total


def _title(kind: AlertKind, service: str, change: rules.Change, account: str) -> str:
    name = service[:48]
    since = f"{change.first:%-d %b %Y}"
    text = {
        AlertKind.SPIKE: f"{name}: cost spike on {since}",
        AlertKind.SHIFT: f"{name}: cost level rose on {since}",
        AlertKind.DRIFT: f"{name}: cost keeps growing since {since}",
        AlertKind.NEW: f"{name}: new cost since {since}",
        AlertKind.VANISHED: f"{name}: no cost any more since {since}",
        AlertKind.CANCELLING: f"{name}: one cost replaced another on {since}",
    }[kind]
    return f"{text} ({account[:24]})"


async def judge(tx: Tx, actor: Actor, *, name: str, verdict: str, because: str, now: datetime) -> findings.Kept:
    """Take a person's word on an anomaly: ``real`` accepts it, ``expected`` and ``noise`` dismiss it with that reason.

    Raises:
        NotFound: No such anomaly here.
        Conflict: Its state does not allow it.
    """
    actor.must("anomaly:act")
    inside = replace(actor, rights=frozenset({"finding:read", "finding:act"}))
    kept = await findings.get(tx, inside, name=name)
    if kept.finding.kind not in KINDS:
        raise NotFound("anomaly", name)
    reason = ": ".join(part for part in (verdict, because.strip()) if part)
    action = "accept" if verdict == "real" else "dismiss"
    return await findings.act(tx, inside, name=name, action=action, because=reason, now=now)
