"""AutoencoderDetector against independent computations."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import mean_squared_error

from skdeepad import AutoencoderDetector
from tests.conftest import make


def test_score_is_the_mean_squared_error(problem):
    """Sensitivity paper, eq. 1 and 3, from the public reconstruction."""
    X, _ = problem
    detector = make(AutoencoderDetector, standardize=False).fit(X)
    error = [
        mean_squared_error(*rows)
        for rows in zip(X, detector.reconstruct(X), strict=True)
    ]
    np.testing.assert_allclose(detector.score_samples(X), -np.array(error), rtol=1e-6)
    np.testing.assert_allclose(
        detector.feature_errors(X).sum(axis=1), error, rtol=1e-10
    )


def test_members_are_averaged(problem):
    X, _ = problem
    params = {"hidden_layer_sizes": (4,), "latent_dim": None}
    detector = make(AutoencoderDetector, n_estimators=3, **params).fit(X)
    Z = detector.scaler_.transform(X)
    state, errors = detector._state, []
    for i in range(3):
        code = np.maximum(
            Z @ state["encoder.0.weight"][i] + state["encoder.0.bias"][i], 0
        )
        output = code @ state["decoder.0.weight"][i] + state["decoder.0.bias"][i]
        errors.append(((output - Z) ** 2).mean(axis=1))
    np.testing.assert_allclose(
        detector.score_samples(X), -np.mean(errors, axis=0), rtol=1e-6
    )


def test_linear_autoencoder_finds_the_principal_components():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(
        size=(400, 5)
    )
    X -= X.mean(axis=0)
    detector = AutoencoderDetector(
        hidden_layer_sizes=(),
        latent_dim=2,
        standardize=False,
        max_epochs=150,
        learning_rate=1e-2,
        random_state=0,
    ).fit(X)
    pca = PCA(2).fit(X)
    expected = ((pca.inverse_transform(pca.transform(X)) - X) ** 2).mean()
    assert -detector.score_samples(X).mean() == pytest.approx(expected, rel=0.02)


def test_denoising_target_is_clean(problem):
    """Noise as large as the data: the best output shrinks, and is not the identity."""
    X, _ = problem
    params = {"hidden_layer_sizes": (32,), "max_epochs": 60, "learning_rate": 1e-2}
    clean = make(AutoencoderDetector, **params).fit(X)
    noisy = make(AutoencoderDetector, noise_std=1.0, **params).fit(X)
    spread = [d.scaler_.transform(d.reconstruct(X)).std() for d in (clean, noisy)]
    assert spread[0] > 0.95
    assert spread[1] < 0.9
