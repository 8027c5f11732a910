"""Every OFX and QIF file that a publisher converted, against a count and a sum read off its own tags without our reader."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from bursar.kernel.errors import Invalid
from tests.connectors.banks.support import read
from tests.shared import SHARED, shared_data

ORDERS_OF_PAYMENT = {"converted/default_w_splits.ofx", "converted/mint.ofx", "example/transfer_example.ofx"}
TRADES = {"example/investment_example.qif"}


def files() -> list[str]:
    """Name every OFX and QIF file of the folder; none where the data is absent."""
    folder = SHARED / "banking" / "csv2ofx"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in {".ofx", ".qif"})


def independent(path: Path) -> tuple[int, Decimal]:
    """Count and sum the amounts by their tag alone."""
    text = path.read_text(encoding="utf-8")
    tag = r"<TRNAMT>\s*([-+\d.]+)" if path.suffix == ".ofx" else r"^T([-+]?[\d.][\d.,]*)"
    found = [Decimal(amount.replace(",", "")) for amount in re.findall(tag, text, re.MULTILINE)]
    return len(found), sum(found, Decimal(0))


@pytest.mark.parametrize("name", files() or [pytest.param("", marks=pytest.mark.skip(reason="real input is absent"))])
def test_a_converted_file_gives_what_its_own_tags_say(name: str) -> None:
    path = shared_data(f"banking/csv2ofx/{name}")
    if name in ORDERS_OF_PAYMENT:
        with pytest.raises(Invalid, match="confirms payment orders"):
            read(path)
        return
    got = read(path)
    if name in TRADES:
        assert [problem.what for problem in got.parsed.problems] == [
            "2 investment records are not cash rows and were not taken"
        ]
        assert got.rows.is_empty()
        return

    assert (got.rows.height, got.total) == independent(path)
    assert got.refused == []


def test_every_file_of_the_folder_has_a_test_that_names_or_lists_it() -> None:
    root = shared_data("banking")
    listed = {"camt", "camt_cz", "mt940", "ofxparse", "quiffen", "csv2ofx/test", "csv2ofx/converted", "csv2ofx/example"}

    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith(("LICENSE", "SOURCE")):
            folder = str(path.parent.relative_to(root))
            assert folder in listed or folder.split("/", maxsplit=1)[0] in listed, f"{path} has no test"
