"""All SQL of the inbox."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from bursar.core.findings import rules, tables
from bursar.core.findings.rules import Kept
from bursar.infra.db import Tx, new_id
from bursar.kernel.finding import Evidence, Finding, FindingState, Observed, Part, PriceUsed, SourceRow
from bursar.kernel.money import Money
from bursar.kernel.period import Period

FINDINGS_MAX = 50_000
"""Most findings of one organisation looked at together."""

_f = tables.finding.c


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """Return a JSON-able form; amounts and days as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, Decimal):
            return f"{value:f}"
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(inner) for inner in value]
        return value

    made: dict[str, Any] = plain(asdict(evidence))
    return made


def evidence_from_json(raw: Mapping[str, Any]) -> Evidence:
    """Read what :func:`evidence_to_json` wrote."""
    return Evidence(
        formula=raw["formula"],
        parts=_parts_from_json(raw["parts"]),
        prices=tuple(
            PriceUsed(
                **(price | {"amount": Decimal(price["amount"]), "day": date.fromisoformat(price["day"])}),
            )
            for price in raw["prices"]
        ),
        rows=tuple(
            SourceRow(**(row | {"amount": None if row["amount"] is None else Decimal(row["amount"])}))
            for row in raw["rows"]
        ),
        rows_total=raw["rows_total"],
        chart=raw["chart"],
        observed=_observed_from_json(raw["observed"]) if raw.get("observed") else None,
    )


def _observed_from_json(raw: Mapping[str, Any]) -> Observed:
    days = raw["days"]
    return Observed(
        Period(date.fromisoformat(days["start"]), date.fromisoformat(days["end"])),
        Decimal(raw["actual"]),
        Decimal(raw["expected"]),
        Decimal(raw["lower"]),
        Decimal(raw["upper"]),
        _parts_from_json(raw["causes"]),
    )


def _parts_from_json(raw: Sequence[Mapping[str, str]]) -> tuple[Part, ...]:
    return tuple(Part(part["label"], Decimal(part["amount"])) for part in raw)


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)


def _kept(row: Any) -> Kept:
    currency = row.currency
    finding = Finding(
        kind=row.kind,
        subject=row.subject,
        period=Period(row.start_day, row.end_day),
        title=row.title,
        worth=Money(row.worth, currency),
        low=Money(row.low, currency),
        high=Money(row.high, currency),
        confidence=row.confidence,
        action=row.action,
        evidence=evidence_from_json(row.evidence),
        recurring=row.recurring,
        cost_basis=_money(row.cost_basis, currency),
        resource=row.resource,
        effort=row.effort,
        risk=row.risk,
        due=row.due,
    )
    return Kept(
        id=row.id,
        number=row.number,
        finding=finding,
        state=FindingState(row.state),
        counted=Money(row.counted, currency),
        raised_at=row.raised_at,
        changed_at=row.changed_at,
        assignee=row.assignee,
        because=row.because,
        until=row.until,
        due=row.due,
        seen=_money(row.seen, currency),
        measured=_money(row.measured, currency),
        measured_low=_money(row.measured_low, currency),
        measured_high=_money(row.measured_high, currency),
    )


def _facts(finding: Finding) -> dict[str, Any]:
    return {
        "start_day": finding.period.start,
        "end_day": finding.period.end,
        "title": finding.title,
        "action": finding.action,
        "currency": finding.worth.currency,
        "worth": finding.worth.minor,
        "low": finding.low.minor,
        "high": finding.high.minor,
        "cost_basis": finding.cost_basis.minor if finding.cost_basis else None,
        "confidence": finding.confidence,
        "recurring": finding.recurring,
        "resource": finding.resource or finding.subject,
        "effort": finding.effort,
        "risk": finding.risk,
        "due": finding.due,
        "evidence": evidence_to_json(finding.evidence),
    }


