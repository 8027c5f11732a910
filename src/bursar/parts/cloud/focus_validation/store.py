"""Cuts a table into blocks of rows in bounded memory, whatever the size of the file."""

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import polars as pl
import zstandard

from bursar.kernel.errors import Invalid
from bursar.parts.cloud.focus_validation.rules.batch import Batch, Memory

BLOCK_BYTES = 12 * 2**20
"""Bytes of text parsed at once."""

ROW_BYTES_MAX = 4 * BLOCK_BYTES
"""A row longer than this is refused: a quote was opened and never closed."""

PARQUET_ROWS = 50_000

NULLS = ["", "NULL", "null"]
"""Texts read as no value: CSV has none of its own, and exports from databases write NULL."""


class Blocks(Protocol):
    """A table as blocks; ``rows`` and ``notes`` are complete when it was read through."""

    names: list[str]
    rows: int
    notes: list[str]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the blocks in order."""


def blocks(document: Path) -> Blocks:
    """Open a CSV (plain, gzip, zstandard) or Parquet file.

    Raises:
        Invalid: It is empty, or no table.
    """
    with document.open("rb") as file:
        head = file.read(8)
    if not head:
        raise Invalid(f"{document.name} is empty.", "Give a FOCUS file.")
    return ParquetBlocks(document) if head.startswith(b"PAR1") else CsvBlocks(document)


class CsvBlocks:
    """A CSV file."""

    def __init__(self, document: Path) -> None:
        self.document = document
        self.rows = 0
        self._memory = Memory()
        self.notes: list[str] = []
        self._start = 0
        with self._open() as file:
            first = file.readline(ROW_BYTES_MAX)
            text = first.decode("utf-8-sig", errors="replace")
            while text.count('"') % 2 and (more := file.readline(ROW_BYTES_MAX)):
                first += more
                text = first.decode("utf-8-sig", errors="replace")
        self._start = len(first)
        self._comma = max(",;\t|", key=text.count)
        self.names = [name.strip() for name in next(csv.reader([text.rstrip("\r\n")], delimiter=self._comma), [])]
        if len(self.names) < 2:
            raise Invalid(
                f"{document.name} has no header of a table.", "Give a CSV file with the FOCUS columns in row 1."
            )
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise Invalid(f"{document.name} has a column twice: {', '.join(twice)}.", "Rename or remove one of them.")

    def _open(self) -> BinaryIO:
        with self.document.open("rb") as file:
            magic = file.read(4)
        if magic[:2] == b"\x1f\x8b":
            return cast("BinaryIO", gzip.open(self.document))
        if magic == b"\x28\xb5\x2f\xfd":
            return cast("BinaryIO", io.BufferedReader(zstandard.open(self.document, "rb")))
        return self.document.open("rb")

    def __iter__(self) -> Iterator[Batch]:
        """Yield the blocks in order."""
        self.rows = 0
        with self._open() as file:
            file.read(self._start)
            rest = b""
            while data := file.read(BLOCK_BYTES):
                rest += data
                cut = _last_row_end(rest)
                if cut:
                    yield from self._parsed(rest[:cut])
                    rest = rest[cut:]
                elif len(rest) > ROW_BYTES_MAX:
                    what = f"Row {self.rows + 2} of {self.document.name} is longer than {ROW_BYTES_MAX:,} bytes."
                    raise Invalid(what, "Look for a quotation mark that is opened and never closed.")
            if rest.strip():
                yield from self._parsed(rest)
        if not self.rows:
            self.notes.append("The file has a header and no rows.")

    def _parsed(self, data: bytes) -> Iterator[Batch]:
        lossy = False
        try:
            data.decode()
        except UnicodeDecodeError:
            lossy = True
        try:
            frame = pl.read_csv(
                data,
                has_header=False,
                schema=dict.fromkeys(self.names, pl.String),
                separator=self._comma,
                null_values=NULLS,
                encoding="utf8-lossy" if lossy else "utf8",
                raise_if_empty=False,
            )
        except pl.exceptions.PolarsError as error:
            what = (
                f"{self.document.name} cannot be read from row {self.rows + 2} on: {str(error).splitlines()[0][:160]}"
            )
            raise Invalid(what, "Check that every row has as many fields as the header.") from error
        if frame.height:
            yield Batch(frame, self.rows + 2, self._memory)
            self.rows += frame.height


def _last_row_end(data: bytes) -> int:
    """Return where the last whole row ends: after a line end that lies outside quotes; 0 when there is none."""
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    inside = data.count(b'"') % 2 == 1
    at = len(data)
    while (at := data.rfind(b"\n", 0, at)) >= 0:
        before = data.count(b'"', at)
        if (before % 2 == 1) == inside:
            return at + 1
    return 0


class ParquetBlocks:
    """A Parquet file; values are turned into the text a CSV export would hold."""

    def __init__(self, document: Path) -> None:
        self.rows = 0
        self._memory = Memory()
        self.notes: list[str] = ["Typed columns are judged by the text they stand for."]
        try:
            self._scan = pl.scan_parquet(document)
            self._schema = self._scan.collect_schema()
        except pl.exceptions.PolarsError as error:
            raise Invalid(
                f"{document.name} is no readable Parquet file: {str(error)[:160]}", "Export it again."
            ) from error
        self.names = self._schema.names()

    def __iter__(self) -> Iterator[Batch]:
        """Yield the blocks in order."""
        self.rows = 0
        texts = [_as_text(name, kind) for name, kind in self._schema.items()]
        while True:
            frame = self._scan.slice(self.rows, PARQUET_ROWS).select(texts).collect()
            if not frame.height:
                return
            yield Batch(frame, self.rows + 2, self._memory)
            self.rows += frame.height


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, pl.Datetime):
        return column.dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(kind, pl.Struct):
        return column.struct.json_encode()
    if isinstance(kind, pl.List):
        return column.map_elements(_pairs, return_dtype=pl.String)
    return column.cast(pl.String)


def _pairs(value: pl.Series) -> str:
    import json

    return json.dumps(
        {item["key"]: item["value"] for item in value.to_list()}
        if value.dtype == pl.List(pl.Struct)
        else value.to_list()
    )
