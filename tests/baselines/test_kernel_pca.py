"""KernelPCADetector against computations in an explicit feature space."""

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from skdeepad import KernelPCADetector, PCADetector


def explicit_errors(X, X_new, gamma, n_components):
    """By coordinates of all rows, old and new, in the space that the kernel spans."""
    n = len(X)
    together = np.r_[X, X_new]
    values, vectors = np.linalg.eigh(rbf_kernel(together, gamma=gamma))
    features = vectors * np.sqrt(np.clip(values, 0, None))
    features = features - features[:n].mean(axis=0)
    _, _, components = np.linalg.svd(features[:n], full_matrices=False)
    components = components[:n_components]
    rest = features - features @ components.T @ components
    return np.square(rest).sum(axis=1)[n:]


def test_a_small_integer_does_not_overflow():
    X = np.random.default_rng(0).normal(size=(600, 3))
    detectors = [
        KernelPCADetector(n_components=n, gamma=0.3, random_state=0).fit(X)
        for n in (64, np.int8(64))
    ]
    np.testing.assert_array_equal(*(d.score_samples(X) for d in detectors))


@pytest.mark.parametrize("n_rows", [60, 300])
@pytest.mark.parametrize("shift", [0, 1e6])
def test_score_is_the_error_in_feature_space(n_rows, shift):
    rng = np.random.default_rng(0)
    X, X_new = rng.normal(size=(n_rows, 3)), 2 * rng.normal(size=(20, 3))
    detector = KernelPCADetector(n_components=7, gamma=0.3, random_state=0)
    errors = -detector.fit(X + shift).score_samples(X_new + shift)
    expected = explicit_errors(X, X_new, 0.3, 7)
    np.testing.assert_allclose(errors, expected, rtol=1e-5, atol=1e-8)


def test_codes_are_coordinates_along_the_components():
    X = np.random.default_rng(0).normal(size=(40, 3))
    detector = KernelPCADetector(n_components=4, gamma=0.5).fit(X)
    kernel = rbf_kernel(X, gamma=0.5)
    centre = np.eye(40) - 1 / 40
    values, vectors = np.linalg.eigh(centre @ kernel @ centre)
    expected = vectors[:, :-5:-1] * np.sqrt(values[:-5:-1])
    codes = detector.transform(X)
    np.testing.assert_allclose(np.abs(codes), np.abs(expected), atol=1e-6)


def test_gamma_scale():
    X = np.random.default_rng(0).normal(size=(50, 4)) * [1, 2, 3, 4]
    detector = KernelPCADetector().fit(X)
    assert detector.gamma_ == pytest.approx(1 / np.trace(np.cov(X.T, ddof=0)))
    other = KernelPCADetector(gamma=detector.gamma_).fit(X)
    np.testing.assert_array_equal(other.score_samples(X), detector.score_samples(X))
    far = KernelPCADetector(gamma=10 * detector.gamma_).fit(X)
    assert not np.allclose(far.score_samples(X), detector.score_samples(X), rtol=0.1)


def test_a_curved_set_is_followed():
    X, which = make_moons(600, noise=0.05, random_state=0)
    y = np.where(which == 0, 1, -1)
    aurocs = [
        roc_auc_score(y, detector.fit(X[y == 1]).decision_function(X))
        for detector in (KernelPCADetector(), PCADetector(n_components=1))
    ]
    assert aurocs[0] > 0.99
    assert aurocs[1] < 0.95


@pytest.mark.parametrize(("n_rows", "expected"), [(3, 1), (40, 10), (600, 128)])
def test_components_are_a_quarter_of_the_rows_at_most(n_rows, expected):
    X = np.random.default_rng(0).normal(size=(n_rows, 3))
    codes = KernelPCADetector(random_state=0).fit_transform(X)
    assert codes.shape == (n_rows, expected)


def test_more_components_leave_less():
    X = np.random.default_rng(0).normal(size=(100, 3))
    errors = [
        -KernelPCADetector(n_components=n).fit(X).score_samples(X) for n in (2, 20)
    ]
    assert (errors[1] <= errors[0] + 1e-9).all()


@pytest.mark.parametrize("n_rows", [5, 300])
def test_equal_rows(n_rows):
    detector = KernelPCADetector().fit(np.ones((n_rows, 2)))
    np.testing.assert_array_equal(detector.score_samples(np.ones((3, 2))), 0.0)
    assert detector.predict([[9, 9]]) == -1


