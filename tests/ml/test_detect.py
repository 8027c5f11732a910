"""The anomaly facade: what was planted is found, what is normal is left alone."""

from datetime import date

import numpy as np
import pytest

from bursar.kernel.errors import Invalid
from bursar.kernel.period import Grain
from bursar.kernel.series import Floats, Panel
from bursar.ml.anomaly.alerts import AlertKind, Rules
from bursar.ml.anomaly.cause import begins_then, explain, spread_exactly, usual_until
from bursar.ml.anomaly.detect import detect
from bursar.ml.anomaly.residuals import lagged_median, median_of
from bursar.ml.calendar import Calendar
from tests.ml.data import START, panel, weekly

QUIET = 20
SCAN = 30


def quiet() -> Floats:
    return weekly(QUIET, 300, seed=11, noise=3.0)


@pytest.mark.parametrize("sort", ["normal", "heavy", "sticky"])
def test_noise_stays_within_the_budget(sort: str) -> None:
    """Exchangeable noise, noise with heavy tails, and noise that remembers half of the day before."""
    alerts, budget = 0, 4 * Rules().rate * 200 * 60
    for seed in range(4):
        rng = np.random.default_rng(seed)
        noise = rng.standard_t(3, (200, 620)) if sort == "heavy" else rng.normal(0, 1, (200, 620))
        if sort == "sticky":
            for day in range(1, 620):
                noise[:, day] += 0.5 * noise[:, day - 1]
        values = weekly(200, 620, seed=seed, noise=0.0) + 15 * noise

        alerts += len(detect(panel(values), periods=60).alerts)

    assert alerts <= budget + 2 * budget**0.5  # one budget for all kinds; counts scatter as of a Poisson process


def test_what_real_data_does_too_often_is_told_less() -> None:
    """Levels that wander make long averages look rare that are not; earlier scans show it."""
    rng = np.random.default_rng(3)
    wander = np.cumsum(rng.normal(0, 1.2, (150, 700)), axis=1)
    values = 200 + wander + rng.normal(0, 3, (150, 700))

    everything = Rules(percent_least=0.0)
    told = len(detect(panel(values), periods=60, rules=everything).alerts)
    unheld = len(detect(panel(values[:, -300:]), periods=60, rules=everything).alerts)  # too short for earlier scans

    assert told < 0.6 * unheld
    assert told <= 4 * Rules().rate * 150 * 60


def test_what_all_series_did_together_hides_no_change_of_one() -> None:
    """Two seasons in which everything cost up to half more, as before holidays, and eight series that rise on their own."""
    values = weekly(40, 500, seed=5, noise=4.0)
    values[:, 270:284] *= 1.4
    values[:, 395:405] *= 1.5
    untouched = len(detect(panel(values), periods=60).alerts)
    for row in range(8):
        values[row, -30 + row :] *= 1.4

    found = {one.row for one in detect(panel(values), periods=60).alerts}

    assert untouched <= 1
    assert found == set(range(8))


def test_a_movement_of_all_series_larger_than_any_before_is_told() -> None:
    values = weekly(40, 500, seed=5, noise=4.0)
    values[:, -20:] *= 1.5

    assert len({one.row for one in detect(panel(values), periods=60).alerts}) > 35


def test_a_new_key_is_told_once_and_then_judged_by_its_own_history() -> None:
    values = weekly(QUIET, 300, seed=11, noise=3.0)
    values[0] *= np.random.default_rng(2).lognormal(0, 1.5, 300)
    values[0, :245] = 0

    told = [one.kind for one in detect(panel(values), periods=60).alerts if one.row == 0]

    assert told == [AlertKind.NEW]


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 12, 13, 40])
def test_medians_equal_their_plain_definition(rows: int) -> None:
    rng = np.random.default_rng(rows)
    stack = np.where(rng.random((rows, 7, 30)) < 0.3, np.nan, rng.normal(size=(rows, 7, 30)))

    known = [[stack[~np.isnan(stack[:, at, to]), at, to] for to in range(30)] for at in range(7)]
    plain = [[np.median(one) if len(one) > 1 else np.nan for one in line] for line in known]

    np.testing.assert_array_equal(median_of(stack), plain)


