"""Use cases of planning: series from the lake, anomalies as findings."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import numpy as np
import polars as pl

from bursar.core.findings import service as findings
from bursar.core.intake import service as intake
from bursar.core.planning.calendars import service as calendars
from bursar.core.planning.calendars.service import Planned
from bursar.core.planning.policy import service as policies
from bursar.core.planning.rules import alerts as rules
from bursar.core.planning.rules.feedback import Said, Verdict, known, learned
from bursar.core.planning.rules.floods import few
from bursar.core.planning.rules.series import KEY_SEPARATOR, dense, first_days
from bursar.core.planning.series import service as series_
from bursar.core.planning.series.rules import COST, leaves, part_expressions, usage_rows
from bursar.infra.db import Tx
from bursar.infra.lake import Lake
from bursar.kernel.actor import Actor
from bursar.kernel.errors import NotFound
from bursar.kernel.finding import Finding, FindingState, SourceRow
from bursar.kernel.lines import COST_LINES
from bursar.kernel.series import Panel
from bursar.ml.anomaly.alerts import Alert, AlertKind, Rules
from bursar.ml.anomaly.detect import detect

KINDS = tuple(rules.KINDS.values())
"""Every kind of finding that planning raises."""

SCAN_DAYS_MAX = 365
"""How far back a first review looks for anomalies."""

HISTORY_DAYS_MIN = 42
"""A series needs this many days before the scanned ones."""

STEP_DAYS = 91
"""Days scanned at a time, each by all that was known before them; the first step of a short history is shorter."""


@dataclass(frozen=True, slots=True)
class CostSeries:
    """Daily cost series by currency, and the rows they were built from (lazily)."""

    panels: dict[str, Panel]
    rows: pl.LazyFrame


async def cost_series(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> CostSeries:
    """Build the daily cost series of the organisation by one grouping over its bills."""
    sums = (await series_.facts(tx, actor, lake=lake, source=COST.name)).sums
    lines = await lake.scan(tx, COST_LINES)
    if "batch" not in lines.collect_schema().names():
        lines = lines.with_columns(pl.lit("").alias("batch"))
    return CostSeries(await asyncio.to_thread(leaves, COST, sums, today=now.date()), usage_rows(lines))


async def cost_anomalies(tx: Tx, actor: Actor, *, lake: Lake, now: datetime) -> list[Finding]:
    """Scan every cost series; return one finding for each change that matters, with the children that explain it.

    Of a flood of changes only the dearest are told each: see :func:`~bursar.core.planning.rules.floods.few`.
    """
    actor.must("anomaly:read")
    series = await cost_series(tx, actor, lake=lake, now=now)
    verdicts = await said(tx, actor)
    planned = await calendars.get(tx, replace(actor, rights=frozenset({"forecast:read"})))
    policy = await policies.get(tx, actor)
    floors = await policies.floors(tx, actor, policy=policy, currencies=sorted(series.panels), now=now)
    found: list[Finding] = []
    for whole in series.panels.values():
        panel = dense(whole)
        if panel is None:
            continue
        told = {AlertKind.VANISHED, AlertKind.CANCELLING}
        alerts = await asyncio.to_thread(_scanned, panel, verdicts, planned, policy.rules(floors[panel.currency]))
        chosen = [alert for alert in alerts if alert.impact > 0 or alert.kind in told]
        changes = await _told(tx, actor, series, panel, chosen, policy.told(floors[panel.currency]))
        judged = {(f"series:{one.key}", one.kind, one.first) for one in verdicts}
        found += few([one for one in changes if not known(one, verdicts)], judged)
    return found


async def said(tx: Tx, actor: Actor) -> list[Verdict]:
    """Return what people said about the alerts on cost series: real when they acted on it, else the verdict they gave."""
    actor.must("anomaly:read")
    inside = replace(actor, rights=frozenset({"finding:read"}))
    judged = (FindingState.ACCEPTED, FindingState.DONE, FindingState.MEASURED, FindingState.DISMISSED)
    out = []
    for kept in await findings.inbox(tx, inside, states=judged, kind_prefix="planning."):
        finding = kept.finding
        verdict = Said.REAL
        if kept.state is FindingState.DISMISSED:
            verdict = Said.NOISE if kept.because.startswith(Said.NOISE) else Said.EXPECTED
        key = finding.resource.removeprefix("series:")
        first, last = finding.period.start, finding.period.end - timedelta(days=1)
        out.append(Verdict(key, verdict, first, last, finding.kind, kept.seen))
    return out


def _scanned(panel: Panel, verdicts: Sequence[Verdict], planned: Planned, wanted: Rules) -> list[Alert]:
    """Scan the newest days a quarter at a time, each quarter by all that was known before it."""
    length = int((panel.ends.max() - panel.starts.min()) / np.timedelta64(24, "h"))
    start = max(HISTORY_DAYS_MIN, length - SCAN_DAYS_MAX)
    if start >= length:
        return []
    calendar, _ = calendars.calendar_of(planned, panel.currency)
    stops = [*range(length, start, -STEP_DAYS)][::-1]
    alerts: list[Alert] = []
    for since, stop in pairwise([start, *stops]):
        part, rows = first_days(panel, stop)
        accounts = [key.rsplit(KEY_SEPARATOR, 1)[0] for key in part.keys]
        parents = np.unique(accounts, return_inverse=True)[1]
        doubt, expected = learned(part, verdicts, planned.events, stop - since)
        found = detect(
            part, periods=stop - since, rules=wanted, calendar=calendar, ignore=expected, doubt=doubt, parents=parents
        )
        alerts += [
            replace(one, row=rows[one.row], partner=rows[one.partner] if one.partner >= 0 else -1)
            for one in found.alerts
        ]
    return [one for one in alerts if one.kind is not AlertKind.VANISHED or _still_silent(panel, one)]


def _still_silent(panel: Panel, alert: Alert) -> bool:
    return not panel.series(alert.row)[panel.times(alert.row) >= alert.onset].any()


async def _told(
    tx: Tx, actor: Actor, series: CostSeries, panel: Panel, alerts: Sequence[Alert], under: str
) -> list[Finding]:
    """Return the findings of the alerts of one panel; the rows behind all of them are read in two passes."""
    if not alerts:
        return []
    changes = rules.distinct([rules.change_of(alert, panel) for alert in alerts])
    keys = sorted({panel.keys[change.alert.row] for change in changes})
    mine = series.rows.filter(pl.col("currency") == panel.currency).with_columns(
        _KEY.alias("key"), pl.col("charge_period_start").cast(pl.Date).alias("day")
    )
    mine = mine.filter(pl.col("key").is_in(keys))
    sums = await asyncio.to_thread(
        mine.group_by("key", "child", "day").agg(pl.col("cost").sum().cast(pl.Float64)).collect
    )
    by_key = {str(key): one for (key,), one in sums.partition_by("key", as_dict=True).items()}
    windows = [(panel.keys[change.alert.row], change.first, change.last) for change in changes]
    evidence = await _evidence(tx, actor, mine, windows, panel.currency)
    found = []
    for at, change in enumerate(changes):
        alert = change.alert
        key = panel.keys[alert.row]
        rows, total = evidence.get(at, ([], 0))
        pair = alert.partner >= 0
        children = _pair(panel, alert) if pair else _children(by_key.get(key, sums.clear()), panel, alert.row)
        finding = rules.finding_of(
            change,
            panel,
            title=_title(change, panel),
            subject=f"{key}@{change.first}",
            children=children,
            rows=rows,
            rows_total=total,
            under=under,
        )
        found.append(finding)
    return found


_KEY = pl.concat_str(part_expressions(COST), separator=KEY_SEPARATOR)
"""The key of the cost series that a row belongs to."""


def _children(sums: pl.DataFrame, panel: Panel, row: int) -> rules.Children:
    """Lay the daily cost of each child (resource, else meter) on the parent's calendar."""
    ranked = sums.group_by("child").agg(pl.col("cost").abs().sum()).sort("cost", "child", descending=[True, False])
    names = ranked["child"].to_list()
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
    tx: Tx, actor: Actor, mine: pl.LazyFrame, windows: Sequence[tuple[str, date, date]], currency: str
) -> dict[int, tuple[list[SourceRow], int]]:
    """Return the dearest rows, and how many there are, inside of each window (key, first day, last day)."""
    schema = {"key": pl.String(), "first": pl.Date(), "last": pl.Date()}
    wanted = pl.LazyFrame(list(windows), schema=schema, orient="row").with_row_index("at")
    columns = ("batch", "row", "cost", "child", "day")
    within = mine.select("key", *columns).join(wanted, on="key").filter(pl.col("day").is_between("first", "last"))
    top = await asyncio.to_thread(
        within.sort("cost", "batch", "row", descending=[True, False, False])
        .group_by("at")
        .agg(pl.len().alias("total"), *[pl.col(name).head(EVIDENCE_ROWS_MAX) for name in columns])
        .collect
    )
    batches = top["batch"].explode().unique().drop_nulls().to_list() if top.height else []
    files = await intake.file_names(tx, actor, batches=[UUID(batch) for batch in batches])
    found: dict[int, tuple[list[SourceRow], int]] = {}
    for one in top.iter_rows(named=True):
        rows = [
            SourceRow(batch, files.get(UUID(batch), ""), row, f"{day} {child}", cost, currency)
            for batch, row, cost, child, day in zip(*(one[name] for name in columns), strict=True)
        ]
        found[one["at"]] = rows, one["total"]
    return found


