"""KDEDetector against SciPy and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity

from skdeepad import KDEDetector


def test_score_is_the_log_density():
    X = np.random.default_rng(0).normal(size=(60, 2))
    detector = KDEDetector(bandwidth=0.7).fit(X)
    kernels = stats.multivariate_normal(cov=0.7**2 * np.eye(2))
    density = np.mean([kernels.pdf(X - row) for row in X], axis=0)
    np.testing.assert_allclose(detector.score_samples(X), np.log(density), rtol=1e-6)


def test_cv_takes_the_bandwidth_with_the_largest_held_out_likelihood():
    X = np.random.default_rng(0).normal(size=(100, 2))
    widths = [0.05, 0.4, 3.0]
    held_out = [
        sum(
            KernelDensity(bandwidth=w, leaf_size=100).fit(X[train]).score(X[test])
            for train, test in KFold(4).split(X)
        )
        for w in widths
    ]
    detector = KDEDetector(bandwidths=widths, cv=4).fit(X)
    assert detector.bandwidth_ == widths[int(np.argmax(held_out))]


@pytest.mark.parametrize("n_folds", [2, 20])
def test_folds_of_the_search_are_as_many_as_asked_for(n_folds):
    X = np.random.default_rng(0).normal(size=(40, 2))
    widths = np.logspace(-1, 0.5, 60)
    chosen = {
        n: GridSearchCV(KernelDensity(), {"bandwidth": widths}, cv=n)
        .fit(X)
        .best_params_["bandwidth"]
        for n in (2, 5, 20)
    }
    assert len(set(chosen.values())) == 3
    detector = KDEDetector(bandwidths=widths, cv=n_folds).fit(X)
    assert detector.bandwidth_ == chosen[n_folds]


@pytest.mark.parametrize("n_rows", [20, 60, 300])
def test_default_candidates(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 2))
    widths = np.logspace(-1, 1, 10) * X.std(axis=0).mean()
    chosen = KDEDetector().fit(X).bandwidth_
    assert chosen == KDEDetector(bandwidths=widths).fit(X).bandwidth_
    assert np.isclose(widths, chosen).sum() == 1


def test_candidates_may_be_any_list_of_numbers_above_zero():
    X = np.random.default_rng(0).normal(size=(60, 2))
    expected = KDEDetector(bandwidths=[0.1, 0.5]).fit(X).bandwidth_
    for widths in ((0.1, 0.5), np.array([0.1, 0.5]), pd.Series([0.1, 0.5])):
        assert KDEDetector(bandwidths=widths).fit(X).bandwidth_ == expected
    for widths in ([], [0.1, -0.2], [0.1, np.nan], [[0.1]], [np.inf]):
        with pytest.raises(ValueError, match="bandwidths must be a list of one or"):
            KDEDetector(bandwidths=widths).fit(X)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_candidates_follow_the_scale_of_the_data(scale):
    X = np.random.default_rng(0).normal(size=(100, 2))
    width = KDEDetector().fit(X).bandwidth_
    assert KDEDetector().fit(scale * X).bandwidth_ == pytest.approx(scale * width)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_named_bandwidths(rule, scale):
    X = scale * np.random.default_rng(0).normal(size=(100, 2))
    factor = stats.gaussian_kde(X.T, bw_method=rule).factor
    expected = factor * X.std(axis=0).mean()
    assert KDEDetector(bandwidth=rule).fit(X).bandwidth_ == pytest.approx(expected)


def test_rows_far_from_all_others():
    """Where the sums of scikit-learn's tree with leaves of 40 rows cancel."""
    X = np.random.default_rng(0).normal(size=(1000, 20))
    far = np.linspace(0, 24, 9)[:, None] * np.ones((1, 20)) / np.sqrt(20)
    detector = KDEDetector(bandwidth=0.5).fit(X)
    kernels = -cdist(far, X, "sqeuclidean") / (2 * 0.5**2)
    expected = logsumexp(kernels, axis=1) - np.log(1000)
    expected -= 20 * np.log(0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(detector.score_samples(far), expected, rtol=1e-6)


@pytest.mark.parametrize("bandwidth", [1e-200, 1e-3, 1.0, 1e200])
def test_any_row_and_bandwidth_has_a_density(bandwidth):
    X = np.random.default_rng(0).normal(size=(100, 3))
    rows = np.r_[X[:5], [[3.0] * 3, [1e30] * 3, [-1e200] * 3]]
    scores = KDEDetector(bandwidth=bandwidth).fit(X).score_samples(rows)
    assert not np.isnan(scores).any()
    assert scores[-3] >= scores[-2] >= scores[-1]
    assert np.isfinite(scores).all() or bandwidth == 1e-200
    assert np.isfinite(scores[:5]).all()


@pytest.mark.parametrize("n_rows", [1, 7, 400])
def test_a_score_is_the_same_beside_any_rows(n_rows):
    X = np.random.default_rng(0).normal(size=(400, 5)) * [1, 1, 1e3, 1, 1]
    detector = KDEDetector(bandwidth=0.3).fit(X)
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(detector.score_samples(X[:n_rows]), scores[:n_rows])


@pytest.mark.parametrize("scale", [1e-24, 1e20])
def test_float32_of_any_size_is_taken_as_float64(scale):
    X = (scale * np.random.RandomState(0).normal(size=(60, 3))).astype(np.float32)
    widths = [KDEDetector().fit(x).bandwidth_ for x in (X, X.astype(np.float64))]
    assert widths[0] == pytest.approx(widths[1], rel=1e-6)


def test_underflow_is_meant(problem):
    X, _ = problem
    expected = KDEDetector().fit(X).score_samples(100 * X)
    with np.errstate(all="raise"):
        detector = KDEDetector().fit(X)
        np.testing.assert_array_equal(detector.score_samples(100 * X), expected)