def test_a_median_of_earlier_seasons_does_not_depend_on_its_neighbours() -> None:
    values = weekly(150, 120, seed=3)
    values[::3, ::5] = np.nan

    one_by_one = [lagged_median(row[None], 7, 2, 40)[0] for row in values]

    np.testing.assert_array_equal(lagged_median(values, 7, 2, 40), one_by_one)


def test_a_spike_is_found_with_its_size() -> None:
    values = quiet()
    values[3, -10] += 100

    (alert,) = [one for one in detect(panel(values), periods=SCAN).alerts if one.row == 3]

    assert alert.kind is AlertKind.SPIKE
    assert alert.at == START + np.timedelta64(24 * 290, "h")
    assert abs(alert.impact - 100) < 15
    assert alert.lower < alert.expected < alert.upper < alert.actual
    assert alert.p <= Rules().rate


def test_what_went_wrong_on_one_series_hides_nothing_on_a_calm_one() -> None:
    values = weekly(QUIET, 500, seed=11, noise=3.0)
    values[0, [300, 333, 377]] += 2_000
    values[1, 350:380] += 900
    values[3, -10] += 200

    told = {one.row for one in detect(panel(values), periods=SCAN).alerts}

    assert 3 in told


def test_a_level_shift_is_found_once() -> None:
    values = quiet()
    values[5, -18:] += 35

    (alert,) = [one for one in detect(panel(values), periods=SCAN).alerts if one.row == 5]

    assert alert.kind in {AlertKind.SHIFT, AlertKind.DRIFT}
    assert abs((alert.onset - (START + np.timedelta64(24 * 282, "h"))) / np.timedelta64(24, "h")) <= 7


def test_a_slow_drift_is_found() -> None:
    values = weekly(QUIET, 300, seed=11, noise=1.5)
    values[2, -45:] += np.linspace(0, 45, 45)

    alerts = [one for one in detect(panel(values), periods=45).alerts if one.row == 2]

    assert alerts
    assert alerts[0].kind in {AlertKind.SHIFT, AlertKind.DRIFT}


def test_new_and_vanished_keys_are_found() -> None:
    values = quiet()
    values[0, :-12] = 0
    values[1, :-12] = np.nan
    values[2, -20:] = 0
    values[4, -20:] = 0

    found = {(one.row, one.kind) for one in detect(panel(values), periods=SCAN).alerts}

    assert {(0, AlertKind.NEW), (1, AlertKind.NEW)} <= found
    assert {2, 4} <= {row for row, kind in found if kind in {AlertKind.VANISHED, AlertKind.SHIFT, AlertKind.DRIFT}}


def test_a_monthly_fee_is_known_and_no_alert() -> None:
    values = quiet()
    days = (START + np.arange(300) * np.timedelta64(24, "h")).astype("datetime64[D]")
    first = days == days.astype("datetime64[M]").astype("datetime64[D]")
    values[:, first] += 200

    found = detect(panel(values), periods=SCAN)

    assert not [one for one in found.alerts if one.kind is AlertKind.SPIKE]


@pytest.mark.parametrize("months", [3, 12])
def test_a_fee_of_every_quarter_or_year_is_known_and_no_alert(months: int) -> None:
    """Charged on a date, whatever its weekday, and a day late once; twice the fee is told, with the fee expected."""
    values = weekly(QUIET, 800, seed=2, noise=2.0)
    for due in np.datetime64("2023-02-14", "M") + np.arange(0, 26, months):
        day = due.astype("datetime64[D]") + 13 + (due.astype(int) % 2)
        values[:2, int((day - START.astype("datetime64[D]")).astype(int))] += 300
    last = int((np.datetime64("2025-02-14") - START.astype("datetime64[D]")).astype(int))
    values[1, last - 1 : last + 3] += 300

    found = [one for one in detect(panel(values), periods=60).alerts if one.kind is AlertKind.SPIKE]

    assert {one.row for one in found} == {1}
    assert max(one.expected for one in found) > 350


