"""Parts of a panel: what is kept serves again, parts add up to the whole, nothing depends on where they are computed."""

from datetime import date

import numpy as np
import pytest

from bursar.kernel.errors import Invalid
from bursar.kernel.series import Floats
from bursar.ml.calendar import Calendar
from bursar.ml.forecast import fleet
from bursar.ml.forecast.fleet import Task, chosen, cut, work
from bursar.ml.forecast.keeping import Kept, joined
from bursar.ml.forecast.panel import fit_panel
from tests.ml.data import HORIZON, panel, weekly

WHERE = Calendar("DE", events=(("renewal", (date(2023, 3, 1), date(2023, 9, 1))), ("launch", (date(2023, 8, 1),))))


@pytest.fixture(scope="module")
def values() -> Floats:
    return weekly(12, 300)


@pytest.fixture(scope="module")
def trained(values: Floats) -> bytes:
    return work(Task(panel(values[:, :280]), HORIZON, WHERE, 3).pack())


def test_a_task_comes_back_as_it_was_packed(values: Floats) -> None:
    task = Task(panel(values), HORIZON, WHERE, 3, b"kept", baseline=True)

    again = Task.unpack(task.pack())

    assert (again.horizon, again.calendar, again.seed, again.kept, again.baseline) == (14, WHERE, 3, b"kept", True)
    assert again.panel.keys == task.panel.keys
    np.testing.assert_array_equal(again.panel.values, task.panel.values)
    assert Task.unpack(Task(panel(values), 1, Calendar(), 0).pack()).calendar == Calendar()


def test_the_same_task_gives_the_same_bytes(values: Floats, trained: bytes) -> None:
    assert work(Task(panel(values[:, :280]), HORIZON, WHERE, 3).pack()) == trained


def test_what_was_trained_serves_at_once_as_it_forecast_then(values: Floats, trained: bytes) -> None:
    result, _ = fit_panel(panel(values[:, :280]), HORIZON, calendar=WHERE, seed=3)

    served = Kept.unpack(work(Task(panel(values[:, :280]), HORIZON, WHERE, 3, trained).pack())).result

    assert (served.weights == result.weights).all()
    np.testing.assert_allclose(served.mean, result.mean, rtol=0.02)
    np.testing.assert_allclose(served.upper95 - served.mean, result.upper95 - result.mean, rtol=1e-6)


def test_later_days_and_new_series_are_served_without_training(
    values: Floats, trained: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightgbm

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(lightgbm, "train", never)
    longer = weekly(12, 300 + HORIZON, noise=0.0)
    young = panel(np.concatenate((values, np.where(np.arange(300) < 290, np.nan, values[:1])), axis=0))

    served = Kept.unpack(work(Task(young, HORIZON, WHERE, 3, trained).pack())).result

    assert served.last == np.datetime64("2023-01-02T00", "h") + np.timedelta64(24 * 299, "h")
    assert np.abs(served.mean[:12] - longer[:, 300:]).mean() < 8
    assert served.cold.tolist() == [False] * 12 + [True]
    assert np.isfinite(served.mean).all()
    assert (served.upper80[12] > served.lower80[12]).all()


def test_parts_are_the_whole_in_its_order(values: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PART_SERIES", 5)
    whole = panel(values)

    parts = cut(whole)
    kept = [Kept.unpack(work(Task(chosen(whole, rows), HORIZON, WHERE, 3).pack())) for rows in parts]
    result = joined([one.result for one in reversed(kept)], whole.keys)

    assert [len(rows) for rows in parts] == [4, 4, 4]
    assert result.keys == whole.keys
    np.testing.assert_array_equal(result.mean[4:8], kept[1].result.mean)
    np.testing.assert_allclose(result.weights.sum(axis=1), 1.0)
    assert cut(panel(weekly(13, 30)), kept) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11, 12]]
    with pytest.raises(Invalid, match="s12 was not forecast"):
        joined([one.result for one in kept], (*whole.keys, "s12"))


def test_what_is_no_kept_forecast_is_refused(values: Floats, trained: bytes) -> None:
    with pytest.raises(Invalid, match="not an artefact"):
        Kept.unpack(b"PK\x03\x04 nothing")
    with pytest.raises(Invalid, match="no kept forecast"):
        Kept.unpack(Task(panel(values), 1, Calendar(), 0).pack())
    with pytest.raises(Invalid, match="no part of a panel"):
        Task.unpack(trained)


def test_the_baseline_alone_serves_when_nothing_else_can(values: Floats) -> None:
    served = Kept.unpack(work(Task(panel(values), HORIZON, WHERE, 3, baseline=True).pack())).result

    assert served.models == ("seasonal_naive",)
    assert not served.beats_baseline.any()
    assert (served.lower80 <= served.mean).all()
