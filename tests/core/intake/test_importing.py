"""Importing end to end on the real database, lake and sandbox: nothing lost, nothing doubled, everything revertible."""

import asyncio
import os
import random
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from bursar.core.audit import service as audit
from bursar.core.intake import rules, service, store
from bursar.core.intake.jobs import Importer, files_under
from bursar.core.intake.service import Batch, BatchState
from bursar.infra.clock import utc_now
from bursar.infra.db import LOCK_TIMEOUT_S, Database
from bursar.infra.files import LocalFiles, Stored
from bursar.infra.lake import Lake
from bursar.infra.sandbox import Sandbox
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Conflict, NotFound
from bursar.kernel.lines import BANK_LINES, COST_LINES, PAYMENT_LINES, LineSchema

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
async def importer(db: Database, tmp_path: Path) -> AsyncIterator[Importer]:
    sandbox = Sandbox(warm=("bursar.connectors.formats",))
    yield Importer(
        db=db,
        lake=Lake(tmp_path / "lake"),
        documents=LocalFiles(tmp_path / "files", free_bytes_min=0),
        sandbox=sandbox,
        parser="bursar.connectors.formats:parse_in_child",
        schemas={schema.name: schema for schema in (COST_LINES, BANK_LINES, PAYMENT_LINES)},
        scratch=tmp_path / "tmp",
        quarantine=tmp_path / "quarantine",
    )
    await sandbox.close()


def focus(path: Path, days: Sequence[int], *, cost: str = "1.10", account: str = "acct", month: int = 10) -> Path:
    """Write a FOCUS bill with one usage row a day."""
    rows = [
        f"{cost},{cost},{cost},{cost},{account},USD,2026-{month:02d}-01T00:00:00Z,2026-{month + 1:02d}-01T00:00:00Z,"
        f"Usage,2026-{month:02d}-{day:02d}T00:00:00Z,2026-{month:02d}-{day:02d}T23:00:00Z,AWS,Amazon EC2,r-{day}"
        for day in days
    ]
    head = (
        "BilledCost,EffectiveCost,ListCost,ContractedCost,BillingAccountId,BillingCurrency,BillingPeriodStart,"
        "BillingPeriodEnd,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ProviderName,ServiceName,ResourceId"
    )
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def ofx(path: Path, rows: Sequence[tuple[int, str, str]]) -> Path:
    """Write an OFX statement with (day, amount, text) rows and no ids, as many banks do."""
    entries = "".join(
        f"<STMTTRN><TRNTYPE>DEBIT<DTPOSTED>202610{day:02d}<TRNAMT>{amount}<FITID>x{index}<NAME>{text}</STMTTRN>"
        for index, (day, amount, text) in enumerate(rows)
    )
    path.write_text(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nENCODING:USASCII\nCHARSET:1252\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS>"
        "<CURDEF>USD<BANKACCTFROM><BANKID>1<ACCTID>42<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20261001"
        f"<DTEND>20261031{entries}</BANKTRANLIST></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>",
        encoding="ascii",
    )
    return path


async def taken(importer: Importer, actor: Actor, *paths: Path) -> list[Batch]:
    return [batch async for batch in importer.import_paths(actor, paths, clock=lambda: NOW)]


async def rows(importer: Importer, actor: Actor, schema: LineSchema) -> pl.DataFrame:
    async with importer.db.reading(actor) as tx:
        return (await importer.lake.scan(tx, schema)).collect()


async def total(importer: Importer, actor: Actor, schema: LineSchema) -> Decimal:
    found = (await rows(importer, actor, schema))[schema.amount].sum()
    return Decimal(found or 0)


