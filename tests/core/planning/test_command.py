"""`bursar forecast` as people meet it."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.cli.test_commands import bursar
from tests.core.planning.conftest import bill
from tests.parts.banking.statements import ofx


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bursar-forecast-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(300)
def test_forecast_makes_shows_and_repeats_nothing(home: Path) -> None:
    nothing = bursar(home, "forecast", "--all")
    bursar(home, "import", str(bill(home / "bill.csv", date(2026, 4, 1), date(2026, 9, 30))))
    early = bursar(home, "forecast", "--key", "aws")

    made = bursar(home, "forecast", "--all", "--grain", "day", "--horizon", "21", "--json")
    again = bursar(home, "forecast", "--all", "--grain", "day", "--horizon", "21")
    shown = bursar(home, "forecast", "--key", "aws")
    as_json = bursar(home, "forecast", "--key", "ec2", "--json")
    unknown = bursar(home, "forecast", "--key", "nobody")
    wrong = bursar(home, "forecast", "--key", "aws", "--horizon", "5")

    budget = bursar(home, "budgets", "set", "Cloud", "100", "USD", "--start", "2026-01-01", "--json")
    series = json.loads(as_json.stdout)[0]["series"]["id"]
    change = ("budgets", "what-if", json.loads(budget.stdout)["id"], "--series", series)
    moved = bursar(home, *change, "--price", "0.5", "--json")
    beyond = bursar(home, *change, "--volume", "lots")

    assert (nothing.returncode, "nothing to forecast" in nothing.stderr) == (0, True)
    assert "forecast --all" in early.stderr
    [panel] = json.loads(made.stdout)["panels"]
    assert (panel["new"], panel["series"], panel["horizon"], panel["origin"]) == (True, 11, 21, "2026-10-01")
    assert "known already" in again.stdout
    assert shown.stdout.startswith("aws  cost, by the day, USD")
    assert "80 %:" in shown.stdout
    [one] = json.loads(as_json.stdout)
    assert len(one["steps"]) == 21
    assert unknown.returncode == 1
    assert "There is no series nobody here" in unknown.stderr
    assert wrong.returncode == 2
    assert [one["when"] for one in json.loads(moved.stdout)] == ["now", "then"]
    assert (beyond.returncode, "Traceback" in beyond.stderr) == (1, False)


@pytest.mark.timeout(300)
def test_each_source_is_shown_on_its_own_calendar(home: Path) -> None:
    """Bank outflow is never forecast by the day, so nobody is told to make that."""
    days = [date(2026, 4, 1) + timedelta(days=at) for at in range(150)]
    bursar(home, "import", str(ofx(home / "a.ofx", [(f"{day:%Y%m%d}", "-31.00", f"SHOP {day}") for day in days])))
    bursar(home, "forecast", "--all")

    totals, by_day = bursar(home, "forecast"), bursar(home, "forecast", "--grain", "day")
    asked = bursar(home, "forecast", "--grain", "day", "--key", "category")

    assert ["(total)  bank, by the week" in shown.stdout for shown in (totals, by_day)] == [True, False]
    assert (totals.stderr, by_day.stderr) == ("", "")
    assert "--grain week" in asked.stderr


@pytest.mark.timeout(300)
def test_the_alert_policy_is_shown_and_stated_in_part(home: Path) -> None:
    usual = bursar(home, "anomalies", "policy", "--json")
    stated = bursar(home, "anomalies", "policy", "--false-alerts", "5", "--percent", "10", "--currency", "eur")
    wrong = [
        bursar(home, "anomalies", "policy", *words)
        for words in (["--false-alerts", "nan"], ["--money", "lots"], ["--currency", "euro"])
    ]
    kept = bursar(home, "anomalies", "policy", "--json")
    nobody = bursar(home, "anomalies", "judge", "F999", "noise")

    assert json.loads(usual.stdout) == {
        "false_alerts": 1.0,
        "money_floor": "20.00",
        "percent_floor": 0.2,
        "currency": None,
    }
    assert stated.stdout.split() == [
        "false_alerts",
        "5.0",
        "money_floor",
        "20.00",
        "percent_floor",
        "0.1",
        "currency",
        "EUR",
    ]
    assert [(one.returncode, "Traceback" in one.stderr) for one in wrong] == [(1, False)] * 3
    assert json.loads(kept.stdout) == {
        "false_alerts": 5.0,
        "money_floor": "20.00",
        "percent_floor": 0.1,
        "currency": "EUR",
    }
    assert (nobody.returncode, "F999" in nobody.stderr) == (1, True)
