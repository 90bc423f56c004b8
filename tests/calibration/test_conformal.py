"""Guarantee: p-values and thresholds from good parts keep the false-alarm rate, over thousands of repeated draws."""

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from clipada.calibration import needed_images, p_values, rate_bound, threshold, threshold_rank
from clipada.config import CalibrationConfig
from clipada.errors import ConfigError

RATES = st.sampled_from([0.001, 0.005, 0.01, 0.02, 0.05, 0.07, 0.1, 0.29, 0.5, 0.9])
SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.25000001, 0.9, 1.0]) | st.floats(0, 1), min_size=1, max_size=60)

POPULATIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "light tails": lambda rng, count: rng.uniform(0.1, 0.2, count),
    "heavy tails": lambda rng, count: rng.pareto(1.1, count),
    "ties": lambda rng, count: rng.binomial(12, 0.3, count) / 12,
    "saturated": lambda rng, count: np.minimum(1.0, rng.gamma(2, 0.25, count)),
}


def asked(rate: float, mode: str = "conditional", confidence: float = 0.95) -> CalibrationConfig:
    return CalibrationConfig(false_alarm_rate=rate, mode=mode, confidence=confidence)


# --- over repeated draws


def observed_rates(name: str, mode: str, draws: int = 2000, count: int = 400) -> np.ndarray:
    """The share of a population called defective, for each of ``draws`` random splits: 400 images calibrate."""
    rng = np.random.default_rng(7)
    population = np.sort(POPULATIONS[name](rng, 20_000 + count))
    rank = threshold_rank(count, asked(0.01, mode))
    rates = np.empty(draws)
    for draw in range(draws):
        chosen = rng.choice(population.size, count, replace=False)
        limit = threshold(np.sort(population[chosen]), rank)
        beyond = population.size - np.searchsorted(population, limit, side="right")
        rates[draw] = (beyond - np.count_nonzero(population[chosen] > limit)) / (population.size - count)
    return rates


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_conditional_guarantee_holds_over_2000_splits(name: str) -> None:
    """400 images, 1 %: the mean rate is at most 1 %, and at most 5 % of the calibrations exceed it.

    The true chance of exceeding is 0.99^400 = 1.8 %; 2,000 draws exceed 3 % with a chance below 1e-4.
    """
    rates = observed_rates(name, "conditional")
    assert rates.mean() <= 0.01
    assert (rates > 0.01).mean() <= 0.03


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_marginal_guarantee_holds_over_2000_splits(name: str) -> None:
    """The mean rate is at most 4 / 401; the mean over the draws is within four standard errors of the truth."""
    rates = observed_rates(name, "marginal")
    assert rates.mean() <= 4 / 401 + 4 * rates.std() / np.sqrt(rates.size)
    if name in ("light tails", "heavy tails"):  # continuous: the guarantee is tight
        assert rates.mean() == pytest.approx(4 / 401, abs=4 * rates.std() / np.sqrt(rates.size))


def test_the_rate_of_a_calibration_follows_the_beta_distribution() -> None:
    """Uniform scores, whose rate is known exactly: Kolmogorov-Smirnov over 5,000 draws, at a level of 1e-4."""
    rng = np.random.default_rng(3)
    for count, rank in ((400, 1), (400, 4), (60, 7)):
        scores = np.sort(rng.uniform(size=(5000, count)), axis=1)
        rates = 1 - scores[:, count - rank]
        assert stats.kstest(rates, stats.beta(rank, count + 1 - rank).cdf).pvalue > 1e-4


# --- p-values


def test_a_p_value_by_hand() -> None:
    calibration = np.array([0.1, 0.2, 0.2, 0.7])
    scores = [0.0, 0.1, 0.15, 0.2, 0.3, 0.7, 0.71]
    np.testing.assert_array_equal(p_values(calibration, scores) * 5, [5, 5, 4, 4, 2, 2, 1])


