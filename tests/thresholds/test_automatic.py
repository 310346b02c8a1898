"""Thresholds from the shape of the scores, against known distributions."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from skdeepad import PCADetector
from skdeepad.thresholds import MAD, ParetoTail, Quantile


def flagged(strategy, scores, y=None):
    return np.asarray(scores) < strategy.find_offset(scores, y)


@pytest.mark.parametrize("n_deviations", [0.5, 2.5, 3.0])
@pytest.mark.parametrize("n_rows", [1, 2, 7, 100])
def test_mad_is_the_median_computation(n_deviations, n_rows):
    errors = np.random.default_rng(n_rows).gamma(2.0, size=n_rows)
    median = np.median(errors)
    deviation = np.median(np.abs(errors - median)) / stats.norm.ppf(0.75)
    cut = median + n_deviations * deviation
    assert MAD(n_deviations).find_offset(-errors) == pytest.approx(-cut, rel=1e-12)


def test_mad_counts_standard_deviations_of_normal_scores():
    scores = np.random.default_rng(0).normal(5.0, 2.0, size=200_000)
    for n_deviations in (1.0, 2.0, 3.0):
        offset = MAD(n_deviations).find_offset(scores)
        assert offset == pytest.approx(5 - 2 * n_deviations, abs=0.03)
    # One side of the 0.27 % beyond three standard deviations.
    assert flagged(MAD(3.0), scores).mean() == pytest.approx(0.00135, abs=0.0003)


def test_mad_withstands_anomalies_that_the_standard_deviation_does_not():
    rng = np.random.default_rng(0)
    normal, anomalies = rng.normal(size=700), rng.normal(-12.0, size=300)
    scores = np.r_[normal, anomalies]
    found = flagged(MAD(3.0), scores)
    assert found[700:].all()
    assert not found[:700].any()
    assert not (scores < scores.mean() - 3 * scores.std()).any()


def test_mad_of_equal_scores_flags_nothing():
    assert MAD().find_offset(np.full(5, -2.0)) == -2.0


def test_mad_of_mostly_equal_scores_flags_those_beyond_and_warns():
    with pytest.warns(UserWarning, match="deviation is 0.*'quantile'"):
        found = flagged(MAD(), [-9.0, -2.0, -2.0, -2.0, -1.0])
    assert found.tolist() == [True] + [False] * 4


def test_mad_moves_and_scales_with_the_scores():
    scores = np.random.default_rng(0).normal(size=50)
    offset = MAD().find_offset(scores)
    assert MAD().find_offset(1e6 * scores - 7) == pytest.approx(1e6 * offset - 7)


def by_hand(errors, alpha, tail_fraction):
    """Cut of the tail's most likely generalised Pareto distribution.

    The likelihood of one parameter, the shape over the scale, in which the best
    shape is known (Grimshaw, 1993).
    """
    errors = np.sort(errors)
    n_tail = int(tail_fraction * len(errors))
    start = errors[-n_tail - 1]
    excess = errors[-n_tail:] - start

    def loss(ratio):
        shape = np.log1p(ratio * excess).mean()
        return np.log(shape / ratio) + shape

    # A ratio below zero is a tail that ends; the two sides are looked at in turn.
    sides = [(-0.999 / excess.max(), -1e-6), (1e-6, 50 / excess.mean())]
    ratio = min(
        (minimize_scalar(loss, bounds=side, method="bounded") for side in sides),
        key=lambda result: result.fun,
    ).x
    shape = np.log1p(ratio * excess).mean()
    beyond = alpha * len(errors) / n_tail
    return start + (beyond**-shape - 1) / ratio


DISTRIBUTIONS = {
    "exponential": stats.expon(),
    "pareto": stats.pareto(3.0),
    "uniform": stats.uniform(),
}


@pytest.mark.parametrize("name", ["exponential", "pareto"])
def test_pareto_tail_is_the_most_likely_one(name):
    errors = DISTRIBUTIONS[name].rvs(3000, random_state=0)
    offset = ParetoTail(alpha=0.002, tail_fraction=0.15).find_offset(-errors)
    assert -offset == pytest.approx(by_hand(errors, 0.002, 0.15), rel=1e-3)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_pareto_tail_recovers_quantiles(name):
    law = DISTRIBUTIONS[name]
    samples = [law.rvs(10_000, random_state=seed) for seed in range(8)]
    for alpha, tolerance in ((0.01, 1.15), (0.001, 1.4)):
        cuts = [-ParetoTail(alpha=alpha).find_offset(-sample) for sample in samples]
        # The true share of the rows beyond the cut.
        assert alpha / tolerance < law.sf(cuts).mean() < alpha * tolerance
    # Half a row in ten thousand: where the sample has nothing.
    cuts = [-ParetoTail(alpha=0.00005).find_offset(-sample) for sample in samples]
    tolerance = {"exponential": 0.1, "pareto": 0.2, "uniform": 0.0005}[name]
    assert np.median(cuts) == pytest.approx(law.isf(0.00005), rel=tolerance)


def test_pareto_tail_is_heavier_for_heavier_tails():
    """A parameter of its own for the shape: an exponential fit would miss it."""
    errors = stats.pareto(1.5).rvs(5000, random_state=0)
    cut = -ParetoTail(alpha=0.001).find_offset(-errors)
    assert cut == pytest.approx(stats.pareto(1.5).isf(0.001), rel=0.3)
    start = np.quantile(errors, 0.9)
    exponential = start + (errors[errors > start] - start).mean() * np.log(100)
    assert cut > 1.5 * exponential


def test_a_tail_of_all_rows_but_one():
    errors = stats.expon().rvs(20, random_state=0)
    offsets = [
        ParetoTail(0.1, tail_fraction).find_offset(-errors)
        for tail_fraction in (1 - 1e-12, 19 / 20)
    ]
    assert offsets[0] == offsets[1]


def test_pareto_tail_moves_and_scales_with_the_scores():
    scores = -stats.gamma(2.0).rvs(400, random_state=0)
    offset = ParetoTail().find_offset(scores)
    for scale in (2.0**-60, 2.0**60):
        assert ParetoTail().find_offset(scale * scores) == scale * offset
    moved = ParetoTail().find_offset(5 * scores - 300)
    assert moved == pytest.approx(5 * offset - 300, rel=1e-4)


def test_pareto_tail_of_equal_scores_flags_nothing():
    assert not flagged(ParetoTail(), np.full(200, -3.0)).any()
    # Only the tail's scores are equal.
    assert not flagged(ParetoTail(), np.r_[np.full(30, -3.0), np.zeros(170)]).any()


@pytest.mark.parametrize("share", [0.93, 0.95, 0.97])
def test_pareto_tail_that_starts_among_equal_scores_is_fitted_above_them(share):
    """Rows that are given back exactly, as duplicates are, and a tail of others."""
    rng = np.random.default_rng(0)
    errors = np.where(rng.random(20_000) < share, 0.0, rng.exponential(size=20_000))
    cut = -ParetoTail(alpha=0.001).find_offset(-errors)
    assert cut == pytest.approx(-np.log(0.001 / (1 - share)), rel=0.15)


def test_pareto_tail_of_a_few_equal_outliers_flags_them():
    errors = np.random.default_rng(0).exponential(size=1000)
    offset = ParetoTail(alpha=0.001).find_offset(-np.r_[errors, 1e4, 1e4])
    assert offset > -1000


@pytest.mark.parametrize("n_equal", [10, 100])
def test_pareto_tail_takes_frequent_scores_for_normal(n_equal):
    errors = np.minimum(np.random.default_rng(0).exponential(size=3000), 3.0)
    errors = np.r_[errors[errors < 3.0][:2800], np.full(n_equal, 3.0)]
    # A fit alone ends right below them.
    assert ParetoTail(alpha=0.001).find_offset(-errors) <= -3.0


def test_pareto_tail_flags_no_level_of_many_rows():
    errors = np.repeat(np.arange(30.0), 100)
    assert ParetoTail(alpha=0.001).find_offset(-errors) <= -29.0


@pytest.mark.parametrize(("alpha", "is_flagged"), [(0.005, False), (0.05, True)])
def test_pareto_tail_of_one_score_is_flagged_where_it_is_rare(alpha, is_flagged):
    errors = np.r_[np.zeros(990), np.full(10, 5.0)]
    threshold = ParetoTail(alpha=alpha)
    assert (-5.0 < threshold.find_offset(-errors)) == is_flagged
    # As a tail of two scores is.
    offset = threshold.find_offset(-np.r_[errors[1:], 5.5])
    assert (-5.0 < offset) == is_flagged


@pytest.mark.parametrize("largest", [np.arange(1.0, 5.0), np.full(4, 9.0)])
def test_pareto_tail_of_few_different_scores_is_refused(largest):
    errors = np.r_[np.zeros(196), largest]
    with pytest.raises(ValueError, match=r"4 row.*above its start.*fewer equal"):
        ParetoTail().find_offset(-errors)


def test_pareto_tail_with_alpha_next_to_its_fraction():
    """Ten of 109 rows make the tail: a smaller share than alpha."""
    scores = -np.random.default_rng(0).exponential(size=109)
    offset = ParetoTail(alpha=0.0999, tail_fraction=0.1).find_offset(scores)
    assert offset == np.sort(scores)[10]


def test_pareto_tail_needs_ten_rows():
    rng = np.random.default_rng(0)
    assert np.isfinite(ParetoTail().find_offset(rng.normal(size=100)))
    with pytest.raises(ValueError, match=r"of 99 normal rows .* 9 row\(s\).*'mad'"):
        ParetoTail().find_offset(rng.normal(size=99))
    # Anomalies don't count.
    y = np.r_[np.ones(99), -np.ones(50)]
    with pytest.raises(ValueError, match="of 99 normal rows"):
        ParetoTail().find_offset(rng.normal(size=149), y)
    assert np.isfinite(
        ParetoTail(alpha=0.01, tail_fraction=0.5).find_offset(rng.normal(size=20))
    )


@pytest.mark.parametrize("alpha", [0.1, 0.2])
def test_pareto_cut_lies_in_the_tail(alpha):
    strategy = ParetoTail(alpha=alpha, tail_fraction=0.1)
    with pytest.raises(ValueError, match=r"must be below tail_fraction=0\.1.*quantile"):
        strategy.find_offset(np.arange(500.0))


@pytest.mark.parametrize("strategy", [MAD(), ParetoTail()], ids=repr)
def test_labelled_anomalies_are_left_out(strategy):
    rng = np.random.default_rng(0)
    scores, anomalies = rng.normal(size=300), rng.normal(-30.0, size=200)
    y = np.r_[np.ones(300), -np.ones(200)]
    together = np.r_[scores, anomalies]
    offset = strategy.find_offset(scores)
    assert strategy.find_offset(together, y) == offset
    assert strategy.find_offset(together) != offset
    with pytest.raises(ValueError, match="No row is labelled"):
        strategy.find_offset(scores, -np.ones(300))
    with pytest.raises(ValueError, match="NaN or infinity"):
        strategy.find_offset(np.r_[scores, np.nan])


@pytest.mark.parametrize("name", ["mad", "pareto"])
def test_detectors_take_them_by_name(name, problem):
    X, y = problem
    detector = PCADetector(n_components=2, threshold=name).fit(X, y)
    strategy = {"mad": MAD(3.0), "pareto": ParetoTail(alpha=0.001)}[name]
    scores = detector.score_samples(X)
    assert detector.offset_ == strategy.find_offset(scores[y == 1])
    found = detector.predict(X) == -1
    assert found[y == -1].mean() > found[y == 1].mean() + 0.4
    detector.fit_threshold(X, threshold=0.0).fit_threshold(X, y)
    assert detector.offset_ == strategy.find_offset(scores[y == 1])


def test_pareto_tail_of_equal_scores_flags_none_of_them():
    scores = -np.r_[np.zeros(900), np.ones(100)]
    assert not (scores < ParetoTail().find_offset(scores)).any()


def test_labels_must_be_labels_and_as_many_as_scores():
    scores = np.arange(20.0)
    with pytest.raises(ValueError, match=r"must be \+1"):
        MAD().find_offset(scores, np.zeros(20))
    with pytest.raises(ValueError, match="20 scores and 3 labels"):
        MAD().find_offset(scores, [1, 1, -1])


def test_the_tail_has_all_its_rows_where_its_share_is_rounded_down():
    """0.29 * 100 = 28.999..."""
    errors = np.sort(np.random.default_rng(0).exponential(size=100))
    start, excess = errors[-30], errors[-29:] - errors[-30]
    scale = excess.mean()
    shape, _, spread = stats.genpareto.fit(excess / scale, floc=0)
    cut = start + scale * stats.genpareto.isf(0.01 * 100 / 29, shape, scale=spread)
    found = ParetoTail(alpha=0.01, tail_fraction=0.29).find_offset(-errors)
    assert found == pytest.approx(-cut, rel=1e-6)


@pytest.mark.parametrize(
    "strategy, between", [(Quantile(0.25), []), (Quantile(0.5), []), (MAD(), [0.0])]
)
def test_scores_whose_differences_are_no_numbers(strategy, between):
    with pytest.raises(ValueError, match="too far apart"):
        strategy.find_offset([-1.7e308, *between, 1.7e308])
