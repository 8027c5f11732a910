"""What the bill tests share: pick the format by content, read it as intake does, and sum a file independently of it."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import polars as pl

from bursar.connectors.bills import BILL_FORMATS
from bursar.kernel.connector import HEAD_BYTES_MAX, FileConnector, Head
from bursar.kernel.lines import REFUSED, Parsed

QUANTUM = Decimal("1e-15")


def head_of(path: Path) -> Head:
    columns: tuple[str, ...] = ()
    with path.open("rb") as file:
        data = file.read(HEAD_BYTES_MAX)
    if data.startswith(b"PAR1"):
        columns = tuple(pl.read_parquet_schema(path))
    return Head(path.name, data, path.stat().st_size, columns)


def format_of(path: Path) -> FileConnector:
    head = head_of(path)
    certain = {connector.name: connector.sniff(head) for connector in BILL_FORMATS}
    sure = [name for name, certainty in certain.items() if certainty > 0.8]
    assert len(sure) == 1, certain
    return next(connector for connector in BILL_FORMATS if connector.name == sure[0])


def read(path: Path, **options: str) -> tuple[Parsed, pl.DataFrame, pl.DataFrame]:
    """Return what was parsed, the rows taken and the rows refused."""
    parsed = format_of(path).parse(path, options=options)
    frame = parsed.lines.collect(engine="streaming")
    assert frame.columns == [*parsed.schema.columns, REFUSED]
    assert dict(frame.drop(REFUSED).schema) == parsed.schema.columns
    taken = frame.filter(pl.col(REFUSED).is_null())
    for name in parsed.schema.required:
        assert taken[name].null_count() == 0, name
    return parsed, taken, frame.filter(pl.col(REFUSED).is_not_null())


def totals(frame: pl.DataFrame, column: str = "billed_cost") -> dict[str, Decimal]:
    sums = frame.group_by("currency").agg(pl.col(column).sum()).iter_rows()
    return dict(sums)


def sums_of(path: Path, amount: str, currency: str = "", default: str = "USD") -> dict[str, Decimal]:
    """Sum a CSV with the standard library only, each value held to 15 places as the schema does."""
    found: Mapping[str, Decimal] = defaultdict(Decimal)
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            text = (row[amount] or "").replace("$", "").replace(",", "").strip()
            if text:
                found[row[currency] if currency else default] += Decimal(text).quantize(QUANTUM)  # type: ignore[index]
    return dict(found)
