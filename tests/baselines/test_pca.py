"""PCADetector against a singular value decomposition."""

import numpy as np
import pytest

from skdeepad import PCADetector


def test_score_is_the_mean_squared_residual(problem):
    X, _ = problem
    detector = PCADetector(n_components=2).fit(X)
    centred = X - X.mean(axis=0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    residual = centred - centred @ components[:2].T @ components[:2]
    np.testing.assert_allclose(
        -detector.score_samples(X), (residual**2).mean(axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(detector.reconstruct(X), X - residual, rtol=1e-8)
    np.testing.assert_allclose(
        detector.feature_errors(X), residual**2 / X.shape[1], rtol=1e-5, atol=1e-12
    )
    assert detector.transform(X).shape == (len(X), 2)


def test_share_of_variance(problem):
    X, _ = problem
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    detector = PCADetector(n_components=0.8).fit(Z)
    shares = np.linalg.svd(Z, compute_uv=False) ** 2
    needed = 1 + int(np.argmax(shares.cumsum() / shares.sum() > 0.8))
    assert detector.transform(Z).shape[1] == needed


def test_one_row_is_refused(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="2 rows or more"):
        PCADetector().fit(X[:1])


def test_random_state_seeds_the_randomised_solver():
    X = np.random.RandomState(0).normal(size=(600, 80))
    first, again, other = (
        PCADetector(n_components=2, random_state=seed).fit(X).score_samples(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=1e-9)


@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_a_share_of_the_variance_leaves_a_direction_out(n_features):
    X = np.random.RandomState(0).normal(size=(300, n_features))
    detector = PCADetector(n_components=0.999).fit(X)
    assert detector.transform(X).shape == (300, n_features - 1)
    values, vectors = np.linalg.eigh(np.cov(X.T).reshape(n_features, n_features))
    left_out = (X - X.mean(axis=0)) @ vectors[:, np.argmin(values)]
    np.testing.assert_allclose(
        -detector.score_samples(X), left_out**2 / n_features, rtol=1e-5
    )


def test_as_many_components_as_features_are_refused():
    X = np.random.RandomState(0).normal(size=(50, 3))
    with pytest.raises(ValueError, match=r"n_components=3 of 3 .* Lower"):
        PCADetector(n_components=3).fit(X)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_float32_of_any_size_is_taken_as_float64(scale):
    X = (scale * np.random.RandomState(0).normal(size=(100, 3))).astype(np.float32)
    scores = [PCADetector().fit(x).score_samples(X) for x in (X, X.astype(np.float64))]
    np.testing.assert_allclose(*scores, rtol=1e-6)