@pytest.mark.parametrize(("grain", "count"), [(Grain.WEEK, 150), (Grain.MONTH, 60)])
def test_a_change_of_weeks_or_months_is_found_in_a_few_years(grain: Grain, count: int) -> None:
    values = 100 + np.random.default_rng(0).normal(0, 4, (QUIET, count))
    values[2, -4:] += 60
    start = np.datetime64("2018-01-01T00", "h")
    some = Panel.of([f"s{at}" for at in range(QUIET)], [start] * QUIET, list(values), grain=grain, currency="EUR")

    assert {one.row for one in detect(some, periods=12).alerts} == {2}


def test_a_holiday_like_a_sunday_is_no_alert() -> None:
    values = quiet()
    christmas = int((np.datetime64("2023-10-03") - START.astype("datetime64[D]")).astype(int))
    values[:, christmas] = values[:, christmas + 5]

    found = detect(panel(values[:, : christmas + 3]), periods=SCAN, calendar=Calendar("DE"))

    assert not [one for one in found.alerts if one.kind is AlertKind.SPIKE]
    assert date(2023, 10, 3).weekday() == 1


def test_gaps_and_a_partial_last_period_are_no_drop() -> None:
    values = quiet()
    values[:, -1] = np.nan
    values[0, -9:-6] = np.nan

    assert len(detect(panel(values), periods=SCAN).alerts) <= 1


def test_floors_and_ignored_periods_silence() -> None:
    values = quiet()
    values[3, -10] += 100
    ignore = np.zeros((QUIET, SCAN), dtype=bool)
    ignore[3, -10] = True

    assert 3 not in {one.row for one in detect(panel(values), periods=SCAN, rules=Rules(money_least=500)).alerts}
    assert 3 not in {one.row for one in detect(panel(values), periods=SCAN, rules=Rules(percent_least=5)).alerts}
    assert 3 not in {one.row for one in detect(panel(values), periods=SCAN, ignore=ignore).alerts}


def test_cancelling_changes_are_paired() -> None:
    values = quiet()
    values[6, -14:] += 50
    values[7, -14:] -= 50

    alerts = detect(panel(values), periods=SCAN, parents=np.zeros(QUIET, dtype=np.int64)).alerts
    pairs = {(one.row, one.partner) for one in alerts if one.kind is AlertKind.CANCELLING}

    assert pairs == {(6, 7)}


def test_a_change_pairs_with_the_one_that_began_with_it_and_cancels_it_best() -> None:
    """Beside the true pair one series rose a week before by nearly as much, one grows, and one vanishes."""
    values = weekly(QUIET, 400, seed=11, noise=3.0)
    values[6, -14:] -= 50
    values[7, -14:] += 50
    values[5, -21:] += 45
    values[4, -60:] += np.linspace(0, 110, 60)
    values[3, -40:] = 0

    alerts = detect(panel(values), periods=60, parents=np.zeros(QUIET, dtype=np.int64)).alerts

    assert {(one.row, one.partner) for one in alerts if one.partner >= 0} == {(6, 7)}
    assert (3, AlertKind.VANISHED) in {(one.row, one.kind) for one in alerts}
    assert {4, 5} <= {one.row for one in alerts}


def test_later_data_changes_no_earlier_p() -> None:
    values = quiet()
    other = values.copy()
    other[:, -5:] += 500

    early = detect(panel(values), periods=20).p[:, :15]
    late = detect(panel(other), periods=20).p[:, :15]

    np.testing.assert_array_equal(early, late)


@pytest.mark.parametrize("values", [np.zeros((3, 200)), np.full((3, 200), 4.0), np.ones((1, 1)), -weekly(3, 200)])
def test_plain_input_gives_no_alert(values: Floats) -> None:
    assert len(detect(panel(values), periods=10).alerts) <= 1


def test_a_scan_of_everything_knows_nothing_and_tells_nothing() -> None:
    assert detect(panel(weekly(QUIET, 400)), periods=10_000).alerts == ()


def test_a_jump_of_a_constant_series_is_found() -> None:
    values = np.full((10, 200), 50.0)
    values[4, -3] = 80.0

    alerts = detect(panel(values), periods=10).alerts

    assert [one.row for one in alerts] == [4]


