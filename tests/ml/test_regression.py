"""The ridge: holidays learned from the panel, spikes that bend nothing, effects that are named anew."""

from dataclasses import replace

import numpy as np

from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, calendar
from bursar.ml.calendar import Calendar, near_effects, nearest_holiday
from bursar.ml.forecast.history import History
from bursar.ml.forecast.regression import Ridge
from tests.ml.data import history, weekly

JULY = np.datetime64("2022-07-04", "h")
ENGLAND = Calendar("GB", "ENG")


def english(values: Floats, ahead: int) -> History:
    """Return a history from July 2022 with the effects of English holidays."""
    whole = calendar(JULY, Grain.DAY, values.shape[1] + ahead)
    return History(
        values, whole[: values.shape[1]], Grain.DAY, np.zeros((len(whole), 0)), *near_effects(whole, Grain.DAY, ENGLAND)
    )


def day(number: str) -> int:
    return int((np.datetime64(number, "D") - JULY.astype("datetime64[D]")).astype(int))


def test_a_holiday_that_moves_is_expected_at_its_new_date_by_its_name() -> None:
    length = day("2024-03-01")
    values = weekly(60, length, seed=4, noise=20)
    values[:, day("2023-04-07")] += 60

    out = Ridge().fit(english(values, 60)).predict(60)

    good_friday, none = day("2024-03-29") - length, day("2024-04-12") - length
    usual = (out[:, good_friday - 7] + out[:, good_friday + 7]) / 2
    assert (out[:, good_friday] - usual).mean() > 30
    assert abs((out[:, none] - out[:, none + 7]).mean()) < 10


def test_one_series_among_many_keeps_what_is_its_own() -> None:
    values = weekly(40, 400, seed=5)
    at = np.arange(400)
    values[0] = 100 + 30 * (at % 7 == 2)

    out = Ridge().fit(history(values)).predict(14)

    np.testing.assert_allclose(out[0], 100 + 30 * (np.arange(400, 414) % 7 == 2), atol=6)


def test_spikes_bend_nothing_and_are_spread_over_what_comes() -> None:
    """Sums are forecast from these series, so spikes raise the level by their share and leave the shape alone."""
    values = weekly(20, 400, seed=6)
    spiked = values.copy()
    spiked[3, 100:400:60] += 300

    moved = Ridge().fit(history(spiked)).predict(28)[3] - Ridge().fit(history(values)).predict(28)[3]

    assert np.ptp(moved) < 0.02 * values[3].mean()
    assert 3 < moved.mean() < 6  # 300 every 60 days


def test_effects_that_are_named_after_the_fit_change_nothing() -> None:
    known = english(weekly(5, 500), 60)
    model, again = Ridge().fit(known.until(480)), Ridge().fit(known.until(480))
    more = np.concatenate((np.ones((len(known.near), 1)), known.near[:, ::-1]), axis=1)
    renamed = replace(known, near=more, near_names=("+0 from Jubilee", *known.near_names[::-1]))

    np.testing.assert_allclose(model.advance(renamed).predict(30), again.advance(known).predict(30))


def test_the_nearest_of_two_holidays_counts() -> None:
    days = calendar(np.datetime64("2023-12-20", "h"), Grain.DAY, 24)

    near = nearest_holiday(*near_effects(days, Grain.DAY, ENGLAND))

    assert near[:8].tolist() == [-5, -4, -3, -2, -1, 0, 0, 1]  # 25 and 26 December
    assert near[10:14].tolist() == [-2, -1, 0, 1]  # 1 January
    assert near[20:].tolist() == [8] * 4


def test_weeks_and_months_have_no_days_near_holidays() -> None:
    near, names = near_effects(calendar(JULY, Grain.MONTH, 12), Grain.MONTH, ENGLAND)

    assert near.shape == (12, 0)
    assert names == ()
