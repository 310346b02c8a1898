"""PCADetector against a singular value decomposition."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from skdeepad import PCADetector
from skdeepad.thresholds import Conformal


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


def test_codes_are_coordinates_along_the_components(problem):
    X, _ = problem
    codes = PCADetector(n_components=3).fit(X).transform(X)
    centred = X - X.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(codes), np.abs(centred @ directions.T), atol=1e-6)


def test_share_of_variance(problem):
    X, _ = problem
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    detector = PCADetector(n_components=0.8).fit(Z)
    shares = np.linalg.svd(Z, compute_uv=False) ** 2
    needed = 1 + int(np.argmax(shares.cumsum() / shares.sum() > 0.8))
    assert detector.transform(Z).shape[1] == needed


def test_one_normal_row_is_refused(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="2 normal rows or more"):
        PCADetector().fit(X[:3], [1, -1, -1])
    with pytest.raises(ValueError, match="2 normal rows or more"):
        PCADetector(threshold=Conformal(0.9)).fit(X[:2])


def test_one_row_is_refused(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="2 normal rows or more"):
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


def dependent_columns(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    if kind == "constant":
        return np.c_[X, np.full(80, 5.0)]
    if kind == "copied":
        return np.c_[X, 0.1 * X[:, 0] + 7]
    return np.c_[X[:, 0], np.eye(3)[rng.integers(0, 3, size=80)]]


@pytest.mark.parametrize("kind", ["constant", "copied", "one-hot"])
@pytest.mark.parametrize("n_components", [0.9, 1 - 1e-12])
def test_columns_that_depend_linearly_leave_a_direction_out_too(kind, n_components):
    X = dependent_columns(kind)
    detector = PCADetector(n_components=n_components).fit(X)
    assert detector.pca_.n_components_ == 2
    scores = detector.score_samples(X)
    assert scores.max() < 0
    alone = [detector.score_samples(row[None])[0] for row in X]
    np.testing.assert_array_equal(scores, alone)
    # The direction left out is the one of the least variance that there is.
    residual = PCA().fit(X).transform(X)[:, 2]
    np.testing.assert_allclose(scores, -(residual**2) / 4, rtol=1e-5)


@pytest.mark.parametrize("kind", ["constant", "copied", "one-hot"])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_rows_on_all_their_components_have_no_error(kind, scale):
    X = dependent_columns(kind) * scale
    detector = PCADetector(n_components=3).fit(X)
    assert not detector.score_samples(X).any()
    assert (detector.predict(X) == 1).all()
    off = X + scale * 1e-6 * np.array([1, 0.3, 0.2, 0.5])
    assert (detector.predict(off) == -1).all()


def test_rows_that_are_all_equal():
    detector = PCADetector().fit(np.ones((9, 2)))
    assert detector.predict([[1, 1], [1, 2]]).tolist() == [1, -1]


@pytest.mark.parametrize("offset", [1e7, 1e9])
def test_a_mean_far_from_zero_leaves_the_digits_of_the_spread(offset):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 6))
    X += 0.05 * rng.normal(size=X.shape)
    expected = PCADetector().fit(X)
    detector = PCADetector().fit(X + offset)
    np.testing.assert_allclose(
        detector.score_samples(X + offset), expected.score_samples(X), rtol=0.01
    )
    np.testing.assert_allclose(
        detector.reconstruct(X + offset) - offset, expected.reconstruct(X), atol=1e-5
    )


@pytest.mark.parametrize("far", [1e200, 1.7e308])
def test_rows_whose_errors_would_be_no_numbers_are_as_far_as_any(far, problem):
    X, _ = problem
    detector = PCADetector(n_components=2).fit(X)
    row = np.array([far, -far, *X[0, 2:]])[None]
    score = detector.score_samples(row)
    assert -np.inf < score < -1e290
    np.testing.assert_allclose(detector.feature_errors(row).sum(), -score[0], rtol=1e-6)
    farthest = np.array([1.1e150, -1.1e150, *X[0, 2:]])[None]
    np.testing.assert_allclose(detector.score_samples(farthest), score, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, 1e9, 1e12])
def test_rounding_of_a_mean_far_off_is_no_error(offset):
    rng = np.random.default_rng(0)
    direction = rng.normal(size=5)
    X = np.round(rng.normal(size=(100, 1)), 3) * direction + offset
    detector = PCADetector(n_components=1).fit(X)
    assert not detector.score_samples(X).any()
    assert not any(detector.score_samples(X[i : i + 1]).any() for i in range(20))
    across = np.roll(direction, 1)
    assert (detector.predict(X + across) == -1).all()


def test_a_large_constant_feature_leaves_small_errors_of_others():
    rng = np.random.default_rng(0)
    X = 1e-8 * rng.normal(size=(100, 4)) @ np.diag([1, 1, 0.1, 0.1])
    expected = PCADetector(n_components=2).fit(X).score_samples(X)
    X = np.c_[X, np.full(100, 1e9)]
    scores = PCADetector(n_components=2).fit(X).score_samples(X)
    np.testing.assert_allclose(scores * 5 / 4, expected, rtol=1e-5)


def test_rounding_in_many_features_is_no_error():
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(250, 90)), 3) @ rng.normal(size=(90, 1000))
    assert not PCADetector(n_components=90).fit(X).score_samples(X).any()


@pytest.mark.parametrize("n_features, seed", [(3, 2), (5, 17)])
def test_rounding_of_rows_near_the_mean_is_that_of_all(n_features, seed):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(n_features - 1, n_features))
    X = np.round(rng.normal(size=(250, n_features - 1)), 3) @ axes
    detector = PCADetector(n_components=n_features - 1).fit(X)
    assert not detector.score_samples(X).any()


def test_a_distance_that_is_no_number_is_as_far_as_any(problem):
    X = np.c_[problem[0], np.full(200, -1.7e308)]
    detector = PCADetector(n_components=2).fit(X)
    X[0, -1] = 1.7e308
    assert -np.inf < detector.score_samples(X[:1])[0] < -1e290


@pytest.mark.parametrize("scale", [1e-100, 1e149, 1e151])
def test_rows_of_any_scale_are_ranked_alike(scale, problem):
    X, y = problem
    expected = PCADetector(n_components=2).fit(X[y == 1])
    detector = PCADetector(n_components=2).fit(X[y == 1] * scale)
    np.testing.assert_allclose(
        detector.score_samples(X * scale) / scale / scale,
        expected.score_samples(X),
        rtol=1e-6,
        atol=1e-12,
    )
    far = np.full((1, X.shape[1]), 1e200)
    np.testing.assert_allclose(expected.transform(far), expected.transform(far / 2) * 2)
