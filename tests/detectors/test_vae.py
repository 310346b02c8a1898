"""VAEDetector against the equations of the ED-VAE paper, computed with SciPy."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from skdeepad import VAEDetector
from skdeepad._nn import GaussianNoise
from skdeepad.detectors._vae import _kl_divergence, _Posterior
from tests.conftest import make


def posterior(detector, X):
    """Mean and standard deviation of the code, from the arrays of the state."""
    state = detector._state
    hidden = np.maximum(
        X @ state["encoder.0.weight"][0] + state["encoder.0.bias"][0], 0
    )
    head = hidden @ state["encoder.2.weight"][0] + state["encoder.2.bias"][0]
    mean, log_std = np.split(head, 2, axis=1)
    return mean, np.exp(log_std)


def decode(detector, z):
    state = detector._state
    hidden = np.maximum(
        z @ state["decoder.0.weight"][0] + state["decoder.0.bias"][0], 0
    )
    return hidden @ state["decoder.2.weight"][0] + state["decoder.2.bias"][0]


@pytest.fixture
def fitted(problem):
    X, _ = problem
    X = (X - X.min(0)) / np.ptp(X, axis=0)

    def fit(**params):
        params = {
            "hidden_layer_sizes": (8,),
            "latent_dim": 2,
            "standardize": False,
        } | params
        return make(VAEDetector, **params).fit(X), X

    return fit


def test_kl_divergence_is_the_integral():
    mean, std = 0.7, 0.4
    q, p = stats.norm(mean, std), stats.norm()
    expected, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -5, 6
    )
    kl = _kl_divergence(torch.tensor([[[mean]]]), torch.tensor([[[std]]]).log())
    assert kl.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_expected_latent_elbo(fitted, beta):
    """Eq. 17 and 19: log p(x | z = mean) - beta KL."""
    detector, X = fitted(beta=beta, criterion="elbo")
    mean, std = posterior(detector, X)
    log_likelihood = stats.norm(decode(detector, mean)).logpdf(X).sum(axis=1)
    kl = (0.5 * (mean**2 + std**2 - 1) - np.log(std)).sum(axis=1)
    np.testing.assert_allclose(
        detector.score_samples(X), log_likelihood - beta * kl, rtol=1e-5
    )


def test_expected_latent_reconstruction(fitted):
    """Eq. 15, and feature errors that add up to it."""
    detector, X = fitted(criterion="reconstruction")
    mean, _ = posterior(detector, X)
    log_likelihood = stats.norm(decode(detector, mean)).logpdf(X)
    np.testing.assert_allclose(
        detector.score_samples(X), log_likelihood.sum(axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(detector.feature_errors(X), -log_likelihood, rtol=1e-4)
    np.testing.assert_allclose(
        detector.reconstruct(X), decode(detector, mean), rtol=1e-3
    )
    np.testing.assert_allclose(detector.transform(X), mean, rtol=1e-3, atol=1e-6)


def test_bernoulli_likelihood(fitted):
    detector, X = fitted(likelihood="bernoulli", criterion="reconstruction")
    mean, _ = posterior(detector, X)
    p = 1 / (1 + np.exp(-decode(detector, mean)))
    expected = (X * np.log(p) + (1 - X) * np.log(1 - p)).sum(axis=1)
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-5)
    np.testing.assert_allclose(detector.reconstruct(X), p, rtol=1e-4)
    with pytest.raises(ValueError, match=r"needs X in \[0, 1\]"):
        detector.fit(X + 1)
    with pytest.raises(ValueError, match=r"needs X in \[0, 1\]"):
        detector.score_samples(X + 1)
    with pytest.raises(ValueError, match="squashes the output itself"):
        detector.set_params(output_activation="sigmoid").fit(X)


def test_many_samples_estimate_the_expectation(fitted):
    """Eq. 6 with L samples: for a Gaussian decoder and a linear one, known exactly."""
    detector, X = fitted(
        hidden_layer_sizes=(),
        scoring="multi_sample",
        n_samples=2000,
        criterion="reconstruction",
    )
    state = detector._state
    head = X @ state["encoder.0.weight"][0] + state["encoder.0.bias"][0]
    mean, log_std = np.split(head, 2, axis=1)
    weight, bias = state["decoder.0.weight"][0], state["decoder.0.bias"][0]
    squared = (X - mean @ weight - bias) ** 2
    variance = np.exp(2 * log_std) @ weight**2
    expected = -0.5 * (squared + variance + np.log(2 * np.pi)).sum(axis=1)
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=0.05)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_the_divergence_is_weighted_in_training(architecture, problem):
    X, _ = problem
    params = {"hidden_layer_sizes": (4,), "latent_dim": 2}
    params |= {"max_epochs": 30, "learning_rate": 0.02}
    if architecture == "conv":
        params |= {"architecture": "conv", "image_shape": (1, 2, 3)}
    divergence = {}
    for beta in (0.01, 30.0):
        history = make(VAEDetector, beta=beta, **params).fit(X).history_
        np.testing.assert_allclose(
            history["loss"], history["reconstruction"] + beta * history["kl"], rtol=1e-5
        )
        divergence[beta] = history["kl"]
    assert divergence[0.01][-1] > 0.5 > 0.01 > divergence[30.0][-1]


def test_samples_repeat_and_belong_to_the_row(fitted):
    detector, X = fitted(scoring="sample")
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(detector.score_samples(X[7:30]), scores[7:30])
    detector._noise_seed += 1  # of the same networks
    assert not np.allclose(detector.score_samples(X), scores)
    expected, _ = fitted()
    assert not np.allclose(expected.score_samples(X), scores)


@pytest.mark.parametrize("params", [{}, {"beta": 0.0}, {"scoring": "sample"}])
def test_scores_of_extreme_rows_stay_finite(fitted, params):
    detector, X = fitted(**params)
    extreme = np.r_[X[:1] * 1e4, X[:1] + 1e6, X[:1] * 1e300]
    assert np.isfinite(detector.score_samples(extreme)).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_far_row_does_not_drown_the_others(seed):
    X = np.random.default_rng(0).normal(size=(400, 6))
    X[0] = 1000.0
    params = {"standardize": False, "max_epochs": 20, "random_state": seed}
    kl = make(VAEDetector, **params).fit(X).history_["kl"]
    # At most that of its posterior's bound, and of its mean; others have about one.
    bound = 0.5 * np.exp(2 * 5) * 16 / len(X)
    assert kl.max() < 10 * bound


def test_training_lowers_the_negative_elbo_and_trains_the_posterior(problem):
    X, _ = problem
    detector = make(VAEDetector, max_epochs=40, latent_dim=2).fit(X)
    history = detector.history_
    assert history["loss"][-1] < 0.95 * history["loss"][0]
    np.testing.assert_allclose(
        history["loss"], history["reconstruction"] + history["kl"], rtol=1e-5
    )
    assert history["kl"][-1] > 0.5


def test_beta_of_all_and_of_each_member_round_alike():
    codes = torch.randn(3, 100, 8, generator=torch.Generator().manual_seed(0))
    gradient = torch.zeros(3, 100, 4)
    results = []
    for beta in (0.7, torch.full((3,), 0.7)):
        noise = GaussianNoise()
        noise.noise_like = torch.ones_like
        posterior = _Posterior(noise, beta)
        _, saved = posterior.record(codes)
        results.append(posterior.backward(gradient, saved, True))
    np.testing.assert_array_equal(*results)


def test_samples_are_each_members_own(problem):
    X, _ = problem
    detector = make(VAEDetector, scoring="sample", n_estimators=2, latent_dim=8).fit(X)
    x = torch.tensor(detector._scale(X)).expand(2, -1, -1)
    zeros = x.new_zeros(2, len(X), 8)
    (first, second) = next(detector._code_samples(zeros, zeros, x))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