def _pair(panel: Panel, alert: Alert) -> rules.Children:
    """Return the two series of a cancelling pair on the calendar of the first."""
    values = np.zeros((2, len(panel.series(alert.row))))
    values[0] = np.nan_to_num(panel.series(alert.row))
    other = np.nan_to_num(panel.series(alert.partner))
    apart = int((panel.starts[alert.partner] - panel.starts[alert.row]) / np.timedelta64(24, "h"))
    other = other[max(0, -apart) :]
    stop = min(values.shape[1], max(0, apart) + len(other))
    values[1, max(0, apart) : stop] = other[: max(0, stop - max(0, apart))]
    return rules.Children((panel.keys[alert.row], panel.keys[alert.partner]), values)


def _title(change: rules.Change, panel: Panel) -> str:
    alert = change.alert
    _, account, service = panel.keys[alert.row].split(KEY_SEPARATOR, 2)
    name = service[:48]
    since = f"{change.first:%-d %b %Y}"
    if alert.kind is AlertKind.CANCELLING:
        names = [name, panel.keys[alert.partner].split(KEY_SEPARATOR, 2)[2][:36]]
        fell, rose = names if alert.impact < 0 else names[::-1]
        text = f"{rose[:36]} rose as {fell[:36]} fell on {since}"
    else:
        text = {
            AlertKind.SPIKE: f"{name}: cost spike on {since}",
            AlertKind.SHIFT: f"{name}: cost level rose on {since}",
            AlertKind.DRIFT: f"{name}: cost keeps growing since {since}",
            AlertKind.NEW: f"{name}: new cost since {since}",
            AlertKind.VANISHED: f"{name}: no cost any more since {since}",
        }[alert.kind]
    return f"{text} ({account.rsplit('/', 1)[-1][: 120 - len(text) - 3]})"


async def judge(tx: Tx, actor: Actor, *, name: str, verdict: str, because: str, now: datetime) -> findings.Kept:
    """Take a person's word on an anomaly: ``real`` accepts it, ``expected`` and ``noise`` dismiss it with that reason.

    The next scan learns from it: see :func:`~bursar.core.planning.rules.feedback.learned`.

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
