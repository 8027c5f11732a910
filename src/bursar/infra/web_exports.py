"""Exports: every row that a filter keeps, as CSV or Parquet, written to disk page by page and sent from there.

Data files are never localised: a dot before the fraction, no thousands, ISO days and instants, the currency in a column of its own. In CSV
text that a spreadsheet would run as a formula is made harmless; Parquet is typed and leaves texts as they are.
"""

import asyncio
import csv
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from fastapi import Query
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from bursar.kernel.cells import harmless
from bursar.kernel.errors import TooLarge

ROWS_MAX = 1_000_000
"""Most rows of one export."""

PAGE_ROWS = 5_000
"""Rows read and written at a time."""

MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}

Form = Annotated[Literal["csv", "parquet"], Query(description="Form of the file.")]
"""Handler parameter: ``?form=``."""

EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What a route that exports answers."""

Columns = Mapping[str, pl.DataType]
Rows = AsyncIterator[Sequence[Sequence[Any]]]


async def export(name: str, columns: Columns, pages: Rows, form: str) -> FileResponse:
    """Write pages of rows to a file and return the answer that sends and then removes it.

    Args:
        name: Of the file, without ending.
        columns: Name to type of each column, in order.
        pages: The rows, a page at a time; read inside of the caller's transaction, before this returns.
        form: ``csv`` or ``parquet``.

    Raises:
        TooLarge: More than :data:`ROWS_MAX` rows.
    """
    folder = Path(tempfile.mkdtemp(prefix="bursar-export-"))
    try:
        path = await _written(folder, columns, pages, form)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(path, media_type=MEDIA[form], filename=f"{name}.{form}", background=gone)


async def save(path: Path, columns: Columns, pages: Rows, form: str) -> None:
    """Write pages of rows to a file of one's own; see :func:`export`."""
    with tempfile.TemporaryDirectory(prefix="bursar-export-") as folder:
        shutil.move(await _written(Path(folder), columns, pages, form), path)


async def export_text(name: str, pieces: AsyncIterator[str]) -> FileResponse:
    """Write pieces of text to a file and return the answer that sends and then removes it.

    Args:
        name: Of the file, with ending.
        pieces: The text; read inside of the caller's transaction, before this returns.
    """
    folder = Path(tempfile.mkdtemp(prefix="bursar-export-"))
    try:
        with (folder / "export").open("w", encoding="utf-8", newline="") as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(folder / "export", media_type="text/plain; charset=utf-8", filename=name, background=gone)


async def _written(folder: Path, columns: Columns, pages: Rows, form: str) -> Path:
    """Write CSV; Parquet is made of its pages, so that no more than one of them is ever in memory."""
    path, count = folder / f"export.{form}", 0
    if form == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            async for page in pages:
                count = _counted(count, page)
                await asyncio.to_thread(writer.writerows, [[_cell(value) for value in row] for row in page])
        return path
    async for page in pages:
        count = _counted(count, page)
        frame = pl.DataFrame(list(page), schema=dict(columns), orient="row")
        await asyncio.to_thread(frame.write_parquet, folder / f"page-{count:09d}.parquet")
    if not count:
        pl.DataFrame(schema=dict(columns)).write_parquet(path)
        return path
    await asyncio.to_thread(lambda: pl.scan_parquet(sorted(folder.glob("page-*.parquet"))).sink_parquet(path))
    return path


def _counted(count: int, page: Sequence[Any]) -> int:
    if count + len(page) > ROWS_MAX:
        raise TooLarge("The export", ROWS_MAX, "rows")
    return count + len(page)


def _cell(value: object) -> object:
    """Return a cell of CSV: plain decimals, ISO days, lists joined, formulas made harmless."""
    match value:
        case str():
            return harmless(value)
        case list() | tuple():
            return harmless(" ".join(map(str, value)))
        case datetime():
            return value.isoformat()
        case None:
            return ""
        case _:
            return f"{value:f}" if hasattr(value, "as_tuple") else value
