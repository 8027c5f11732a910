"""The command line as people meet it: help, typing slips, statuses, JSON, no stack traces."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bursar.cli.main import COMMANDS

FOCUS = (
    "BilledCost,EffectiveCost,BillingAccountId,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargeCategory,"
    "ChargePeriodStart,ChargePeriodEnd,ProviderName,ServiceName\n"
    "1.25,1.25,a,EUR,2026-10-01T00:00:00Z,2026-11-01T00:00:00Z,Usage,2026-10-05T00:00:00Z,2026-10-06T00:00:00Z,AWS,EC2\n"
)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-cli-"))
    folder.chmod(0o755)
    (folder / "bill.csv").write_text(FOCUS, encoding="utf-8")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def bursar(home: Path, *args: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    return subprocess.run(
        [sys.executable, "-m", "bursar.cli", *args],
        env=clean | settings | {"BURSAR_HOME": str(home / "home")},
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_command(home: Path) -> None:
    done = bursar(home, "--help")

    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_a_command_loads_no_web_framework_and_no_engine_before_it_needs_one() -> None:
    """What every command imports decides how soon it answers."""
    heavy = ("fastapi", "starlette", "duckdb", "sklearn", "lightgbm")
    code = f"import sys, bursar.wiring; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(home: Path, name: str) -> None:
    done = bursar(home, name, "--help")

    assert done.returncode == 0, done.stderr
    assert "Usage: bursar" in done.stdout


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("reviw",), 2, "review"),
        (("review",), 2, "PATH..."),
        (("review", "/does/not/exist"), 2, "does not exist"),
        (("explain", "X9"), 1, "F12"),
        (("explain", "F999"), 1, "F999"),
        (("revert", "none"), 1, "none"),
        (("findings", "--org", "nobody"), 1, "nobody"),
        (("undo",), 1, "nothing to undo"),
        (("backup",), 1, "BURSAR_BACKUP_TARGET"),
        (("key", "revoke", "none"), 1, "none"),
        (("bank", "connect", "belvo", "--name", "x"), 1, "BURSAR_BANK_FEEDS"),
        (("bank", "remove", "01a1f89e-71aa-77d5-bdfb-ea2a8cd2ee0b"), 1, "connection"),
    ],
)
def test_what_is_wrong_is_said_in_words(home: Path, args: tuple[str, ...], status: int, said: str) -> None:
    done = bursar(home, *args)

    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert said in done.stderr


@pytest.mark.parametrize("args", [("forecast", "--all"), ("up", "--port", "0"), ("work",)])
def test_a_forecaster_that_is_not_known_is_refused_at_start(home: Path, args: tuple[str, ...]) -> None:
    done = bursar(home, *args, BURSAR_FORECASTERS="oracle")

    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "'oracle' is not known" in done.stderr
    assert "Choose from prophet, lstm" in done.stderr


def test_doctor_tells_of_forecasters(home: Path) -> None:
    told = bursar(home, "doctor", BURSAR_FORECASTERS="oracle").stdout
    none = bursar(home, "doctor").stdout

    assert "XX  forecasters" in told
    assert "-   forecasters            the house's own" in none


def test_a_bank_service_is_connected_and_its_secrets_are_not_shown(home: Path) -> None:
    made = bursar(
        home, "bank", "connect", "belvo", "--name", "Our banks", "--environment", "sandbox", "--json",
        given="my-id\nmy-password\n", BURSAR_BANK_FEEDS="belvo",
    )  # fmt: skip
    listed = bursar(home, "bank", "links", "--json")
    gone = bursar(home, "bank", "remove", json.loads(made.stdout)["id"])

    assert json.loads(made.stdout)["webhook_path"].startswith("/v1/hooks/bank/")
    assert [(one["provider"], one["name"], one["links"]) for one in json.loads(listed.stdout)] == [
        ("belvo", "Our banks", [])
    ]
    assert "my-" not in made.stdout + made.stderr + listed.stdout
    assert "is forgotten" in gone.stdout
    assert json.loads(bursar(home, "bank", "links", "--json").stdout) == []


def test_a_review_goes_from_file_to_revert(home: Path) -> None:
    first = bursar(home, "review", "--json", str(home / "bill.csv"))
    batch = json.loads(first.stdout)["batches"][0]
    listed = json.loads(bursar(home, "batches", "--json").stdout)
    gone = bursar(home, "revert", "--json", batch["id"])

    assert batch["totals"] == [{"amount": "1.25", "currency": "EUR"}]
    assert [one["id"] for one in listed] == [batch["id"]]
    assert json.loads(gone.stdout)["state"] == "reverted"


def test_fail_over_crosses_its_threshold_only_when_there_is_more(home: Path) -> None:
    done = bursar(home, "review", "--fail-over", "1000000", str(home / "bill.csv"))
    wrong = bursar(home, "review", "--fail-over", "1E+9999999", str(home / "bill.csv"))

    assert done.returncode == 0
    assert wrong.returncode == 2


def test_doctor_says_that_all_is_well(home: Path) -> None:
    done = bursar(home, "doctor", "--json")
    checks = {check["check"]: check["ok"] for check in json.loads(done.stdout)}

    assert done.returncode == 0
    assert [checks[name] for name in ("database", "clock", "jobs", "mails", "tenancy")] == [True] * 5
    assert checks["mail"] is None


def test_doctor_names_the_setting_behind_a_fault(home: Path) -> None:
    done = bursar(home, "doctor", BURSAR_SMTP_URL="smtp://127.0.0.1:1")
    [mail] = [line for line in done.stdout.splitlines() if " mail " in line]

    assert done.returncode == 1
    assert mail.startswith("XX")
    assert mail.endswith("check BURSAR_SMTP_URL")


def test_an_unknown_setting_stops_everything_with_its_name(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bursar.cli", "doctor"],
        env=dict(os.environ) | {"BURSAR_HOME": str(home / "home"), "BURSAR_PROT": "1"},  # noqa: TID251
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "BURSAR_PROT is not a setting" in done.stderr


def test_a_backup_brings_everything_back(home: Path) -> None:
    bursar(home, "review", str(home / "bill.csv"))
    made = bursar(home, "backup", "--to", str(home / "backups"), "--json")
    proved = bursar(home, "backup", "verify", "--to", str(home / "backups"), "--json")
    shutil.rmtree(home / "home")
    back = bursar(home, "restore", "--from", str(home / "backups"), "--json")
    listed = json.loads(bursar(home, "batches", "--json").stdout)

    assert made.returncode == 0, made.stderr
    assert json.loads(proved.stdout)["ok"] is True
    assert json.loads(back.stdout)["ok"] is True
    assert any(one["file"] == "bill.csv" and one["state"] == "imported" for one in listed)


def test_the_audit_trail_is_proved(home: Path) -> None:
    done = bursar(home, "audit", "verify", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["broken"] is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_asked_to_stop_closes_everything_and_says_nothing(home: Path, how: signal.Signals) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}  # noqa: TID251
    with subprocess.Popen(
        [sys.executable, "-m", "bursar.cli", "up", "--port", "0"],
        env=clean | {"BURSAR_HOME": str(home / "home")},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        assert any("Bursar is at http://127.0.0.1:" in line for line in iter(server.stderr.readline, ""))
        server.send_signal(how)
        rest = server.stderr.read()

    assert server.returncode == 0
    assert "Interrupted" not in rest
    assert "Traceback" not in rest
    assert not (home / "home" / "postgres" / "data" / "postmaster.pid").exists()


def test_commitments_are_refused_with_the_reason_where_nothing_can_be_planned(home: Path) -> None:
    done = bursar(home, "cloud", "commitments", "--discount", "0.3")

    assert done.returncode == 1
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr


def test_costs_are_asked_by_rules_that_are_kept(home: Path) -> None:
    bursar(home, "import", str(home / "bill.csv"))
    (home / "rules.json").write_text('{"tags": [{"key": "team", "value": "web"}]}', encoding="utf-8")
    (home / "broken.json").write_text("{", encoding="utf-8")
    (home / "orders.csv").write_text("measure,day,quantity\norders,2026-10-05,5\n", encoding="utf-8")

    kept = bursar(home, "cloud", "rules", "--set", str(home / "rules.json"))
    broken = bursar(home, "cloud", "rules", "--set", str(home / "broken.json"))
    bursar(home, "import", str(home / "orders.csv"))
    asked = ("--from", "2026-10-01", "--to", "2026-11-01", "--by", "tag:team", "--inherit", "--per", "orders")
    done = bursar(home, "costs", *asked, "--json")

    assert kept.stdout.strip() == 'a missing tag team is "web"'
    assert (broken.returncode, "is no JSON" in broken.stderr) == (1, True)
    [group] = json.loads(done.stdout)
    assert group["values"] == ["web"]
    assert group["per_unit"]["amount"].startswith("0.25")
    assert group["cost"]["trace"].startswith("tr_")
    assert done.stderr.count("by rule:") == 2


def test_prices_are_packed_loaded_elsewhere_and_compared(home: Path) -> None:
    pack, closed = home / "prices.pack", home / "closed"
    closed.mkdir()

    packed = bursar(home, "prices", "pack", str(pack), "--json")
    loaded = bursar(closed, "prices", "load", str(pack), "--json")
    compared = bursar(closed, "prices", "compare", "--vcpu", "4", "--memory", "16", "--provider", "gcp", "--json")
    fresh = bursar(closed, "prices", "providers", "--json")
    broken = bursar(closed, "prices", "load", str(home / "bill.csv"))
    unasked = bursar(closed, "prices", "refresh")

    assert json.loads(packed.stdout) == json.loads(loaded.stdout)
    machines = json.loads(compared.stdout)
    assert machines
    assert all(one["provider"] == "gcp" and one["vcpu"] >= 4 and one["memory_gib"] >= 16 for one in machines)
    amounts = [float(one["price"]["amount"]) for one in machines]
    assert amounts == sorted(amounts)
    assert {one["name"]: one["fallback"] for one in json.loads(fresh.stdout)}["aws"]
    assert (broken.returncode, "no price pack" in broken.stderr) == (1, True)
    assert "BURSAR_PRICE_REGIONS" in unasked.stderr


def test_bank_lines_are_booked_reported_tied_and_closed(home: Path) -> None:
    path = home / "bank.ofx"
    rows = "".join(
        f"<STMTTRN><TRNTYPE>OTHER<DTPOSTED>2026100{n}<TRNAMT>{amount}<FITID>{n}<NAME>SHOP</STMTTRN>"
        for n, amount in ((1, "-4.50"), (2, "100.00"))
    )
    path.write_text(
        "OFXHEADER:100\nDATA:OFXSGML\nVERSION:102\nENCODING:USASCII\nCHARSET:1252\n\n<OFX><BANKMSGSRSV1><STMTTRNRS><STMTRS>"
        "<CURDEF>EUR<BANKACCTFROM><BANKID>1<ACCTID>77<ACCTTYPE>CHECKING</BANKACCTFROM><BANKTRANLIST><DTSTART>20261001"
        f"<DTEND>20261031{rows}</BANKTRANLIST><LEDGERBAL><BALAMT>500.00<DTASOF>20261002</LEDGERBAL></STMTRS></STMTTRNRS>"
        "</BANKMSGSRSV1></OFX>",
        encoding="cp1252",
    )
    assert bursar(home, "import", str(path)).returncode == 0

    posted = json.loads(bursar(home, "books", "post", "--json").stdout)
    trial = json.loads(bursar(home, "books", "trial", "--json").stdout)
    income = bursar(home, "books", "income", "--since", "2026-01-01", "--until", "2026-12-31").stdout
    ties = bursar(home, "books", "ties")
    closed = bursar(home, "books", "close", "2026-10-31")
    again = bursar(home, "books", "close", "2026-10-31")
    less = bursar(home, "books", "close", "2026-09-30")
    opened = bursar(home, "books", "close", "2026-09-30", "--reopen")

    assert (posted["booked"], posted["refused"]) == (2, [])
    assert {line["code"]: line["balance"] for line in trial} == {
        "asset:bank:77:EUR": "500.00", "equity:opening-balances:EUR": "404.50", "expense:uncategorised:EUR": "4.50",
        "income:uncategorised:EUR": "100.00",
    }  # fmt: skip
    assert "95.50 EUR" in income
    assert (ties.returncode, "ties" in ties.stdout) == (0, True)
    assert "2 lines in it nobody decided on" in closed.stdout
    assert again.stdout == closed.stdout
    assert less.returncode != 0
    assert "Closed through 2026-09-30." in opened.stdout