async def lock(tx: Tx) -> None:
    """Let one writer at a time number and net the findings of this organisation."""
    await tx.run(sa.text("select pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"findings/{tx.org}"})


async def of_kinds(tx: Tx, kinds: Sequence[str]) -> list[Kept]:
    """Return every finding of some kinds, whatever its state."""
    rows = await tx.all(
        sa.select(tables.finding).where(tx.own(tables.finding), _f.kind.in_(list(kinds))).limit(FINDINGS_MAX)
    )
    return [_kept(row) for row in rows]


async def in_states(tx: Tx, states: Iterable[FindingState]) -> list[Kept]:
    """Return every finding in some states."""
    rows = await tx.all(
        sa.select(tables.finding)
        .where(tx.own(tables.finding), _f.state.in_([state.value for state in states]))
        .order_by(_f.number)
        .limit(FINDINGS_MAX)
    )
    return [_kept(row) for row in rows]


async def by_number(tx: Tx, number: int, *, for_update: bool = False) -> Kept | None:
    """Return the finding people call ``F<number>``, locked when it will be changed."""
    query = sa.select(tables.finding).where(tx.own(tables.finding), _f.number == number)
    row = await tx.one(query.with_for_update() if for_update else query)
    return _kept(row) if row else None


async def next_number(tx: Tx) -> int:
    """Return the next free finding number (call :func:`lock` first)."""
    highest = await tx.scalar(sa.select(sa.func.coalesce(sa.func.max(_f.number), 0)).where(tx.own(tables.finding)))
    return int(highest) + 1


async def insert(tx: Tx, findings: Sequence[Finding], *, first_number: int, now: datetime) -> None:
    """Insert new findings in one statement."""
    if not findings:
        return
    rows = [
        _facts(finding)
        | {
            "org": tx.org,
            "id": new_id(),
            "number": first_number + offset,
            "kind": finding.kind,
            "subject": finding.subject,
            "key_day": rules.key_day(finding),
            "state": FindingState.NEW.value,
            "counted": finding.worth.minor,
            "assignee": "",
            "because": "",
            "raised_at": now,
            "changed_at": now,
        }
        for offset, finding in enumerate(findings)
    ]
    await tx.run(sa.insert(tables.finding), rows)


async def refresh(tx: Tx, pairs: Sequence[tuple[Kept, Finding, FindingState]], *, now: datetime) -> None:
    """Write new facts and state of findings that were raised again."""
    for kept, finding, state in pairs:
        await tx.run(
            sa.update(tables.finding)
            .where(tx.own(tables.finding), _f.id == kept.id)
            .values(**_facts(finding), state=state.value, changed_at=now)
        )


async def set_state(tx: Tx, ids: Sequence[UUID], state: FindingState, *, now: datetime) -> None:
    """Move findings to a state."""
    if ids:
        await tx.run(
            sa.update(tables.finding)
            .where(tx.own(tables.finding), _f.id.in_(list(ids)))
            .values(state=state.value, changed_at=now)
        )


async def set_counted(tx: Tx, counted: Mapping[UUID, Money]) -> None:
    """Write the counted worth of findings in one statement."""
    if not counted:
        return
    wanted = sa.values(sa.column("id", sa.Uuid), sa.column("counted", sa.BigInteger), name="wanted").data(
        [(identifier, money.minor) for identifier, money in counted.items()]
    )
    await tx.run(
        sa.update(tables.finding)
        .where(tx.own(tables.finding), _f.id == wanted.c.id, _f.counted != wanted.c.counted)
        .values(counted=wanted.c.counted)
    )


async def change(tx: Tx, identifier: UUID, *, values: Mapping[str, Any], now: datetime) -> None:
    """Write some columns of one finding."""
    await tx.run(
        sa.update(tables.finding).where(tx.own(tables.finding), _f.id == identifier).values(**values, changed_at=now)
    )


async def record(
    tx: Tx,
    *,
    finding: UUID,
    actor: str,
    action: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    now: datetime,
) -> None:
    """Record one event."""
    await tx.run(
        sa.insert(tables.event).values(
            org=tx.org,
            id=new_id(),
            finding=finding,
            at=now,
            actor=actor,
            action=action,
            before=dict(before),
            after=dict(after),
            undone=False,
        )
    )


async def last_event(tx: Tx) -> Any | None:
    """Return the newest action of a person that is not undone, locked."""
    t = tables.event.c
    return await tx.one(
        sa.select(tables.event)
        .where(tx.own(tables.event), t.undone.is_(False), t.action.not_in(["undo", "measure"]))
        .order_by(t.at.desc(), t.id.desc())
        .limit(1)
        .with_for_update()
    )


async def mark_undone(tx: Tx, event: UUID) -> None:
    """Mark an event undone."""
    await tx.run(sa.update(tables.event).where(tx.own(tables.event), tables.event.c.id == event).values(undone=True))


async def by_id(tx: Tx, identifier: UUID) -> Kept | None:
    """Return one finding, locked."""
    row = await tx.one(sa.select(tables.finding).where(tx.own(tables.finding), _f.id == identifier).with_for_update())
    return _kept(row) if row else None


async def events(tx: Tx, identifier: UUID, *, limit: int = 200) -> list[Any]:
    """Return what happened to a finding, oldest first."""
    t = tables.event.c
    return list(
        await tx.all(
            sa.select(t.at, t.actor, t.action, t.before, t.after, t.undone)
            .where(tx.own(tables.event), t.finding == identifier)
            .order_by(t.at, t.id)
            .limit(limit)
        )
    )
