"""What the reader of any document sees first."""

import os
from pathlib import Path

import polars as pl

from bursar.connectors.formats import head_of, recognise
from bursar.kernel.connector import HEAD_BYTES_MAX


def test_a_large_parquet_bill_is_recognised_by_the_columns_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "bill"
    noise = [os.urandom(64).hex() for _ in range(4000)]
    columns = dict.fromkeys(("BilledCost", "ChargePeriodStart", "ChargeCategory", "ProviderName"), noise)
    pl.DataFrame(columns).write_parquet(path)

    head = head_of(path, "bill")

    assert head.size > HEAD_BYTES_MAX
    assert head.columns == tuple(columns)
    assert recognise(head)[0][1].name == "focus"


def test_a_cut_parquet_file_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(b"PAR1" + bytes(100))

    assert head_of(path, "cut").columns == ()
