"""Thirteen weeks ahead: expected payments on their days, calibrated paths, runway, one word for each crossing."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sqlalchemy as sa

from bursar.core.intake.jobs import Importer
from bursar.core.ledger import service as ledger
from bursar.core.notices import store as notices
from bursar.infra.db import Database, new_id
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Invalid, NotAllowed, NotFound
from bursar.parts.banking import service as banking
from bursar.parts.banking.cash import service
from bursar.parts.banking.cash.rules import paths, views
from bursar.parts.banking.cash.rules.paths import Band, Flow
from bursar.parts.banking.posting import service as posting
from bursar.parts.banking.rules.recurring import Recurring
from bursar.parts.banking.transactions import service as transactions
from tests.parts.banking.statements import NOW, importer_in, taken

START = date(2024, 1, 1)
END = date(2026, 11, 15)


def statement(path: Path, *, closing: str, rent: int = 1_500, sales: int = 4_000) -> Path:
    """Write an account with monthly rent and salaries, weekly sales of varying size, and a stated closing balance."""
    chance, rows, day = np.random.default_rng(4), [], START
    while day <= END:
        if day.day == 1:
            rows.append((day, -rent, "RENT OFFICE PARK"))
        if day.day == 25:
            rows.append((day, -9_000, "SALARIES"))
        if day.weekday() == 2:
            rows.append((day, sales - 1_500 + int(chance.integers(0, 500)), f"TILL {day.isocalendar().week % 9}"))
        if chance.random() < 0.2:
            rows.append((day, -int(chance.integers(20, 400)), f"SHOP {chance.integers(0, 500)}"))
        day += timedelta(days=1)
    entries = "".join(
        f"<STMTTRN><TRNTYPE>OTHER<DTPOSTED>{day:%Y%m%d}<TRNAMT>{amount}.00<FITID>{n}<NAME>{text}</STMTTRN>"
        for n, (day, amount, text) in enumerate(rows)
    )
    path.write_text(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nENCODING:USASCII\nCHARSET:1252\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS>"
        "<CURDEF>EUR<BANKACCTFROM><BANKID>1<ACCTID>77<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST>"
        f"<DTSTART>{START:%Y%m%d}<DTEND>{END:%Y%m%d}{entries}</BANKTRANLIST>"
        f"<LEDGERBAL><BALAMT>{closing}<DTASOF>{END:%Y%m%d}</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>",
        encoding="cp1252",
    )
    return path


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    async with importer_in(db, tmp_path) as made:
        yield made


async def listening(db: Database, actor: Actor) -> None:
    """Subscribe somebody to everything."""
    async with db.writing(actor) as tx:
        facts = {"url": "https://example.com/h", "events": ["*"], "description": "", "active": True, "secret": b"x"}
        await notices.add_endpoint(tx, {"id": new_id(), "created_at": NOW, "changed_at": NOW, **facts})


async def heard(db: Database, actor: Actor) -> list[tuple[str, Any]]:
    async with db.reading(actor) as tx:
        rows = await tx.all(
            sa.text("select type, body::json -> 'data' as data from webhook_message order by id limit 100")
        )
    return [(row.type, row.data) for row in rows]


async def test_the_outlook_holds_what_is_expected_and_the_watch_tells_a_crossing_once(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await listening(importer.db, actor)
    await taken(importer, actor, statement(tmp_path / "a.ofx", closing="6000.00"))
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        while (await posting.post(tx, actor, now=NOW)).looked:
            pass
        ids = await ledger.accounts_by_code(tx, actor, codes=["asset:bank:77:EUR"])
        bank = ids["asset:bank:77:EUR"]
        other = (
            await ledger.open_accounts(tx, actor, accounts=[ledger.NewAccount("orders", "expense", "EUR")], now=NOW)
        )["orders"]
        due = datetime(2026, 12, 2, tzinfo=NOW.tzinfo)
        hold = ledger.Order("order-1", ledger.Action.HOLD, date(2026, 11, 20), other, bank, 700_000, "EUR", due=due)
        await ledger.record(tx, actor, orders=[hold], now=NOW)
    async with importer.db.writing(actor) as tx:
        total, account = await service.outlook(tx, actor, lake=importer.lake)
        first = await service.watch(tx, actor, lake=importer.lake, now=NOW)
        again = await service.watch(tx, actor, lake=importer.lake, now=NOW)
        series = await service.recurring_payments(tx, actor, lake=importer.lake)
        findings = [row.kind for row in await tx.all(sa.text("select kind from finding where state = 'new' limit 10"))]

    expected = {(flow.day, flow.amount, flow.source) for flow in account.flows if flow.label != "TILL"}
    assert (total.account, account.account, account.balance, account.known) == ("", "77", Decimal("6000.00"), True)
    assert {
        (date(2026, 11, 25), Decimal(-9000), "recurring"),
        (date(2026, 12, 2), Decimal(-7000), "commitment"),
    } <= expected
    assert len(account.weeks) == 13
    assert account.weeks[0].start == date(2026, 11, 16)
    assert sum(week.committed for week in account.weeks) == Decimal(-7000)
    assert all(w.lower95 <= w.lower80 <= w.upper80 <= w.upper95 for w in account.weeks)
    assert account.weeks[12].upper80 - account.weeks[12].lower80 > account.weeks[0].upper80 - account.weeks[0].lower80
    assert account.low
    assert account.low.earliest <= account.low.day <= date(2026, 12, 2)
    assert (first, again, findings) == (1, 0, ["banking.low_balance"])
    told = [(type_, data) for type_, data in await heard(importer.db, actor) if type_ != "finding.created"]
    assert [type_ for type_, _ in told] == ["batch.imported", "transaction.created", "balance.low"]
    assert told[0][1]["rows"]["taken"] == told[1][1]["count"]
    assert told[2][1]["day"] == account.low.day.isoformat()
    assert {"RENT OFFICE PARK", "SALARIES"} <= {one.label for one in series}


async def test_a_least_balance_moves_the_crossing_and_keeps_to_rights(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, statement(tmp_path / "a.ofx", closing="600000.00"))
    async with importer.db.writing(actor) as tx:
        await transactions.derive(tx, actor, lake=importer.lake, now=NOW)
        calm = await service.watch(tx, actor, lake=importer.lake, now=NOW)
        await service.set_least(tx, actor, account="77", currency="EUR", least=Decimal(700_000), now=NOW)
        low = await service.watch(tx, actor, lake=importer.lake, now=NOW)
        least = await service.least(tx, actor)
        await service.set_least(tx, actor, account="77", currency="EUR", least=None, now=NOW)
        over = await service.watch(tx, actor, lake=importer.lake, now=NOW)
        with pytest.raises(NotFound):
            await service.set_least(tx, actor, account="78", currency="EUR", least=Decimal(1), now=NOW)
        with pytest.raises(Invalid):
            await service.set_least(tx, actor, account="77", currency="EUR", least=Decimal("NaN"), now=NOW)
        nobody = Actor(actor.org, "person:x")
        for call in (
            service.outlook(tx, nobody, lake=importer.lake), service.recurring_payments(tx, nobody, lake=importer.lake),
            service.least(tx, nobody), service.set_least(tx, nobody, account="77", currency="EUR", least=None, now=NOW),
        ):  # fmt: skip
            with pytest.raises(NotAllowed):
                await call
    async with importer.db.writing(replace(actor, org=new_id())) as tx:
        assert await service.outlook(tx, tx.actor, lake=importer.lake) == []

    assert (calm, low, least, over) == (0, 1, {("77", "EUR"): Decimal(700_000)}, 0)


async def test_earlier_outlooks_held_and_beat_repeating_the_last_weeks(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    """The backtest: the procedure at the earlier origins against the mean of the last thirteen weeks carried on."""
    await taken(importer, actor, statement(tmp_path / "a.ofx", closing="6000.00"))
    async with importer.db.reading(actor) as tx:
        lines = await banking.movements(tx, actor, lake=importer.lake)
        account = (await service.outlook(tx, actor, lake=importer.lake))[1]
    errors, plain = [], []
    origin = END + timedelta(days=1)
    for day in paths.origins(START, origin):
        look = paths.look(lines, day)
        actual = paths.happened(lines, ("77", "EUR"), day, origin)
        said = paths.path(look.flows, np.full(13, look.rest["77", "EUR"][-26:].mean()), ("77", "EUR"), day)[6::7]
        errors.append(np.abs(said - actual).mean())
        plain.append(np.abs(look.net["77", "EUR"][-13:].mean() * np.arange(1, 14) - actual).mean())

    assert account.tried == paths.ORIGINS_MAX
    assert account.coverage80 > 0.6
    assert np.mean(errors) < np.mean(plain)


def series_of(cadence: str, gap: int, *days: date, amounts: tuple[int, ...] = (-5, -7, -6)) -> Recurring:
    rows = tuple(("b", n) for n in range(len(days)))
    exact = tuple(Decimal(amount) for amount in amounts)
    return Recurring("a", "p", "P", "EUR", cadence, 12, gap, days, exact, rows, 1.0)


def test_months_keep_their_day_and_the_last_day_stays_last() -> None:
    monthly = series_of("monthly", 30, date(2026, 8, 31), date(2026, 9, 30), date(2026, 10, 31))
    weekly = series_of("weekly", 7, date(2026, 10, 1), date(2026, 10, 8), date(2026, 10, 15))

    assert paths.next_days(monthly, date(2026, 11, 1)) == [date(2026, 11, 30), date(2026, 12, 31)]
    assert paths.next_days(weekly, date(2026, 10, 24))[:2] == [date(2026, 10, 24), date(2026, 10, 29)]
    assert len(paths.next_days(weekly, date(2026, 10, 16))) == 13
    assert paths.usual_amount(monthly) == Decimal(-6)


def test_runway_and_the_low_day_follow_the_path() -> None:
    down = np.arange(-100.0, -1301.0, -100.0)
    daily = np.repeat(down / np.arange(1, 14), 7) / 7 * np.arange(1, 92)
    band = Band(down - 70, down + 700, down - 100, down + 900, 3, 0.8)
    on = date(2026, 11, 1)

    assert views.runway(Decimal(250), down) == 17
    assert views.runway(Decimal(2_600), down) == 182
    assert (views.runway(Decimal(0), down), views.runway(Decimal(5), -down)) == (0, None)
    low = views.low_of(Decimal(250), Decimal(0), on, daily, band)
    assert low
    assert low.earliest < low.day == on + timedelta(days=18)
    assert low.latest
    assert low.latest > low.day
    assert views.low_of(Decimal(5_000), Decimal(0), on, daily, band) is None
    assert views.low_of(Decimal(-1), Decimal(0), on, daily, band) == views.Low(on, on, on)


def test_weeks_hold_exact_sums_and_a_total_holds_every_account() -> None:
    origin = date(2026, 11, 2)
    flows = [
        Flow("a", "EUR", origin, Decimal("10.10"), "", "recurring"),
        Flow("b", "EUR", origin, Decimal("-0.20"), "", "recurring"),
        Flow("a", "EUR", origin - timedelta(days=3), Decimal("-1.00"), "", "commitment"),
    ]
    lines = pl.DataFrame(
        {"account": ["a", "b"], "currency": ["EUR"] * 2, "booking_date": [origin, origin + timedelta(days=8)], "amount": [1.0, 2.0]}
    )  # fmt: skip

    assert views.sums_of(flows, origin, 0) == (Decimal("10.10"), Decimal("-0.20"), Decimal("-1.00"))
    assert paths.expected(flows, ("", "EUR"), origin)[0] == pytest.approx(8.9)
    assert paths.expected(flows, ("b", "EUR"), origin)[0] == pytest.approx(-0.2)
    assert paths.happened(lines, ("", "EUR"), origin, origin + timedelta(days=91)).tolist()[:3] == [1.0, 3.0, 3.0]


def test_weeks_without_a_movement_end_where_they_began() -> None:
    schema = {"account": pl.String(), "currency": pl.String(), "booking_date": pl.Date(), "amount": pl.Decimal(38, 15)}

    known = paths.happened(pl.DataFrame(schema=schema), ("a", "EUR"), date(2026, 1, 1), date(2026, 2, 1))

    assert known[:4].tolist() == [0.0] * 4
    assert np.isnan(known[4:]).all()


@pytest.mark.parametrize(
    ("errors", "way"),
    [
        ((1.0, 1.0, 1.0, 1.0), paths.BASELINE),
        ((0.5, 0.6, 0.5, 0.6), 1),
        ((0.96, 0.96, 0.96, 0.96), paths.BASELINE),
        ((0.1, 1.1, 1.0, 1.1), paths.BASELINE),
        ((0.5,), 1),
    ],
    ids=["no better", "better each time", "hardly better", "far better once, worse at other times", "one origin"],
)
def test_another_way_serves_only_where_it_beat_the_baseline_clearly(errors: tuple[float, ...], way: int) -> None:
    """The baseline errs by 1 at every origin, the second way as given, the others by 2."""
    said = np.full((len(paths.WAYS), len(errors), 1, paths.WEEKS), 2.0)
    said[paths.BASELINE], said[1] = 1.0, np.array(errors)[:, None, None]

    assert paths.best(said, np.zeros(said.shape[1:]), np.ones((len(errors), 1))) == way


def test_without_earlier_weeks_the_ways_are_averaged() -> None:
    said = np.full((len(paths.WAYS), 0, 1, paths.WEEKS), 1.0)

    assert paths.best(said, said[0], np.ones((0, 1))) == len(paths.WAYS) - 1
