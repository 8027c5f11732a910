"""Working through the cards on the command line."""

import json
from pathlib import Path

from tests.cli.test_commands import bursar
from tests.parts.banking.statements import ofx

ROWS = [
    ("20261001", "-31.00", "GREEN TAXI"),
    ("20261014", "-29.00", "GREEN TAXI"),
    ("20261015", "-120.00", "OFFICE DEPOT"),
    ("20261016", "-20.00", "KIOSK"),
]


def test_cards_are_answered_on_keys_the_most_money_first(tmp_path: Path) -> None:
    bursar(tmp_path, "import", str(ofx(tmp_path / "a.ofx", ROWS)))

    first = bursar(tmp_path, "categorise", "--keys", "--json", given="Office\n7\n1\nq\n")
    left = json.loads(bursar(tmp_path, "categorise", "--json").stdout)["cards"]

    assert first.returncode == 0
    assert [first.stderr.index(name) for name in ("OFFICE DEPOT", "GREEN TAXI", "KIOSK")] == sorted(
        first.stderr.index(name) for name in ("OFFICE DEPOT", "GREEN TAXI", "KIOSK")
    )
    assert [card["label"] for card in left] == ["GREEN TAXI"]
    assert left == json.loads(first.stdout)["cards"]
