"""The main job on every real export there is: all refused files explained, totals equal to sums made by other code."""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from tests.shared import shared_data

FOLDERS = ("cloud", "banking", "spend")
REVIEW_S_MAX = 600
REFUSED_INPUT = 5
AMOUNT_COLUMNS = ("BilledCost", "lineItem/UnblendedCost", "cost/myCost", "amount", "Amount", "sum")
"""The column of a table that is summed, whichever it has."""

LINE_ROUNDING = Decimal("5e-16")
"""Lines keep 15 decimal places; some vendors write more."""

COMPARED_MIN = 40


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[int, dict[str, Any], str]]:
    folders = [str(shared_data(name)) for name in FOLDERS]
    home = Path(tempfile.mkdtemp(prefix="bursar-real-"))
    home.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    done = subprocess.run(
        [sys.executable, "-m", "bursar.cli", "review", "--json", *folders],
        env=clean | {"BURSAR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=REVIEW_S_MAX,
        check=False,
    )
    yield done.returncode, json.loads(done.stdout), done.stderr
    shutil.rmtree(home, ignore_errors=True)


def content(path: Path) -> str:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8-sig", errors="replace")


def table_sum(text: str) -> tuple[int, Decimal] | None:
    rows = list(csv.DictReader(io.StringIO(re.sub(r"\r(?!\n)", " ", text), newline="")))
    column = next((name for name in AMOUNT_COLUMNS if rows and name in rows[0]), None)
    if column is None:
        return None
    try:
        return len(rows), sum((Decimal((row[column] or "0").replace(",", "")) for row in rows), Decimal(0))
    except InvalidOperation:
        return None


def marked_sum(text: str, pattern: str) -> tuple[int, Decimal] | None:
    found = [amount.replace(",", "") for amount in re.findall(pattern, text, re.MULTILINE)]
    return (len(found), sum((Decimal(amount) for amount in found), Decimal(0))) if found else None


def other_sum(path: Path) -> tuple[int, Decimal] | None:
    """Return the number and sum of amounts in a file, by code that shares nothing with the connectors."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return table_sum(content(path))
    if name.endswith(".ofx"):
        return marked_sum(content(path), r"<TRNAMT>\s*([-+0-9.,]+)")
    if name.endswith(".qif"):
        return marked_sum(content(path), r"^T([-+0-9.,]+)\s*$")
    return None


def files() -> dict[str, Path]:
    """Return every file by the name a review gives it."""
    named = {}
    for folder in FOLDERS:
        root = shared_data(folder)
        for path in root.rglob("*"):
            if path.is_file():
                named[str(path.relative_to(root))] = path
    return named


def test_every_file_is_read_or_refused_with_what_and_what_to_do(made: tuple[int, dict[str, Any], str]) -> None:
    status, answer, err = made

    assert status == REFUSED_INPUT, err
    assert "Traceback" not in err
    assert answer["failed"] == []
    named = files()
    read = {
        hashlib.sha256(named[one].read_bytes()).digest()
        for batch in answer["batches"]
        if (one := batch["file"]) in named
    }
    assert [name for name, path in named.items() if hashlib.sha256(path.read_bytes()).digest() not in read] == []
    assert len(answer["batches"]) >= len(named)
    for batch in answer["batches"]:
        if batch["format"] is None or batch["rows_refused"]:
            assert batch["problems"], batch["file"]
            assert all(problem["what"] and problem["fix"] for problem in batch["problems"]), batch["file"]
        assert batch["rows_read"] == batch["rows_taken"] + batch["rows_known"] + batch["rows_refused"], batch["file"]


def test_totals_are_those_of_other_code(made: tuple[int, dict[str, Any], str]) -> None:
    _, answer, _ = made
    named = files()
    compared = []
    for batch in answer["batches"]:
        whole = batch["format"] and not batch["already"] and not batch["rows_known"] and not batch["rows_refused"]
        whole = whole and batch["format"] != "bank-csv"  # the sign may stand in a column of its own
        other = other_sum(named[batch["file"]]) if whole and batch["file"] in named else None
        if other is None or other[0] != batch["rows_read"]:
            continue
        told = sum((Decimal(total["amount"]) for total in batch["totals"]), Decimal(0))
        assert abs(told - other[1]) <= other[0] * LINE_ROUNDING, batch["file"]
        compared.append(batch["file"])

    assert len(compared) >= COMPARED_MIN, compared
    assert {
        "leeds_ledger_2010_2020.csv.gz",
        "daily_payments_by_body.csv",
        "daily_payments_by_unit_top60.csv.gz",
    } <= set(compared)


def test_findings_are_those_a_careful_reader_would_write_down(made: tuple[int, dict[str, Any], str]) -> None:
    """What the files show: equal uneven payments to one supplier, and commitments that are paid for and not used.

    Not: one account exported in two formats, and two invoices whose numbers follow each other.
    """
    _, answer, _ = made
    titles = {one["title"]: one for one in (*answer["findings"], *answer["unsure"])}

    assert titles["Perhaps paid twice to Advonet"]["worth"] == {"amount": "103916.67", "currency": "GBP"}
    assert sum(title.startswith("Perhaps paid twice") for title in titles) == 20
    assert any("is paid for but" in title for title in titles)
    for wrong in ("Drillisch", "Shell Gas", "Charger-baisikeli"):
        assert not any(wrong in title for title in titles), wrong