def test_a_score_is_the_same_beside_any_rows():
    X = np.random.default_rng(0).normal(size=(700, 3))
    detector = KernelPCADetector(random_state=0).fit(X)
    scores = detector.score_samples(X)
    for part in (slice(1), slice(1, 3), slice(250, 260), slice(0, 700, 7)):
        np.testing.assert_array_equal(detector.score_samples(X[part]), scores[part])


def test_components_are_of_some_of_many_rows():
    X = np.random.default_rng(0).normal(size=(400, 3))
    some = KernelPCADetector(max_samples=100, random_state=0).fit(X)
    assert some.X_fit_.shape == (100, 3)
    # The rows drawn, without the others' help but for the scale.
    rows = some.X_fit_ + some._mean
    assert {*map(tuple, rows.round(9))} < {*map(tuple, X.round(9))}
    alone = KernelPCADetector(gamma=some.gamma_, random_state=0).fit(rows)
    np.testing.assert_allclose(alone.score_samples(X), some.score_samples(X), atol=1e-9)
    # All rows set the threshold: the largest error of a training row.
    assert some.offset_ == pytest.approx(some.score_samples(X).min())
    other = KernelPCADetector(max_samples=100, random_state=1).fit(X)
    assert not np.allclose(other.score_samples(X), some.score_samples(X))


def test_components_of_rounding_alone_are_none():
    """Of one feature the last eigenvalues are noise, which the seed would decide."""
    rng = np.random.default_rng(0)
    X = 1.3 * rng.normal(size=(1000, 1)) + 7
    new = np.linspace(X.min() - 1, X.max() + 1, 100)[:, None]
    one, other = (
        KernelPCADetector(gamma=3.0, random_state=seed).fit(X).score_samples(new)
        for seed in (0, 1)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", ["scale", 1e5])
def test_eigenvalues_that_coincide(gamma):
    """No row is like another: what a component leaves of all rows is the same."""
    X = 10 * np.eye(300)
    detector = KernelPCADetector(gamma=gamma, random_state=0).fit(X)
    errors = -detector.score_samples(X)
    # 299 equal eigenvalues, of which 75 are taken.
    assert errors.mean() == pytest.approx(
        (1 - np.exp(-200 * detector.gamma_)) * (299 - 75) / 300
    )


@pytest.mark.parametrize("n_rows", [100, 300])
def test_a_kernel_without_neighbours(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 3))
    detector = KernelPCADetector(n_components=1, gamma=1e12, random_state=0).fit(X)
    assert detector.predict([[9, 9, 9]]) == -1


def test_spreads_beyond_floats_are_refused():
    X = np.random.default_rng(0).normal(size=(50, 3))
    for scale in (1e-155, 1e-200):
        with pytest.raises(ValueError, match="too small for gamma='scale'"):
            KernelPCADetector().fit(scale * X)
    scores = KernelPCADetector().fit(1e-150 * X).score_samples(1e-150 * X)
    expected = KernelPCADetector().fit(X).score_samples(X)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_rows_of_any_distance_are_anomalies():
    X = np.random.default_rng(0).normal(size=(50, 3))
    far = [[v, -v, v] for v in (1e3, 1e154, 1e160, 1.7e308)]
    for detector in (KernelPCADetector(), PCADetector(n_components=2), PCADetector()):
        assert (detector.fit(X).predict(far) == -1).all()
        assert not np.isnan(detector.score_samples(far)).any()


def test_rows_too_far_for_distances_are_refused():
    X = np.random.default_rng(0).normal(size=(60, 6))
    expected = KernelPCADetector(random_state=0).fit(X).score_samples(X)
    scaled = KernelPCADetector(random_state=0).fit(1e99 * X).score_samples(1e99 * X)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)
    X[3, 2] = 1e101
    with pytest.raises(ValueError, match=r"1e\+100 or more .* first in column 2"):
        KernelPCADetector(random_state=0).fit(X)


def test_rows_are_taken_from_the_mean_of_those_drawn(problem):
    X = np.random.default_rng(0).normal(size=(300, 4)) + 5
    detector = KernelPCADetector(max_samples=40, n_components=5, random_state=0).fit(X)
    assert len(detector.X_fit_) == 40
    np.testing.assert_allclose(detector.X_fit_.mean(axis=0), 0, atol=1e-12)
