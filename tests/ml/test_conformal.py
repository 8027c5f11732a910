"""Intervals hold what they promise on exchangeable noise, whatever its shape, and are nested."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar.kernel.series import Floats
from bursar.ml.conformal import (
    LEVELS,
    Kinds,
    held_out,
    held_out_coverage,
    intervals,
    quantile,
    stretch,
    stretched,
    stretched_coverage,
)


def noise(sort: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    if sort == "skewed":
        return rng.lognormal(0, 1, shape) - 1.6
    return rng.standard_t(2, shape) if sort == "heavy" else rng.normal(0, 1, shape)


@pytest.mark.parametrize("sort", ["normal", "heavy", "skewed"])
def test_coverage_on_exchangeable_noise_is_the_nominal_one(sort: str) -> None:
    rng = np.random.default_rng(5)
    scale = rng.uniform(0.5, 2.0, 300)
    past, ahead = noise(sort, rng, (3, 300, 28)), noise(sort, rng, (300, 28)) * scale[:, None]

    made = intervals(np.zeros((300, 28)), scale, past)

    for level in (0.8, 0.95):
        inside = ((ahead >= made.lower[level]) & (ahead <= made.upper[level])).mean()
        assert inside == pytest.approx(level, abs=0.015)


@given(st.integers(0, 10_000), st.sampled_from(["normal", "heavy", "skewed"]), st.integers(2, 6), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_intervals_are_nested_and_finite(seed: int, sort: str, windows: int, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    residuals = noise(sort, rng, (windows, 4, horizon))
    residuals[rng.random(residuals.shape) < 0.2] = np.nan

    made = intervals(np.zeros((4, horizon)), np.ones(4), residuals)

    for level in (0.8, 0.95):
        assert np.isfinite(made.lower[level]).all()
        assert np.isfinite(made.upper[level]).all()
    assert (made.lower[0.95] <= made.lower[0.8]).all()
    assert (made.upper[0.8] <= made.upper[0.95]).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_the_quantile_covers_at_least_its_level_of_what_it_was_made_from(values: list[float], level: float) -> None:
    taken = quantile(np.array(values), level)

    assert taken in values
    assert np.mean(np.array(values) <= taken) >= min(level, 1.0) - 1e-9 or taken == max(values)


def test_the_record_is_measured_on_windows_left_out() -> None:
    rng = np.random.default_rng(1)
    actual = rng.normal(0, 1, (4, 200, 14))

    record = held_out_coverage(np.zeros_like(actual), actual, np.ones((4, 200)))

    assert record[0.8] == pytest.approx(0.8, abs=0.02)
    assert record[0.95] == pytest.approx(0.95, abs=0.01)
    assert np.isnan(held_out_coverage(actual[:1], actual[:1], np.ones((1, 200)))[0.8])


def test_wild_periods_widen_the_intervals_of_their_kind_alone() -> None:
    """Both kinds are covered as promised, and the usual ones are as narrow as without the wild ones."""
    rng = np.random.default_rng(5)
    wild = np.zeros((4, 28), dtype=bool)
    wild[2, 10:20] = wild[3, :7] = True
    errors = rng.normal(size=(4, 200, 28)) * np.where(wild, 5.0, 1.0)[:, None, :]
    centre, scale = np.zeros((200, 28)), np.ones(200)
    kinds = Kinds(wild[:3], wild[3])

    told = intervals(centre, scale, errors[:3], kinds=kinds)
    calm = intervals(centre, scale, np.where(wild[:3, None, :], np.nan, errors[:3]))

    inside = (errors[3] >= told.lower[0.8]) & (errors[3] <= told.upper[0.8])
    assert 0.76 < inside[:, :7].mean() < 0.84
    assert 0.78 < inside[:, 7:].mean() < 0.82
    np.testing.assert_allclose(told.upper[0.8][:, 7:].mean(), calm.upper[0.8][:, 7:].mean(), rtol=0.05)
    assert abs(stretched_coverage(held_out(errors, LEVELS, wild))[0.8] - 0.8) < 0.02


def test_windows_that_differ_from_each_other_stretch_the_intervals_of_the_next() -> None:
    """Every window has a shift of its own, so the quantiles of four of them cover less than they promise."""
    plain, better = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        errors = rng.normal(size=(5, 40, 14)) + rng.normal(0, 1.5, (5, 1, 1))
        past, ahead, centre = errors[:4], errors[4], np.zeros((40, 14))
        made = intervals(centre, np.ones(40), past)
        wider = stretched(made, centre, held_out(past, LEVELS, np.zeros((4, 14), dtype=bool)))
        plain.append(((ahead >= made.lower[0.95]) & (ahead <= made.upper[0.95])).mean())
        better.append(((ahead >= wider.lower[0.95]) & (ahead <= wider.upper[0.95])).mean())

    assert np.mean(plain) < 0.9
    assert np.mean(better) > np.mean(plain) + 0.03


def test_stretching_leaves_exchangeable_noise_as_it_is() -> None:
    errors = np.random.default_rng(3).normal(size=(4, 100, 28))

    held = held_out(errors, LEVELS, np.zeros((4, 28), dtype=bool))

    assert {level: stretch(out, level) for level, out in held.items()} == pytest.approx({0.8: 1, 0.95: 1}, abs=0.03)
    assert stretched_coverage(held) == pytest.approx({0.8: 0.8, 0.95: 0.95}, abs=0.01)
