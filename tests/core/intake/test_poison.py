"""Poisonous files through the whole of intake: taken exactly or refused with a sentence, and nothing is left behind."""

import gzip
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard

from bursar.core.intake import service
from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import Batch, BatchState
from bursar.kernel.actor import Actor
from bursar.kernel.errors import Problem
from bursar.kernel.lines import COST_LINES
from tests.core.intake.test_importing import focus, importer, rows, taken, total

__all__ = ["importer"]

LARGE_BYTES = 2_000_000_000
BUDGET_MB = 600
BLOCK_ROWS = 20_000


async def problems(importer: Importer, actor: Actor, batch: Batch) -> list[Problem]:
    async with importer.db.reading(actor) as tx:
        return await service.problems(tx, actor, batch=batch.id)


def zipped(**members: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return held.getvalue()


async def test_a_folder_may_hold_bills_packed_in_every_way(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    folder.mkdir()
    packs: dict[str, Callable[[bytes], bytes]] = {
        "csv": bytes,
        "csv.gz": gzip.compress,
        "csv.zst": zstandard.compress,
        "zip": lambda data: zipped(bill__csv=data),
        "zip.gz": lambda data: gzip.compress(zipped(bill__csv=data)),
    }
    for number, (ending, pack) in enumerate(packs.items()):
        plain = focus(tmp_path / "made.csv", range(1, 11), month=number + 1).read_bytes()
        (folder / f"bill-of-{number}.{ending}").write_bytes(pack(plain))

    batches = await taken(importer, actor, folder)

    assert [batch.totals for batch in batches] == [{"USD": Decimal("11.00")}] * len(packs)
    assert await total(importer, actor, COST_LINES) == Decimal("55.00")
    assert all(batch.already for batch in await taken(importer, actor, folder))


async def test_a_bomb_is_refused_and_leaves_nothing_unpacked(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    (tmp_path / "bomb.zip").write_bytes(zipped(a__csv=bytes(200 * 1024**2)))

    [batch] = await taken(importer, actor, tmp_path / "bomb.zip")

    assert batch.state is BatchState.REFUSED
    [problem] = await problems(importer, actor, batch)
    assert "times its own size" in problem.what
    assert "Unpack it yourself" in problem.fix
    assert not list(importer.scratch.iterdir())


async def test_archives_too_deep_inside_each_other_are_refused(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    plain = focus(tmp_path / "made.csv", range(1, 11)).read_bytes()
    twice = zipped(inner__zip=zipped(bill__csv=plain))
    (tmp_path / "twice.zip").write_bytes(twice)
    (tmp_path / "thrice.zip").write_bytes(zipped(outer__zip=twice))

    [fine] = await taken(importer, actor, tmp_path / "twice.zip")
    [deep] = await taken(importer, actor, tmp_path / "thrice.zip")

    assert (fine.file, fine.totals) == ("twice.zip/inner.zip/bill.csv", {"USD": Decimal("11.00")})
    [problem] = await problems(importer, actor, deep)
    assert "more than 2 deep" in problem.what


async def test_a_formula_in_a_cell_stays_text_and_is_no_amount(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    path = focus(tmp_path / "bill.csv", [1, 2])
    text = path.read_text(encoding="utf-8").replace("r-1", '"=HYPERLINK(""http://x"",""y"")"')
    path.write_text(text + text.splitlines()[2].replace("1.10", "=1+1", 1) + "\n", encoding="utf-8")

    [batch] = await taken(importer, actor, path)

    assert (batch.rows_taken, batch.rows_refused) == (2, 1)
    [problem] = await problems(importer, actor, batch)
    assert "'=1+1' is not a decimal number" in problem.what
    assert '=HYPERLINK("http://x","y")' in (await rows(importer, actor, COST_LINES))["resource_id"].to_list()


async def test_encodings_may_be_mixed_and_the_batch_says_so(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    path = focus(tmp_path / "bill.csv", [1, 2])
    path.write_bytes(path.read_bytes().replace(b"r-1", "münchen".encode()).replace(b"r-2", "zürich".encode("cp1252")))

    [batch] = await taken(importer, actor, path)

    held = await rows(importer, actor, COST_LINES)
    assert sorted(held["resource_id"].to_list()) == ["münchen", "zürich"]
    assert any("Windows-1252" in note for note in batch.notes)


async def test_a_month_cut_in_the_middle_of_a_row_is_refused_and_replaces_nothing(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, focus(tmp_path / "whole.csv", range(1, 31)))
    cut = focus(tmp_path / "cut.csv", range(1, 31), cost="9.00")
    data = cut.read_bytes()
    cut.write_bytes(data[: len(data) // 2])

    [batch] = await taken(importer, actor, cut)

    assert batch.state is BatchState.REFUSED
    [problem] = await problems(importer, actor, batch)
    assert "ends in the middle of its last row" in problem.what
    assert await total(importer, actor, COST_LINES) == 30 * Decimal("1.10")


async def test_a_month_that_ends_in_its_middle_replaces_only_the_days_it_has(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    await taken(importer, actor, focus(tmp_path / "whole.csv", range(1, 31)))

    [batch] = await taken(importer, actor, focus(tmp_path / "half.csv", range(1, 16), cost="9.00"))

    assert batch.rows_replaced == 15
    assert await total(importer, actor, COST_LINES) == 15 * Decimal("9.00") + 15 * Decimal("1.10")


async def test_negative_and_tiny_costs_sum_exactly(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    path = focus(tmp_path / "bill.csv", range(1, 5))
    for written in ("-3.300000000000001", "1e-15", "-1E-15", "0.000000000000003"):
        path.write_text(
            path.read_text(encoding="utf-8").replace("\n1.10,1.10", f"\n{written},1.10", 1), encoding="utf-8"
        )

    [batch] = await taken(importer, actor, path)

    assert batch.totals == {"USD": Decimal("-3.299999999999998")}


async def test_a_repeated_column_is_refused_with_its_name(importer: Importer, actor: Actor, tmp_path: Path) -> None:
    path = focus(tmp_path / "bill.csv", [1])
    path.write_text(path.read_text(encoding="utf-8").replace("EffectiveCost", "BilledCost", 1), encoding="utf-8")

    [batch] = await taken(importer, actor, path)

    [problem] = await problems(importer, actor, batch)
    assert "names the column BilledCost more than once" in problem.what


async def test_twenty_thousand_distinct_tags_are_kept_as_columns_and_as_values(
    importer: Importer, actor: Actor, tmp_path: Path
) -> None:
    head = [
        "bill/PayerAccountId", "lineItem/LineItemType", "lineItem/UsageStartDate", "lineItem/UsageEndDate",
        "lineItem/UnblendedCost", "lineItem/CurrencyCode", "lineItem/ProductCode", "lineItem/UsageType",
    ]  # fmt: skip
    tags = [f"resourceTags/user:tag{number}" for number in range(20_000)]
    line = [
        "1",
        "Usage",
        "2026-03-01T00:00:00Z",
        "2026-03-01T01:00:00Z",
        "1.5",
        "USD",
        "AmazonEC2",
        "BoxUsage:m5.large",
    ]
    lines = [[*line, *[""] * row, f"value {row}", *[""] * (len(tags) - row - 1)] for row in (0, 19_999)]
    text = "\n".join(",".join(cells) for cells in ([*head, *tags], *lines))
    (tmp_path / "cur.csv").write_text(text + "\n", encoding="utf-8")

    [batch] = await taken(importer, actor, tmp_path / "cur.csv")

    assert batch.totals == {"USD": Decimal("3.0")}
    held = await rows(importer, actor, COST_LINES)
    assert sorted(held["tags"].to_list()) == ['{"tag0":"value 0"}', '{"tag19999":"value 19999"}']


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A home that the database's own user can get to."""
    home = Path(tempfile.mkdtemp(prefix="bursar-large-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_gigabytes_are_read_on_a_budget_of_600_megabytes(tmp_path: Path, reachable: Path) -> None:
    head, *block = focus(tmp_path / "block.csv", range(1, 31)).read_text(encoding="utf-8").splitlines(keepends=True)
    many = "".join(block * (BLOCK_ROWS // len(block))).encode()
    count = 0
    with (tmp_path / "large.csv").open("wb") as file:
        file.write(head.encode())
        while file.tell() < LARGE_BYTES:
            file.write(many)
            count += BLOCK_ROWS // len(block) * len(block)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(reachable), str(tmp_path / "large.csv")],
        check=False,
        capture_output=True,
        text=True,
    )
    (tmp_path / "large.csv").unlink()

    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["rows"], Decimal(found["total"])) == (count, count * Decimal("1.10"))
    assert found["own_mb"] < BUDGET_MB
    assert found["child_mb"] < BUDGET_MB, found


MEASURED = """
import asyncio, json, resource, sys
from pathlib import Path
from bursar import wiring
from bursar.infra.clock import utc_now
from bursar.settings import Settings

async def main():
    async with wiring.open_house(Settings(home=Path(sys.argv[1]))) as house:
        actor = await wiring.local_actor(house)
        taken = house.importer.import_paths(actor, [Path(sys.argv[2])], clock=utc_now)
        [batch] = [one async for one in taken]
        await house.importer.sandbox.close()
        # ru_maxrss of one's own is not less than that of the program that started it
        own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        peak = {"own_mb": int(own.split()[1]) / 1024, "child_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024}
        print(json.dumps({"rows": batch.rows_taken, "total": str(batch.totals["USD"])} | peak))

asyncio.run(main())
"""
"""Imports a file in a house of its own and prints what it took and the peak memory of itself and of the parser's child."""
