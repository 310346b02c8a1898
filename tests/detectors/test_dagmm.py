"""DAGMM against its formulas, written out, and scikit-learn's Gaussian mixtures."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

import skdeepad._training
from skdeepad import DAGMM
from skdeepad.detectors import _dagmm
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from tests.conftest import make, weights_of

# Layers of one kind, without noise: a mixture that can be had by hand.
PLAIN = {
    "hidden_layer_sizes": (7,),
    "latent_dim": 2,
    "estimation_layer_sizes": (5,),
    "estimation_dropout": 0.0,
}


def described(detector, X, member=0):
    """Reconstructions, rows of the mixture, memberships, of one network; in NumPy."""
    state = weights_of(detector, member)

    def pass_through(part, h):
        indices = sorted(
            int(name.split(".")[-2])
            for name in state
            if name.startswith(part) and name.endswith("weight")
        )
        for index in indices:
            h = h @ state[f"{part}.{index}.weight"] + state[f"{part}.{index}.bias"]
            h = h if index == indices[-1] else np.maximum(h, 0)
        return h

    x = detector.scaler_.transform(X)
    code = pass_through("encoder", x)
    back = pass_through("decoder", code)
    norm, norm_back = (
        np.maximum(np.linalg.norm(rows, axis=1), state["least_norm"])
        for rows in (x, back)
    )
    distance = np.linalg.norm(x - back, axis=1) / norm
    cosine = (x * back).sum(1) / norm / norm_back
    z = np.c_[code, distance, cosine]
    logits = pass_through("estimator.encoder", z)[:, : detector.n_components]
    return x, back, z, softmax(logits, axis=1)


def gaussians(z, memberships, reg_covar):
    """Weights, means and covariance matrices (eq. 5)."""
    weights = memberships.mean(0)
    means = np.array([np.average(z, axis=0, weights=m) for m in memberships.T])
    covariances = [np.cov(z.T, aweights=m, bias=True) for m in memberships.T]
    added = [reg_covar + 1e-10 * np.diag(c).mean() for c in covariances]
    covariances = np.array(covariances) + np.multiply.outer(added, np.eye(z.shape[1]))
    return weights, means, covariances


def energy(z, weights, means, covariances):
    """Equation 6, by SciPy's densities."""
    parts = zip(weights, means, covariances, strict=True)
    densities = [np.log(w) + multivariate_normal(m, c).logpdf(z) for w, m, c in parts]
    return -logsumexp(densities, axis=0)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_score_is_the_energy_of_all_rows_mixture(n_estimators, problem):
    X, y = problem
    params = {"n_components": 3, "n_estimators": n_estimators, "reg_covar": 1e-3}
    detector = make(DAGMM, **PLAIN, **params).fit(X, y)
    energies = []
    for member in range(n_estimators):
        _, _, z, memberships = described(detector, X[y == 1], member)
        mixture = gaussians(z, memberships, 1e-3)
        fitted = detector.weights_, detector.means_, detector.covariances_
        for values, expected in zip(fitted, mixture, strict=True):
            np.testing.assert_allclose(values[member], expected, rtol=1e-8, atol=1e-10)
        energies.append(energy(described(detector, X, member)[2], *mixture))
    np.testing.assert_allclose(
        detector.score_samples(X), -np.mean(energies, 0), rtol=1e-6, atol=1e-6
    )
    x, back, _, _ = described(detector, X)
    if n_estimators == 1:
        np.testing.assert_allclose(detector.feature_errors(X), (x - back) ** 2)


def test_loss_is_the_papers(problem):
    X, _ = problem
    detector = make(
        DAGMM,
        **PLAIN,
        n_components=2,
        energy_weight=0.3,
        covariance_penalty=0.02,
        reg_covar=1e-2,
        learning_rate=1e-30,
        batch_size=len(X),
        max_epochs=1,
    ).fit(X)
    x, back, z, memberships = described(detector, X)
    mixture = gaussians(z, memberships, 1e-2)
    expected = {
        "reconstruction": ((x - back) ** 2).sum(1).mean(),
        "energy": energy(z, *mixture).mean(),
        "inverse_variances": sum((1 / np.diag(c)).sum() for c in mixture[2]),
    }
    expected["loss"] = (
        expected["reconstruction"]
        + 0.3 * expected["energy"]
        + 0.02 * expected["inverse_variances"]
    )
    assert detector.history_.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(detector.history_[name], [value], rtol=1e-4)


