"""Reads a file as intake does: the surest connector, the taken rows, the refused ones with their reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl

from bursar.connectors.banks import BANK_FORMATS
from bursar.kernel.connector import HEAD_BYTES_MAX, FileConnector, Head
from bursar.kernel.lines import REFUSED, Parsed


@dataclass(frozen=True)
class Read:
    connector: FileConnector
    parsed: Parsed
    rows: pl.DataFrame
    refused: list[str]

    @property
    def total(self) -> Decimal:
        return sum(self.rows.get_column(self.parsed.schema.amount), Decimal(0))

    @property
    def amounts(self) -> list[Decimal]:
        return sorted(value.normalize() for value in self.rows.get_column(self.parsed.schema.amount))


def surest(path: Path) -> FileConnector:
    data = path.read_bytes()
    head = Head(path.name, data[:HEAD_BYTES_MAX], len(data))
    best = max(BANK_FORMATS, key=lambda connector: connector.sniff(head))
    assert best.sniff(head) > 0, f"nobody knows {path.name}"
    return best


def read(path: Path, connector: FileConnector | None = None, **options: str) -> Read:
    known = connector or surest(path)
    return collected(known, known.parse(path, options=options))


def collected(connector: FileConnector, parsed: Parsed) -> Read:
    frame = parsed.lines.collect()
    assert frame.drop(REFUSED).columns == list(parsed.schema.columns)
    assert dict(frame.drop(REFUSED).schema) == parsed.schema.columns
    rows = frame.filter(pl.col(REFUSED).is_null())
    for column in parsed.schema.required:
        assert rows.get_column(column).null_count() == 0, f"{column} is null in a taken row"
    return Read(connector, parsed, rows, frame.get_column(REFUSED).drop_nulls().to_list())


def text(tmp_path: Path, content: str | bytes, name: str = "file.txt", **options: str) -> Read:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, None, **options)


def options(**values: str) -> Mapping[str, str]:
    return values
