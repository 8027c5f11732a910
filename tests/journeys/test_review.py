"""The main job on real input, from an empty home, through the real command."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.shared import shared_data


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-journey-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def bursar(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    return subprocess.run(
        [sys.executable, "-m", "bursar.cli", *args],
        env=clean | {"BURSAR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_review_imports_a_bill_and_a_statement_with_exact_totals(home: Path) -> None:
    bill = shared_data("cloud/focus_1_0/FOCUS-1.0/focus_sample.csv")
    statement = shared_data("banking/ofxparse/bank_medium.ofx")
    with bill.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))

    done = bursar(home, "review", "--json", str(bill), str(statement))
    read = json.loads(done.stdout)
    totals = {batch["file"]: batch["totals"] for batch in read["batches"]}

    assert done.returncode == 0, done.stderr
    assert Decimal(totals["focus_sample.csv"][0]["amount"]) == sum(Decimal(row["BilledCost"]) for row in rows)
    assert read["rows_read"] == len(rows) + 3
    assert Decimal(totals["bank_medium.ofx"][0]["amount"]) == Decimal("-345.27")


def test_review_of_the_same_files_again_adds_nothing(home: Path) -> None:
    statement = shared_data("banking/ofxparse/bank_medium.ofx")
    first = json.loads(bursar(home, "review", "--json", str(statement)).stdout)

    second = json.loads(bursar(home, "review", "--json", str(statement)).stdout)

    assert not first["batches"][0]["already"]
    assert second["batches"][0]["already"]
    assert second["batches"][0]["id"] == first["batches"][0]["id"]


def test_review_explains_what_it_does_not_understand_and_says_so_in_its_status(home: Path, tmp_path: Path) -> None:
    (tmp_path / "strange.bin").write_bytes(b"\x00\x01\x02nothing we know")

    done = bursar(home, "review", str(tmp_path))

    assert done.returncode == 5
    assert "strange.bin" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_review_of_a_folder_without_files_says_so(home: Path, tmp_path: Path) -> None:
    done = bursar(home, "review", str(tmp_path))

    assert done.returncode == 1
    assert "no file" in done.stderr
