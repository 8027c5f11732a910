"""What an answer says of its model."""

from datetime import date

import pytest

from bursar.kernel.model import ModelUsed
from bursar.kernel.period import Period

YEAR = Period(date(2025, 1, 1), date(2026, 1, 1))


@pytest.mark.parametrize(
    ("beats", "reasons", "fallback"),
    [(True, (), False), (False, (), True), (True, ("version 3: it was changed",), True)],
)
def test_a_fallback_is_named_as_one(beats: bool, reasons: tuple[str, ...], fallback: bool) -> None:
    used = ModelUsed("ets", 2, "seasonal_naive", beats, YEAR, reasons=reasons)

    assert used.is_fallback is fallback
