"""Books, ledger, transactions, parties, rules and budgets at the console: what HTTP can do, a person can do here."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest

from bursar.cli.main import cli
from bursar.kernel.errors import Refusal
from tests.cli.test_commands import bursar

ROWS = (
    ("20261005", "-40.00", "CITY TAXI"),
    ("20261006", "-119.99", "OFFICE DEPOT"),
    ("20261007", "1000.00", "ACME INC"),
)
OFX = (
    "OFXHEADER:100\nDATA:OFXSGML\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS><CURDEF>USD<BANKACCTFROM><BANKID>1<ACCTID>42"
    "<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20261001<DTEND>20261031"
    + "".join(
        f"<STMTTRN><TRNTYPE>OTHER<DTPOSTED>{day}<TRNAMT>{amount}<FITID>{day}<NAME>{name}</STMTTRN>" for day, amount, name in ROWS
    )
    + "</BANKTRANLIST></STMTRS></STMTTRNRS></BANKMSGSRSV1></OFX>"
)  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-cli-books-"))
    folder.chmod(0o755)
    (folder / "a.ofx").write_text(OFX, encoding="utf-8")
    assert bursar(folder, "import", str(folder / "a.ofx")).returncode == 0
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def told(home: Path, *args: str, given: str = "", status: int = 0) -> Any:
    """Return what a command prints as JSON."""
    done = bursar(home, *args, "--json", given=given)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_a_transaction_is_annotated_split_and_kept_with_its_receipt(home: Path) -> None:
    [depot] = told(home, "transactions", "depot")
    (home / "r.pdf").write_bytes(b"%PDF-1.4 receipt")
    noted = bursar(
        home, "transaction", "annotate", depot["id"], "--note", "=1+1", "--tag", "fit-out", "--department", "Sales"
    )
    wrong = bursar(home, "transaction", "split", depot["id"], "--part", "-1", "A", "--part", "-2", "B")
    told(home, "transaction", "split", depot["id"], "--part", "-100.00", "Chairs@Sales", "--part", "-19.99", "Paper")
    file = told(home, "transaction", "attach", depot["id"], str(home / "r.pdf"))
    shown = told(home, "transaction", "show", depot["id"])
    fetched = bursar(home, "transaction", "fetch", depot["id"], file["id"], str(home / "back.pdf"))
    told(home, "transaction", "detach", depot["id"], file["id"])
    saved = bursar(home, "transactions", "--tag", "fit-out", "--least", "100", "--to", str(home / "t.csv"))

    assert (noted.returncode, fetched.returncode, saved.returncode) == (0, 0, 0)
    assert "off by" in wrong.stderr
    assert [(one["amount"], one["category"], one["department"]) for one in shown["parts"]] == [
        ("-100.000000000000000", "Chairs", "Sales"), ("-19.990000000000000", "Paper", ""),
    ]  # fmt: skip
    assert (shown["tags"], [one["name"] for one in shown["files"]]) == (["fit-out"], ["r.pdf"])
    assert (home / "back.pdf").read_bytes() == b"%PDF-1.4 receipt"
    assert told(home, "transaction", "show", depot["id"])["files"] == []
    [row] = pl.read_csv(home / "t.csv").iter_rows(named=True)
    assert (row["note"], row["department"]) == ("'=1+1", "Sales")


def test_the_ledger_is_written_and_reported(home: Path) -> None:
    for code, kind in (("asset:cash", "asset"), ("income:shop", "income")):
        told(home, "ledger", "open", code, "--kind", kind, "--currency", "EUR")
    sides = ("--debit", "asset:cash", "--credit", "income:shop", "--day", "2026-10-01")
    hold = told(home, "ledger", "transfer", "h", "--action", "hold", *sides, "--amount", "10", "EUR")
    told(
        home, "ledger", "transfer", "s", "--action", "settle", "--of", hold["id"], "--amount", "4.50", "EUR", "--day", "2026-10-01",
        "--tag", "shop=1",
    )  # fmt: skip
    again = bursar(home, "ledger", "transfer", "h", "--action", "hold", *sides, "--amount", "11", "EUR")
    entry = "0198f1f3-0000-7000-8000-000000000001"
    linked = [
        {"key": key, "value_day": "2026-10-01", "action": "settle", "of": hold["id"], "entry": entry,
         "amount": {"amount": amount, "currency": "EUR"}}
        for key, amount in (("a", "1.00"), ("b", "100.00"))
    ]  # fmt: skip
    refused = told(home, "ledger", "record", "-", given=json.dumps({"transfers": linked}), status=1)
    broken = bursar(home, "ledger", "record", "-", given='{"transfers": [{"key": 1}]}')
    told(home, "ledger", "rate", "EUR", "USD", "2026-10-01", "1.10", "--source", "ECB")
    cash = told(home, "ledger", "account", "asset:cash")

    assert "already used" in again.stderr
    assert [one["id"] for one in refused] == [None, None]
    assert (broken.returncode, "Traceback" in broken.stderr) == (1, False)
    assert (cash["debits_posted"]["amount"], cash["debits_pending"]["amount"]) == ("4.50", "5.50")
    assert told(home, "ledger", "prove") == []
    assert [one["kind"] for one in told(home, "ledger", "transfers", "--account", "asset:cash")] == ["settle", "hold"]
    assert told(home, "books", "worth", "USD", "--on", "2026-10-01")["worth"]["asset:cash"]["amount"] == "4.95"
    assert told(home, "books", "trial", "--known-at", "2020-01-01T00:00:00+00:00") == []


def test_the_books_are_reported_exported_and_closed(home: Path) -> None:
    days = ("--since", "2026-10-01", "--until", "2026-10-31")
    flows = told(home, "books", "flow", *days)
    groups = told(home, "books", "groups", *days)
    sheet = told(home, "books", "sheet", "--on", "2026-10-31")
    for form in ("beancount", "csv", "parquet"):
        assert bursar(home, "books", "export", str(home / f"books.{form}")).returncode == 0
    closed = bursar(home, "books", "close", "2026-10-31")
    [taxi] = told(home, "transactions", "taxi")
    locked = bursar(home, "transaction", "annotate", taxi["id"], "--note", "x")
    early = bursar(
        home, "ledger", "transfer", "late", "--debit", "asset:x", "--credit", "asset:y", "--amount", "1", "EUR"
    )
    opened = bursar(home, "books", "close", "2026-09-30", "--reopen")

    assert sum(float(one["inflow"]["amount"]) - float(one["outflow"]["amount"]) for one in flows) == pytest.approx(
        840.01
    )
    assert {one["name"] for one in groups if one["key"]} >= {"CITY TAXI", "ACME INC"}
    assert {one["code"]: one["balance"] for one in sheet}["asset:bank:42:USD"] == "840.01"
    assert len(pl.read_parquet(home / "books.parquet")) == len(pl.read_csv(home / "books.csv"))
    assert " open Assets:Bank:42:USD USD" in (home / "books.beancount").read_text(encoding="utf-8")
    assert (closed.returncode, opened.returncode) == (0, 0)
    assert "closed up to 2026-11-01" in locked.stderr
    assert "no account asset:x" in early.stderr


def test_parties_rules_and_budgets_are_kept(home: Path) -> None:
    one, other = (told(home, "parties", "resolve", name)["party"] for name in ("Alpha Works", "Beta Yard"))
    change = told(home, "parties", "merge", one, other)["change"]
    merged = told(home, "parties", "resolve", "beta yard")["party"]
    told(home, "parties", "undo", change)
    told(home, "parties", "rename", other, "Beta")
    rule = told(home, "rules", "set", "Travel", "--words", "Taxi", "--way", "out", "--least", "10", "--automatic")
    told(home, "rules", "set", "Trips", "--words", "Taxi", "--id", rule["id"])
    listed = told(home, "rules", "list")
    told(home, "rules", "retire", rule["id"])
    policy = told(home, "rules", "policy", "--error-max", "0.01")
    budget = told(home, "budgets", "set", "All", "100", "USD", "--source", "bank", "--start", "2026-10-01")
    status = told(home, "budgets", "status", "--day", "2026-10-15", status=3)

    assert merged == one
    assert told(home, "parties", "show", other)["name"] == "Beta"
    assert [(row["category"], row["version"], row["when"]) for row in listed] == [("Trips", 2, {"words": ["taxi"]})]
    assert policy["error_max"] == 0.01
    assert status[0]["actual"]["amount"] == "159.99"
    assert told(home, "budgets", "alerts", budget["id"]) == []
    told(home, "budgets", "remove", budget["id"])
    assert told(home, "budgets", "list") == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("books close 9999-12-31", "lies outside"),
        ("books trial --on 2026-02-30", "is no day"),
        ("books trial --known-at 2026-02-03T00:00:00", "no time zone"),
        ("books export x.exe", "ends in"),
        ("ledger transfer k --amount 1.005 EUR", "more places"),
        ("ledger rate EUR USD 2026-01-01 NaN --source x", "NaN"),
        ("parties merge 1 2", "UUID"),
        ("parties resolve x --id iban", "has no ="),
        ("transactions --to x.exe", "ends in"),
        ("transactions --least x", "'x'"),
    ],
)
def test_a_slip_is_said_in_words_before_anything_is_opened(args: str, said: str) -> None:
    with pytest.raises((click.UsageError, Refusal)) as raised:
        cli.main(args.split(), standalone_mode=False)

    assert said in (raised.value.format_message() if isinstance(raised.value, click.UsageError) else str(raised.value))
