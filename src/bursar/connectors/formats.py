"""Every file format Bursar reads, and the one function that runs in a parser's child process."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from bursar.connectors.banks import BANK_FORMATS
from bursar.connectors.belvo_format import BELVO_FORMAT
from bursar.connectors.bills import BILL_FORMATS
from bursar.connectors.bills.source import PARQUET_MAGIC
from bursar.connectors.measures import MEASURE_FORMATS
from bursar.infra.lake_stage import Staged, stage
from bursar.kernel.connector import HEAD_BYTES_MAX, FileConnector, Head
from bursar.kernel.lines import BANK_LINES, Parsed, Statement

FORMATS: tuple[FileConnector, ...] = (*BILL_FORMATS, *MEASURE_FORMATS, BELVO_FORMAT, *BANK_FORMATS)
"""Every format; the most certain one reads a document, the earlier one on a tie."""

PROVEN = 0.95
"""Certainty at which no other format is asked."""

CERTAINTY_MIN = 0.5
"""Least certainty with which a format is taken."""


def recognise(head: Head) -> list[tuple[float, FileConnector]]:
    """Return the formats that may read the document, most certain first.

    Asking stops at the first format that is as good as proven: telling tables apart takes longer than reading most.
    """
    rated = []
    for connector in FORMATS:
        rated.append((connector.sniff(head), connector))
        if rated[-1][0] >= PROVEN:
            break
    return sorted((pair for pair in rated if pair[0] > 0), key=lambda pair: -pair[0])


def head_of(path: Path, name: str) -> Head:
    """Return the beginning of a document, with the column names of a Parquet file, which stand at its end."""
    with path.open("rb") as file:
        data = file.read(HEAD_BYTES_MAX)
    columns: tuple[str, ...] = ()
    if data.startswith(PARQUET_MAGIC):
        with contextlib.suppress(pl.exceptions.PolarsError, OSError):  # a cut file is refused by its own connector
            columns = tuple(pl.read_parquet_schema(path))
    return Head(name=name, data=data, size=path.stat().st_size, columns=columns)


def read_document(document: str, name: str, out: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Recognise, parse and stage one decompressed document.

    Args:
        document: Path of the document.
        name: Its name in the delivery (a hint only).
        out: Folder that receives the staged Parquet files.
        options: A person's answers; ``format`` forces a format by its id.

    Returns:
        A JSON-able description: ``format``, ``title``, ``kind``, ``certainty``, ``schema`` (its name), ``staged``,
        ``balances``, ``notes``, ``problems``; ``schema`` is null when no format is certain enough.
    """
    path = Path(document)
    head = head_of(path, name)
    rated = recognise(head)
    forced = options.get("format", "")
    if forced:
        rated = [(1.0, connector) for connector in FORMATS if connector.name == forced]
    if not rated or rated[0][0] < CERTAINTY_MIN:
        return _unknown(head, rated)
    certainty, connector = rated[0]
    parsed = connector.parse(path, options=options)
    staged = stage(parsed, Path(out))
    return {
        "format": connector.name,
        "title": connector.title,
        "kind": connector.kind.value,
        "certainty": certainty,
        "schema": parsed.schema.name,
        "staged": staged.to_json(),
        "balances": _balances(parsed, staged),
        "notes": list(parsed.notes),
        "problems": [asdict(problem) for problem in parsed.problems],
    }


def _unknown(head: Head, rated: Sequence[tuple[float, FileConnector]]) -> dict[str, Any]:
    if head.size == 0:
        what, fix = "The file is empty.", "Export it again."
    elif rated:
        what = f"No format fits; the nearest is {rated[0][1].title} ({rated[0][0]:.0%} certain)."
        fix = f"If that is what it is, import it with `--format {rated[0][1].name}`; else supply a column mapping."
    else:
        what = "The content is of no format that Bursar reads."
        fix = "If it holds money, export it as one of the formats that the README lists; else leave it out."
    problem = {"what": what, "fix": fix, "file": head.name, "row": None, "column": ""}
    return {
        "format": "",
        "title": "not understood",
        "kind": "",
        "certainty": rated[0][0] if rated else 0.0,
        "schema": None,
        "staged": None,
        "balances": [],
        "notes": [],
        "problems": [problem],
    }


def _balances(parsed: Parsed, staged: Staged) -> list[dict[str, Any]]:
    """Return opening, closing and the exact sum of booked rows for every statement of a bank document."""
    if parsed.schema.name != BANK_LINES.name or not parsed.statements:
        return []
    sums: dict[int, tuple[Decimal, int, date | None, date | None]] = {}
    if staged.files:
        rows = (
            pl.scan_parquet([file.path for file in staged.files], hive_partitioning=False)
            .filter(pl.col("status") == "booked")
            .group_by("statement")
            .agg(
                pl.col("amount").sum(),
                pl.len(),
                pl.col("booking_date").min().alias("first"),
                pl.col("booking_date").max().alias("last"),
            )
            .collect()
        )
        sums = {statement: tuple(found) for statement, *found in rows.iter_rows()}
    return [
        _balance(statement, *sums.get(index, (Decimal(0), 0, None, None)))
        for index, statement in enumerate(parsed.statements)
    ]


def _balance(statement: Statement, total: Decimal, rows: int, first: date | None, last: date | None) -> dict[str, Any]:
    """Describe one statement: its balances with their days, its rows with theirs."""
    days = {
        "opening_day": statement.opening_day, "closing_day": statement.closing_day, "first_day": first, "last_day": last,
    }  # fmt: skip
    return {
        "account": statement.account,
        "currency": statement.currency,
        "opening": None if statement.opening is None else str(statement.opening),
        "closing": None if statement.closing is None else str(statement.closing),
        "total": str(total),
        "rows": rows,
        **{name: day and day.isoformat() for name, day in days.items()},
    }


def parse_in_child(document: str, name: str, out: str, options: str) -> dict[str, Any]:
    """Run :func:`read_document` with ``options`` as JSON text; the function the sandbox calls by name."""
    return read_document(document, name, out, json.loads(options))
