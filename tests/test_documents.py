"""Documents that are made from code stay current; every kind of finding and metric is documented."""

from pathlib import Path

from bursar import settings, wiring
from bursar.cli import reference

ROOT = Path(__file__).resolve().parents[1]


def test_settings_reference_is_current() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings.reference(), (
        "run `bursar config reference --write docs/settings.md`"
    )


def test_command_line_reference_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8") == reference.reference(), (
        "run `bursar config cli --write docs/reference/cli.md`"
    )


def test_every_kind_of_finding_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "findings.md").read_text(encoding="utf-8")

    missing = [kind for kind in wiring.FINDING_KINDS if f"`{kind}`" not in text]

    assert not missing


def test_readme_opens_with_its_purpose_and_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert "make run" in text[:1500]
    assert "make test" in text[:1500]