def test_energy_is_a_gaussian_mixtures(problem):
    """The log-density of scikit-learn's mixture with the same Gaussians."""
    X, _ = problem
    detector = make(DAGMM, **PLAIN).fit(X)
    mixture = GaussianMixture(n_components=4)
    mixture.weights_ = detector.weights_[0]
    mixture.means_ = detector.means_[0]
    mixture.covariances_ = detector.covariances_[0]
    inverses = np.linalg.inv(mixture.covariances_)
    mixture.precisions_cholesky_ = np.linalg.cholesky(inverses)
    np.testing.assert_allclose(
        detector.score_samples(X),
        mixture.score_samples(described(detector, X)[2]),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_first_part_settles_the_least_norm(problem):
    X, _ = problem
    detector = make(DAGMM).partial_fit(X[:100])
    first = detector._state["least_norm"]
    detector.partial_fit(3 * X[100:])
    np.testing.assert_array_equal(detector._state["least_norm"], first)


def test_least_norm_is_a_tenth_of_the_training_rows(problem):
    X, y = problem
    detector = make(DAGMM).fit(X, y)
    norms = np.linalg.norm(detector.scaler_.transform(X[y == 1]), axis=1)
    expected = 0.1 * np.sqrt(np.mean(norms**2))
    np.testing.assert_allclose(detector._state["least_norm"], [[expected]], rtol=1e-6)


def test_gradients_flow_into_both_networks(problem):
    """The energy alone trains the encoder and the estimation network."""
    X, _ = problem
    start = make(DAGMM, learning_rate=1e-30, max_epochs=1).fit(X)
    trained = make(DAGMM, max_epochs=1).fit(X)
    for name, value in trained._state.items():
        moved = np.any(value != start._state[name])
        assert moved != (name == "least_norm"), name


@pytest.mark.parametrize("standardize", [False, True])
def test_rows_of_zeros_and_equal_rows_are_finite(standardize):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(60, 4)), np.zeros((2, 4))]
    for rows in (X, X - X.mean(0), np.zeros((30, 4)), np.ones((30, 4))):
        detector = make(DAGMM, standardize=standardize).fit(rows)
        assert np.isfinite(detector.score_samples(X)).all()
        assert np.isfinite(detector.history_["loss"]).all()
        np.linalg.cholesky(detector.covariances_)


def test_a_gaussian_without_rows_does_no_harm():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, 20, 3, dtype=torch.float64, generator=generator)
    memberships = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 20, 2)
    memberships = memberships.clone().requires_grad_()
    counts, means = _dagmm._means(_dagmm._sums(z, memberships))
    scatter = _dagmm._scatter(z, memberships, means)
    mixture = DAGMM(reg_covar=1e-3, n_components=2)._mixture(counts, means, scatter)
    values = _dagmm._energy(z, *mixture)
    alone = gaussians(z[0].numpy(), np.ones((20, 1)), 1e-3)
    np.testing.assert_allclose(
        values[0].detach(), energy(z[0].numpy(), *alone), rtol=1e-6
    )
    (gradient,) = torch.autograd.grad(values.sum(), memberships)
    assert gradient.isfinite().all()