@settings(deadline=None, max_examples=40)
@given(SCORES, st.lists(st.floats(-1, 2), min_size=1, max_size=20))
def test_p_values_fall_with_the_score_and_stay_in_range(calibration: list[float], scores: list[float]) -> None:
    values = p_values(np.sort(calibration), np.sort(scores))
    assert (np.diff(values) <= 0).all()
    assert values.min() >= 1 / (len(calibration) + 1)
    assert values.max() <= 1


@settings(deadline=None, max_examples=40)
@given(SCORES.filter(lambda scores: len(scores) >= 2), RATES)
def test_p_values_are_super_uniform_whatever_the_ties(scores: list[float], rate: float) -> None:
    """Each of ``n + 1`` exchangeable images takes its turn as the new one: at most ``rate`` of the turns have p <= it.

    This is the finite-sample guarantee itself, exactly, for any multiset of scores.
    """
    turns = [p_values(np.sort(scores[:turn] + scores[turn + 1 :]), scores[turn]) for turn in range(len(scores))]
    assert np.count_nonzero(np.array(turns) <= rate + 1e-12) <= Fraction(str(rate)) * len(scores)


@settings(deadline=None, max_examples=40)
@given(SCORES, st.floats(0, 1), RATES)
def test_threshold_and_p_value_agree(calibration: list[float], score: float, rate: float) -> None:
    ordered = np.sort(calibration)
    rank = threshold_rank(ordered.size, asked(rate, "marginal"))
    if rank:
        p_value = Fraction(float(p_values(ordered, score)) * (ordered.size + 1)).limit_denominator(1)
        assert (score > threshold(ordered, rank)) == (p_value <= Fraction(str(rate)) * (ordered.size + 1))


# --- counts and bounds


def binomial_tail(count: int, rate: Fraction, below: int) -> Fraction:
    """``P(Binomial(count, rate) < below)``, exactly."""
    return sum((comb(count, i) * rate**i * (1 - rate) ** (count - i) for i in range(below)), Fraction(0))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 120), RATES, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@example(400, 0.01, 0.95)
def test_the_conditional_rank_is_the_largest_that_the_exact_binomial_allows(
    count: int, rate: float, confidence: float
) -> None:
    rank = threshold_rank(count, asked(rate, confidence=confidence))
    exact, risk = Fraction(str(rate)), 1 - Fraction(str(confidence))
    assert binomial_tail(count, exact, rank) <= risk or rank == 0
    if rank < count:
        assert binomial_tail(count, exact, rank + 1) > risk - Fraction(1, 10**12)  # equal: rounding decides


@settings(deadline=None, max_examples=40)
@given(RATES, st.sampled_from(["conditional", "marginal"]), st.sampled_from([0.5, 0.95, 0.99]))
@example(0.01, "conditional", 0.95)
def test_the_needed_number_is_the_smallest(rate: float, mode: str, confidence: float) -> None:
    guarantee = asked(rate, mode, confidence)
    needed = needed_images(guarantee)
    assert threshold_rank(needed, guarantee) >= 1
    assert needed == 1 or threshold_rank(needed - 1, guarantee) == 0


def test_known_counts() -> None:
    assert needed_images(asked(0.01)) == 299
    assert needed_images(asked(0.05)) == 59
    assert needed_images(asked(0.01, "marginal")) == 99
    assert needed_images(asked(0.05, "marginal")) == 19
    assert threshold_rank(400, asked(0.01)) == 1
    assert threshold_rank(473, asked(0.01)) == 2


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.data())
def test_the_bound_is_the_beta_quantile(count: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, count))
    bound = rate_bound(count, rank, 0.95)
    assert stats.binom.cdf(rank - 1, count, bound) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(
    "change", [{"false_alarm_rate": 0}, {"false_alarm_rate": 1.0}, {"confidence": 1}, {"per": "("}]
)
def test_settings_without_a_guarantee_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        CalibrationConfig(**change)
