"""The streaming detector: it tells a change once, at once, and reads nothing ahead."""

import numpy as np
import pytest

from bursar.kernel.errors import Invalid
from bursar.ml.anomaly.stream import Stream

DETECTOR = Stream(warm_up=300)


def noise(length: int = 3_000) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(5).normal(50, 2, length)


def test_noise_is_told_rarely_and_a_spike_at_once() -> None:
    values = noise()
    values[2_000] += 40

    scores = DETECTOR.scores(values)

    assert (scores > 0).sum() <= 25
    assert scores[2_000] > 2 * np.delete(scores, 2_000).max()


def test_a_shift_is_told_within_an_hour_of_five_minutes_and_not_for_ever() -> None:
    values = noise()
    values[2_000:] += 5

    scores = DETECTOR.scores(values)

    told = np.flatnonzero(scores > 1.5)
    assert 2_000 <= told[0] <= 2_020
    assert len(told) <= 8


def test_no_score_depends_on_what_comes_later() -> None:
    values = noise()
    other = values.copy()
    other[1_500:] = np.random.default_rng(9).normal(0, 1e6, 1_500)

    np.testing.assert_array_equal(DETECTOR.scores(values)[:1_500], DETECTOR.scores(other)[:1_500])


def test_the_unit_of_the_values_does_not_matter() -> None:
    np.testing.assert_allclose(DETECTOR.scores(noise()), DETECTOR.scores(noise() * 1e3), rtol=1e-3)


@pytest.mark.parametrize("values", [np.empty(0), np.zeros(500), np.full(500, 7.0), np.ones(3)])
def test_flat_and_short_input_tells_nothing(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    assert not DETECTOR.scores(values).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gaps_are_refused(bad: float) -> None:
    with pytest.raises(Invalid):
        DETECTOR.scores(np.array([1.0, bad, 2.0]))