async def test_the_same_bytes_twice_change_nothing(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    bill = focus(tmp_path / "bill.csv", range(1, 11))
    first = await taken(importer, actor, bill)

    second = await taken(importer, actor, bill)

    assert (first[0].rows_taken, first[0].totals) == (10, {"USD": Decimal("11.00")})
    assert second[0].already
    assert second[0].id == first[0].id
    [copy] = await taken(importer, actor, bill.rename(tmp_path / "copy.csv"))
    assert (copy.id, copy.notes[-1]) == (
        first[0].id, "copy.csv holds the same bytes as bill.csv, so nothing of it is taken",
    )  # fmt: skip
    assert await total(importer, actor, COST_LINES) == Decimal("11.00")


async def test_documents_that_arrive_at_once_wait_for_their_turn_and_leave_the_database_to_others(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    bills = [focus(tmp_path / f"bill-{n}.csv", [n], account=f"account-{n}") for n in range(1, 25)]
    async with importer.db.writing(actor) as tx:  # as an import of another process, longer than locks are waited for
        await store.lock(tx)
        arriving = [asyncio.create_task(taken(importer, actor, bill)) for bill in bills]
        await asyncio.sleep(LOCK_TIMEOUT_S + 1)
        async with asyncio.timeout(LOCK_TIMEOUT_S), importer.db.reading(actor) as other:
            assert await other.scalar("select current_setting('lock_timeout')") == f"{LOCK_TIMEOUT_S}s"
    batches = [batch for group in await asyncio.gather(*arriving) for batch in group]

    assert {batch.state for batch in batches} == {BatchState.IMPORTED}
    assert await total(importer, actor, COST_LINES) == 24 * Decimal("1.10")
    assert not importer.turns


async def test_a_grown_export_replaces_its_month_and_nothing_else(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, focus(tmp_path / "september.csv", range(1, 6), month=9))
    await taken(importer, actor, focus(tmp_path / "october.csv", range(1, 11)))
    await taken(importer, actor, focus(tmp_path / "other.csv", range(1, 3), account="else"))

    [grown] = await taken(importer, actor, focus(tmp_path / "october-grown.csv", range(1, 21), cost="2.00"))

    assert grown.rows_replaced == 10
    assert await total(importer, actor, COST_LINES) == Decimal("5.50") + Decimal("2.20") + Decimal("40.00")


async def test_a_slice_replaces_only_the_days_it_holds(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    await taken(importer, actor, focus(tmp_path / "early.csv", range(1, 16)))

    [late] = await taken(importer, actor, focus(tmp_path / "late.csv", range(10, 31), cost="2.00"))

    assert late.rows_replaced == 6
    assert await total(importer, actor, COST_LINES) == 9 * Decimal("1.10") + 21 * Decimal("2.00")


async def test_reverting_a_grown_export_brings_back_what_it_replaced(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, focus(tmp_path / "early.csv", range(1, 16)))
    [late] = await taken(importer, actor, focus(tmp_path / "late.csv", range(10, 31), cost="2.00"))

    gone = await importer.revert(actor, late.id, clock=lambda: NOW)

    assert gone.state is BatchState.REVERTED
    assert await total(importer, actor, COST_LINES) == 15 * Decimal("1.10")


async def test_reverting_everything_returns_to_zero(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    paths = [focus(tmp_path / f"{n}.csv", range(1, 5 + n), cost=f"{n}.00") for n in range(1, 4)]
    batches = [batch for path in paths for batch in await taken(importer, actor, path)]

    for batch in random.Random(3).sample(batches, len(batches)):
        await importer.revert(actor, batch.id, clock=lambda: NOW)

    assert await total(importer, actor, COST_LINES) == 0


async def test_parts_of_one_delivery_stand_side_by_side(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    folder = tmp_path / "delivery"
    folder.mkdir()
    focus(folder / "a.csv", range(1, 11))
    focus(folder / "b.csv", range(1, 11), cost="3.00")

    await taken(importer, actor, folder)

    assert await total(importer, actor, COST_LINES) == Decimal("41.00")


async def test_two_equal_purchases_both_stay_and_overlaps_merge(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    coffee = (5, "-4.50", "COFFEE")
    await taken(importer, actor, ofx(tmp_path / "a.ofx", [(1, "-10.00", "RENT"), coffee, coffee]))

    [merged] = await taken(importer, actor, ofx(tmp_path / "b.ofx", [coffee, coffee, (9, "-1.00", "TEA")]))

    held = await rows(importer, actor, BANK_LINES)
    assert (merged.rows_taken, merged.rows_known) == (1, 2)
    assert held.filter(pl.col("description").str.contains("COFFEE")).height == 2


async def test_reverting_one_of_two_overlapping_statements_keeps_what_the_other_said(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    shared = [(1, "-10.00", "RENT"), (2, "-20.00", "POWER")]
    [first] = await taken(importer, actor, ofx(tmp_path / "a.ofx", shared))
    [second] = await taken(importer, actor, ofx(tmp_path / "b.ofx", [*shared, (3, "-5.00", "TEA")]))
    assert second.rows_known == 2

    await importer.revert(actor, first.id, clock=lambda: NOW)

    assert await total(importer, actor, BANK_LINES) == Decimal("-35.00")
    async with importer.db.reading(actor) as tx:
        again = await service.get(tx, actor, batch=second.id)
    assert (again.rows_taken, again.rows_known) == (3, 0)


async def test_a_document_nobody_knows_is_refused_with_what_and_fix(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    (tmp_path / "strange.bin").write_bytes(b"\x00\x01nothing")

    [batch] = await taken(importer, actor, tmp_path / "strange.bin")

    assert batch.state is BatchState.REFUSED
    async with importer.db.reading(actor) as tx:
        [problem] = await service.problems(tx, actor, batch=batch.id)
    assert problem.file == "strange.bin"
    assert problem.what
    assert problem.fix


async def test_a_refused_document_can_be_imported_again(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    (tmp_path / "strange.bin").write_bytes(b"\x00\x01nothing")

    batches = [(await taken(importer, actor, tmp_path / "strange.bin"))[0] for _ in range(2)]

    assert not any(batch.already for batch in batches)


async def test_a_bad_row_is_named_by_file_row_and_column(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    path = focus(tmp_path / "bill.csv", range(1, 4))
    path.write_text(path.read_text(encoding="utf-8").replace("1.10,1.10", "1E+9999999,1.10", 1), encoding="utf-8")

    [batch] = await taken(importer, actor, path)

    assert (batch.rows_read, batch.rows_taken, batch.rows_refused) == (3, 2, 1)
    async with importer.db.reading(actor) as tx:
        [problem] = await service.problems(tx, actor, batch=batch.id)
    assert (problem.file, problem.row, problem.column) == ("bill.csv", 2, "BilledCost")


async def test_batches_of_one_organisation_are_unknown_to_another(
    importer: Importer, actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    [batch] = await taken(importer, actor, focus(tmp_path / "bill.csv", [1]))

    async with importer.db.reading(other_actor) as tx:
        with pytest.raises(NotFound):
            await service.get(tx, other_actor, batch=batch.id)
        assert await service.history(tx, other_actor) == []
    assert (await taken(importer, other_actor, tmp_path / "bill.csv"))[0].rows_taken == 1


async def test_what_is_reverted_cannot_be_reverted_again(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    [batch] = await taken(importer, actor, focus(tmp_path / "bill.csv", [1]))
    await importer.revert(actor, batch.id, clock=lambda: NOW)

    async with importer.db.reading(actor) as tx:
        rows = await tx.run(audit.listing(tx, actor, subject=f"import:{batch.id}").order_by(sa.text("id")).limit(9))
    assert [row.action for row in rows] == ["import.taken", "import.reverted"]
    with pytest.raises(Conflict, match="reverted"):
        await importer.revert(actor, batch.id, clock=lambda: NOW)


async def test_an_empty_folder_and_a_missing_file_are_refused(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(rules.NothingToImport):
        await taken(importer, actor, tmp_path / "empty")
    with pytest.raises(rules.NothingToImport):
        await taken(importer, actor, tmp_path / "missing")


async def test_mappings_are_remembered_by_header(importer: Importer, actor: Actor) -> None:
    async with importer.db.writing(actor) as tx:
        key = await service.remember_mapping(
            tx, actor, columns=["Day", "Amount"], name="mine", mapping={"day": "Day"}, now=NOW
        )
        await service.remember_mapping(tx, actor, columns=["day", "amount"], name="mine", mapping={"day": 1}, now=NOW)
        found = await service.mapping_for(tx, actor, fingerprint=key)

    assert found == {"day": 1}


class Counted(LocalFiles):
    """The file store, counting what is read into it."""

    puts = 0

    async def put(self, *args: Any, **facts: Any) -> Stored:
        self.puts += 1
        return await super().put(*args, **facts)


@pytest.fixture
def counted(importer: Importer, tmp_path: Path) -> tuple[Importer, Counted]:
    files = Counted(tmp_path / "files", free_bytes_min=0)
    return replace(importer, documents=files), files


async def again(importer: Importer, actor: Actor, path: Path) -> list[Batch]:
    """Import with trust in times, some time after the file was written."""
    later = utc_now() + timedelta(minutes=1)
    return await trusting(importer, actor, path, lambda: later)


async def trusting(importer: Importer, actor: Actor, path: Path, clock: Callable[[], datetime]) -> list[Batch]:
    sources = files_under([path])
    return [b async for b in importer.import_sources(actor, sources, clock=clock, trust_marks=True)]


async def test_an_unchanged_file_is_known_without_being_read(
    counted: tuple[Importer, Counted], actor: Actor, tmp_path: Path
) -> None:
    importer, files = counted
    bill = focus(tmp_path / "bill.csv", range(1, 11))
    [first] = await again(importer, actor, bill)

    [second] = await again(importer, actor, bill)

    assert (second.id, second.already) == (first.id, True)
    assert files.puts == 1


async def test_an_unchanged_archive_is_known_with_all_its_documents(
    counted: tuple[Importer, Counted], actor: Actor, tmp_path: Path
) -> None:
    importer, files = counted
    with zipfile.ZipFile(tmp_path / "bills.zip", "w") as archive:
        for month in (9, 10):
            archive.write(focus(tmp_path / f"{month}.csv", range(1, 11), month=month), f"{month}.csv")
    first = await again(importer, actor, tmp_path / "bills.zip")

    second = await again(importer, actor, tmp_path / "bills.zip")

    assert [batch.id for batch in second] == [batch.id for batch in first]
    assert files.puts == 2


async def test_a_file_changed_without_its_size_and_modification_time_showing_it_is_read(
    counted: tuple[Importer, Counted], actor: Actor, tmp_path: Path
) -> None:
    importer, _ = counted
    bill = focus(tmp_path / "bill.csv", range(1, 11))
    await again(importer, actor, bill)
    before = bill.stat()

    bill.write_text(bill.read_text(encoding="utf-8").replace("1.10,1.10", "9.10,1.10"), encoding="utf-8")
    os.utime(bill, ns=(before.st_atime_ns, before.st_mtime_ns))
    [changed] = await again(importer, actor, bill)

    assert bill.stat().st_size == before.st_size
    assert not changed.already
    assert changed.totals == {"USD": Decimal("91.00")}


async def test_a_file_written_just_before_its_import_is_read_again(
    counted: tuple[Importer, Counted], actor: Actor, tmp_path: Path
) -> None:
    importer, files = counted
    bill = focus(tmp_path / "bill.csv", range(1, 11))

    for _ in range(2):
        await trusting(importer, actor, bill, utc_now)

    assert files.puts == 2


async def test_times_are_not_trusted_unless_asked(
    counted: tuple[Importer, Counted], actor: Actor, tmp_path: Path
) -> None:
    importer, files = counted
    bill = focus(tmp_path / "bill.csv", range(1, 11))
    await again(importer, actor, bill)

    await taken(importer, actor, bill)

    assert files.puts == 2


async def test_what_was_reverted_refused_or_lost_is_read_again(
    counted: tuple[Importer, Counted], actor: Actor, tmp_path: Path
) -> None:
    importer, files = counted
    bill = focus(tmp_path / "bill.csv", range(1, 11))
    (tmp_path / "strange.bin").write_bytes(b"\x00\x01nothing")
    [first] = await again(importer, actor, bill)
    await importer.revert(actor, first.id, clock=lambda: NOW)

    [second] = await again(importer, actor, bill)
    refused = [(await again(importer, actor, tmp_path / "strange.bin"))[0] for _ in range(2)]
    await files.remove_all(actor.org)
    [third] = await again(importer, actor, bill)

    assert (second.already, third.already, third.id) == (False, True, second.id)
    assert not any(batch.already for batch in refused)
    assert files.puts == 5


async def test_another_organisation_learns_nothing_from_an_unchanged_file(
    counted: tuple[Importer, Counted], actor: Actor, other_actor: Actor, tmp_path: Path
) -> None:
    importer, _ = counted
    bill = focus(tmp_path / "bill.csv", range(1, 11))
    await again(importer, actor, bill)

    [batch] = await again(importer, other_actor, bill)

    assert not batch.already
