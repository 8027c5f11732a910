"""Panels: what they hold, how they lie on one calendar, what they refuse."""

import numpy as np
import pytest

from bursar.kernel import series
from bursar.kernel.errors import Invalid, TooLarge
from bursar.kernel.period import Grain
from bursar.kernel.series import Panel, calendar, steps_between

MONDAY = np.datetime64("2024-01-01T00", "h")


def ragged(grain: Grain = Grain.DAY) -> Panel:
    return Panel.of(
        ["a", "b"],
        [MONDAY, calendar(MONDAY, grain, 3)[2]],
        [np.arange(5.0), np.array([7.0, np.nan])],
        grain=grain,
        currency="EUR",
    )


@pytest.mark.parametrize(
    ("grain", "second"),
    [
        (Grain.HOUR, "2024-01-01T01"),
        (Grain.DAY, "2024-01-02T00"),
        (Grain.WEEK, "2024-01-08T00"),
        (Grain.MONTH, "2024-02-01T00"),
    ],
)
def test_a_calendar_steps_by_its_grain(grain: Grain, second: str) -> None:
    times = calendar(MONDAY, grain, 3)

    assert times[1] == np.datetime64(second)
    assert steps_between(times[:1], times[2:], grain).tolist() == [2]
    assert steps_between(times[2:], times[:1], grain).tolist() == [-2]


@pytest.mark.parametrize("grain", list(Grain))
def test_a_ragged_panel_lies_on_one_calendar(grain: Grain) -> None:
    panel = ragged(grain)

    values, times = panel.matrix(length_max=100)

    assert len(panel) == 2
    assert panel.lengths.tolist() == [5, 2]
    np.testing.assert_array_equal(times, panel.times(0))
    assert panel.ends[0] == calendar(times[-1], grain, 2)[1]
    np.testing.assert_array_equal(values, [[0, 1, 2, 3, 4], [np.nan, np.nan, 7, np.nan, np.nan]])
    np.testing.assert_array_equal(panel.series(1), [7, np.nan])


def test_only_the_last_periods_are_kept() -> None:
    values, times = ragged().matrix(length_max=2)

    np.testing.assert_array_equal(values, [[3, 4], [np.nan, np.nan]])
    assert times[0] == MONDAY + np.timedelta64(72, "h")


def test_what_no_series_can_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(keys: list[str], *values: list[float]) -> Panel:
        return Panel.of(keys, [MONDAY] * len(keys), [np.array(one) for one in values], grain=Grain.DAY, currency="EUR")

    with pytest.raises(Invalid, match="a comes twice"):
        build(["a", "a"], [1.0], [2.0])
    with pytest.raises(Invalid, match="b has no values"):
        build(["a", "b"], [1.0], [])
    with pytest.raises(Invalid, match="b is infinite at position 1"):
        build(["a", "b"], [1.0], [1.0, np.inf])
    with pytest.raises(Invalid, match="do not belong together"):
        build(["a"], [1.0], [2.0])
    monkeypatch.setattr(series, "POINTS_MAX", 2)
    with pytest.raises(TooLarge, match="values"):
        build(["a"], [1.0, 2.0, 3.0])
    monkeypatch.setattr(series, "SERIES_MAX", 1)
    with pytest.raises(TooLarge, match="series"):
        build(["a", "b"], [1.0], [2.0])