def test_bad_input_is_refused() -> None:
    with pytest.raises(Invalid):
        detect(panel(np.empty((0, 3))), periods=3)
    with pytest.raises(Invalid):
        detect(panel(quiet()), periods=0)
    with pytest.raises(Invalid, match="ignore"):
        detect(panel(quiet()), periods=3, ignore=np.zeros((1, 3), dtype=bool))


def test_causes_sum_to_the_change_exactly() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        actual, expected = rng.integers(-(10**9), 10**9, (2, 7))
        parent = int(expected.sum() + rng.integers(-(10**6), 10**6))

        causes = explain(actual, expected, parent)

        assert sum(cause.amount for cause in causes) == int(actual.sum()) - parent
        assert sorted(cause.child for cause in causes) == list(range(7))
    assert sum(spread_exactly(-101, np.array([0, 0, 0]))) == -101


def test_the_cause_is_the_child_that_changed() -> None:
    expected = np.array([1000, 5000, 300, 20])
    actual = expected + np.array([10, -15, 2500, 0])

    assert explain(actual, expected, int(expected.sum()))[0].child == 2
    with pytest.raises(Invalid):
        explain(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 0)


def test_a_cause_is_measured_from_what_was_usual_just_before() -> None:
    """A child that rose three weeks ago is not the cause of today's change; one that is noisy every week is not either."""
    values = weekly(4, 300, seed=2, noise=1.0)
    values[0, 270:] += 80.0
    values[1, 291:] += 25.0
    values[2] += 20.0 * np.random.default_rng(1).normal(size=300)

    usual, off = usual_until(values, 291, 298, 7)

    apart = values[:, 291:298].sum(axis=1) - usual
    assert np.argmax(np.abs(apart) - 2 * off) == 1
    assert abs(apart[1] - 7 * 25) < 25
    assert abs(apart[0]) < 25
    assert off[2] > 3 * off[3]


@pytest.mark.parametrize("length", [1, 3, 9])
def test_a_cause_needs_no_history_to_be_measured(length: int) -> None:
    usual, off = usual_until(np.full((2, length + 2), 5.0), length, length + 2, 7)

    assert usual.tolist() == [10.0, 10.0]
    assert off.tolist() == [0.0, 0.0]


def test_a_child_that_changed_at_another_time_is_not_the_cause() -> None:
    """A larger step a week later, and growth that began a month before, explain less than what began on the day."""
    values = weekly(10, 300, seed=4, noise=2.0)
    values[0, 260:] += 30.0
    values[1, 268:] += 60.0
    values[2, 236:] += 1.2 * np.arange(64)
    usual, off = usual_until(values, 260, 288, 7)

    timing = begins_then(values, 260, 288, 7)
    cents, actual = (
        np.rint(100 * usual).astype(np.int64),
        np.rint(100 * values[:, 260:288].sum(axis=1)).astype(np.int64),
    )

    first = explain(actual, cents, int(cents.sum()), usual=100 * off, timing=timing)[0]
    assert explain(actual, cents, int(cents.sum()), usual=100 * off)[0].child == 1
    assert first.child == 0
    assert timing[0] > 0.5
    assert timing[1:3].max() < 0.01


def test_what_all_children_did_together_leaves_their_order_to_the_amounts() -> None:
    values = weekly(10, 300, seed=4, noise=2.0)
    values[:, 260:] *= 1.5

    assert begins_then(values, 260, 274, 7).min() > 0.5
    assert begins_then(values, 5, 19, 7).tolist() == [1.0] * 10


def test_doubt_silences_a_vanished_key() -> None:
    values = quiet()
    values[2, -20:] = 0
    doubt = np.ones(QUIET)
    doubt[2] = 100.0

    told = {one.row for one in detect(panel(values), periods=SCAN).alerts if one.kind is AlertKind.VANISHED}
    doubted = {
        one.row for one in detect(panel(values), periods=SCAN, doubt=doubt).alerts if one.kind is AlertKind.VANISHED
    }

    assert (2 in told, 2 in doubted) == (True, False)