def test_reg_covar_is_on_every_variance():
    X = np.ones((20, 3))
    detector = make(DAGMM, reg_covar=0.25).fit(X)
    variances = np.diagonal(detector.covariances_, axis1=2, axis2=3)
    np.testing.assert_allclose(variances, 0.25, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*still improved")
@pytest.mark.parametrize(
    "params, expected",
    [
        ({}, {86}),
        ({"early_stopping": True, "validation_fraction": 130 / 258}, {65, 128}),
    ],
)
def test_no_batch_of_a_few_rows_is_left(params, expected, monkeypatch):
    """Of 258 rows, two would be a mixture that spoils what the others have taught."""
    sizes = set()
    losses = DAGMM._losses

    def noted(self, network, x, code, back):
        sizes.add(x.shape[1])
        return losses(self, network, x, code, back)

    monkeypatch.setattr(DAGMM, "_losses", noted)
    X = np.random.default_rng(0).normal(size=(258, 6))
    make(DAGMM, batch_size=128, max_epochs=2, **params).fit(X)
    assert sizes == expected


@pytest.mark.parametrize("batch_size", [16, 20, 64, 256])
def test_the_last_batch_is_nearly_half_as_large_as_others_or_more(batch_size):
    detector = DAGMM(batch_size=batch_size)
    for n_rows in [*range(1, 3 * batch_size**2, 7), 65281, 65282, 99841]:
        size = detector._n_batch(n_rows)
        assert min(n_rows, batch_size) / 4 < size <= batch_size
        assert (n_rows % size or size) / size > 0.42


@pytest.mark.filterwarnings("ignore:.*have not learned")
@pytest.mark.parametrize("scale", [1e-3, 1e5, 1e6])
def test_features_of_any_scale_have_a_mixture(scale):
    X = scale * np.random.default_rng(0).normal(size=(300, 3))
    for seed in range(3):
        detector = make(DAGMM, standardize=False, random_state=seed).fit(X)
        np.linalg.cholesky(detector.covariances_)
        assert np.isfinite(detector.score_samples(X)).all()


def test_chunks_are_small_beside_many_gaussians():
    network = make(DAGMM, n_components=50, latent_dim=8)._build_network(4, 1)
    assert network.width == 56 * 10


def test_mixture_does_not_depend_on_the_chunks(problem, monkeypatch):
    X, _ = problem
    whole = make(DAGMM).fit(X)
    monkeypatch.setattr(skdeepad._training, "chunk_bytes", lambda _: 2**14)
    chunked = make(DAGMM).fit(X)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(
            getattr(chunked, name), getattr(whole, name), rtol=1e-9, atol=1e-12
        )
    np.testing.assert_array_equal(whole.score_samples(X), chunked.score_samples(X))


def test_partial_fit_takes_the_mixture_from_its_last_rows(problem):
    X, _ = problem
    detector = make(DAGMM, **PLAIN).partial_fit(X[:100]).partial_fit(X[100:])
    _, _, z, memberships = described(detector, X[100:])
    weights, means, _ = gaussians(z, memberships, 1e-6)
    np.testing.assert_allclose(detector.weights_[0], weights, rtol=1e-6)
    np.testing.assert_allclose(detector.means_[0], means, rtol=1e-6, atol=1e-9)


def test_a_failed_fit_keeps_the_mixture(problem):
    X, _ = problem
    detector = make(DAGMM).fit(X)
    before = detector.means_.copy(), detector.score_samples(X)
    with pytest.raises(ValueError, match="diverged"):
        detector.set_params(learning_rate=1e30).fit(X + 1)
    np.testing.assert_array_equal(detector.means_, before[0])
    np.testing.assert_array_equal(detector.score_samples(X), before[1])


@pytest.mark.parametrize(
    "params, message",
    [
        ({"reg_covar": 0.0}, "reg_covar"),
        ({"n_components": 0}, "n_components"),
        ({"estimation_layer_sizes": (0,)}, "estimation_layer_sizes"),
        ({"estimation_dropout": 1.0}, "estimation_dropout"),
    ],
)
def test_bad_parameters(params, message, problem):
    with pytest.raises(ValueError, match=message):
        make(DAGMM, **params).fit(problem[0])


@pytest.mark.parametrize("latent_dim, n_components", [(3, 3), (16, 2), (7, 5)])
def test_a_search_is_grid_searchs_for_any_sizes(latent_dim, n_components):
    """Training is chaotic: differences of last bits would become large ones."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3)) @ rng.normal(size=(3, 8))
    y = np.ones(600)
    X[:60], y[:60] = 2 * X[:60, ::-1], -1
    params = {"latent_dim": latent_dim, "n_components": n_components}
    params["device"] = "cpu"  # where last bits are the same
    results = [
        search(
            make(DAGMM, max_epochs=30, batch_size=100, **params),
            {"learning_rate": [1e-3, 0.01], "energy_weight": [0.1, 1.0]},
            scoring="roc_auc",
            cv=OneClassKFold(3, shuffle=True, random_state=0),
            refit=False,
        )
        .fit(X, y)
        .cv_results_
        for search in (GridSearchCV, BatchedGridSearchCV)
    ]
    for split in range(3):
        name = f"split{split}_test_score"
        np.testing.assert_array_equal(results[1][name], results[0][name])


def test_more_gaussians_need_new_networks(problem):
    X, _ = problem
    detector = make(DAGMM, warm_start=True).fit(X)
    with pytest.raises(ValueError, match="n_components changed"):
        detector.set_params(n_components=2).fit(X)


def test_reconstructions_of_next_to_no_norm_count_as_longer():
    rng = np.random.default_rng(0)
    far = rng.random(300) < 0.1
    X = rng.normal(size=(300, 4)) * np.where(far, 30.0, 0.3)[:, None]
    detector = make(DAGMM, standardize=False, max_epochs=3, **PLAIN).fit(X)
    back = detector.reconstruct(X)
    least = weights_of(detector)["least_norm"]
    assert np.median(np.linalg.norm(back, axis=1)) < least
    norms = [np.linalg.norm(rows, axis=1) for rows in (X, back)]
    cosines = (X * back).sum(1) / np.prod([np.maximum(n, least) for n in norms], axis=0)
    x = torch.tensor(X)[None]
    network = detector._as_fitted()._scoring_network(torch.device("cpu"))
    found = detector._as_fitted()._described(network, x)[0, :, -1]
    np.testing.assert_allclose(found.detach(), cosines, atol=1e-8)
