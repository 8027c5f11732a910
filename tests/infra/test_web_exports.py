"""Exports: the same rows as CSV and Parquet, bounded, harmless in a spreadsheet, gone from disk when sent."""

import csv
import io
import tempfile
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.responses import FileResponse

from bursar.infra import web_exports
from bursar.infra.web_exports import export
from bursar.kernel.cells import FORMULA, harmless
from bursar.kernel.errors import TooLarge

COLUMNS: dict[str, pl.DataType] = {
    "name": pl.String(),
    "day": pl.Date(),
    "amount": pl.Decimal(38, 15),
    "tags": pl.List(pl.String()),
}
ROWS: list[list[Any]] = [
    ["=1+1", date(2026, 1, 31), Decimal("-1234.5000"), ["a", "b"]],
    ['quo"te, comma', None, Decimal("0.000000000000001"), []],
    ["Müller\nzwei", date(2026, 2, 1), None, None],
]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def read(answer: FileResponse) -> bytes:
    return Path(answer.path).read_bytes()


def left(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def pages(*found: list[list[Any]]) -> AsyncIterator[list[list[Any]]]:
    for page in found:
        yield page


async def test_csv_is_plain_and_harmless(scratch: Path) -> None:
    answer = await export("rows", COLUMNS, pages(ROWS[:1], ROWS[1:]), "csv")

    rows = list(csv.reader(io.StringIO(read(answer).decode(), newline="")))
    assert rows == [
        list(COLUMNS),
        ["'=1+1", "2026-01-31", "-1234.5000", "a b"],
        ['quo"te, comma', "", "0.000000000000001", ""],
        ["Müller\nzwei", "2026-02-01", "", ""],
    ]
    assert answer.media_type == "text/csv; charset=utf-8"
    assert answer.background is not None
    await answer.background()
    assert left(scratch) == []


async def test_parquet_holds_the_same_rows_with_types() -> None:
    answer = await export("rows", COLUMNS, pages(ROWS[:1], ROWS[1:]), "parquet")

    frame = pl.read_parquet(read(answer))
    assert dict(frame.schema) == COLUMNS
    assert [list(row) for row in frame.iter_rows()] == ROWS


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_no_rows_are_a_file_with_columns(form: str) -> None:
    answer = await export("rows", COLUMNS, pages(), form)

    frame = pl.read_csv(read(answer)) if form == "csv" else pl.read_parquet(read(answer))
    assert (frame.columns, frame.height) == (list(COLUMNS), 0)


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_too_many_rows_are_refused_and_leave_nothing(
    form: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_exports, "ROWS_MAX", 2)

    with pytest.raises(TooLarge, match="2"):
        await export("rows", COLUMNS, pages(ROWS[:2], ROWS[2:]), form)
    assert left(scratch) == []


@pytest.mark.parametrize("first", FORMULA)
def test_a_formula_gets_an_apostrophe(first: str) -> None:
    assert harmless(f"{first}1") == f"'{first}1"
    assert harmless(f"x{first}") == f"x{first}"
