"""LatentAutoregressionDetector against its formulas, written out."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from skdeepad import LatentAutoregressionDetector
from skdeepad._training import build
from tests.conftest import make, weights_of

SMALL = {
    "hidden_layer_sizes": (7,),
    "latent_dim": 3,
    "estimation_layer_sizes": (4,),
    "n_bins": 5,
}


def parts(detector, X, member=0):
    """Squared errors of each feature, and surprisals, of one network; in NumPy."""
    state = weights_of(detector, member)

    def linear(name, h):
        return h @ state[f"{name}.weight"] + state[f"{name}.bias"]

    x = detector.scaler_.transform(X)
    code = expit(linear("encoder.2", np.maximum(linear("encoder.0", x), 0)))
    back = linear("decoder.2", np.maximum(linear("decoder.0", code), 0))
    surprisal = 0.0
    h = code[:, :, None]
    for layer in (0, 2):
        weight = state[f"estimator.layers.{layer}.weight"]
        bias = state[f"estimator.layers.{layer}.bias"].reshape(3, -1)
        outputs = [
            bias[i] + sum(h[:, j] @ weight[j, :, i] for j in range(i + (layer > 0)))
            for i in range(3)
        ]
        outputs = np.stack([np.broadcast_to(o, (len(X), o.shape[-1])) for o in outputs])
        h = outputs.transpose(1, 0, 2)
        h = np.maximum(h, 0) if layer == 0 else h
    log_p = log_softmax(h, axis=2)
    bins = np.minimum((code * 5).astype(int), 4)
    surprisal = -np.take_along_axis(log_p, bins[:, :, None], 2).sum((1, 2))
    return (x - back) ** 2, surprisal


def test_score_is_the_scaled_error_and_surprisal(problem):
    X, y = problem
    detector = make(LatentAutoregressionDetector, n_estimators=2, **SMALL).fit(X, y)
    scores = []
    for member in range(2):
        errors, surprisal = parts(detector, X, member)
        score = 0.0
        for values, fitted in (
            (errors.sum(1), detector.error_range_),
            (surprisal, detector.surprisal_range_),
        ):
            least, largest = values[y == 1].min(), values[y == 1].max()
            np.testing.assert_allclose(fitted[member], [least, largest], rtol=1e-6)
            score += (values - least) / (largest - least)
        scores.append(score)
    np.testing.assert_allclose(
        detector.score_samples(X), -np.mean(scores, 0), rtol=1e-5, atol=1e-6
    )


def test_loss_is_the_papers(problem):
    X, _ = problem
    detector = make(
        LatentAutoregressionDetector,
        surprisal_weight=0.3,
        learning_rate=1e-30,
        batch_size=len(X),
        max_epochs=1,
        **SMALL,
    ).fit(X)
    errors, surprisal = parts(detector, X)
    expected = {
        "loss": errors.sum(1).mean() + 0.3 * surprisal.mean(),
        "reconstruction": errors.sum(1).mean(),
        "surprisal": surprisal.mean(),
    }
    assert detector.history_.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(detector.history_[name], [value], rtol=1e-5)
    np.testing.assert_allclose(detector.feature_errors(X), errors, rtol=1e-6)


def test_surprisal_trains_the_encoder_too(problem):
    """By way of the numbers that others are predicted from: all but the last."""
    X, _ = problem
    network = make(LatentAutoregressionDetector, **SMALL)._build_network(6, 1)
    network = build(lambda k: network, [0])
    code = torch.rand(1, 9, 3, generator=torch.Generator()).requires_grad_()
    surprisal = make(LatentAutoregressionDetector, **SMALL)._surprisal(network, code)
    (gradient,) = torch.autograd.grad(surprisal.sum(), code)
    assert gradient[:, :, :2].all() and not gradient[:, :, 2].any()
    start, little, much = (
        make(LatentAutoregressionDetector, **SMALL, **params).fit(X)._state
        for params in (
            {"learning_rate": 1e-30},
            {"surprisal_weight": 1e-3},
            {"surprisal_weight": 10.0},
        )
    )
    for name in start:
        assert np.any(little[name] != start[name]), name
        assert not np.allclose(much[name], little[name], atol=1e-4), name


def test_the_codes_activation_takes_the_place_of_the_last_layers(problem):
    X, _ = problem
    detector = make(
        LatentAutoregressionDetector,
        **SMALL | {"hidden_layer_sizes": (7, 3), "latent_dim": None},
    ).fit(X)
    w, x = weights_of(detector), detector.scaler_.transform(X)
    hidden = np.maximum(x @ w["encoder.0.weight"] + w["encoder.0.bias"], 0)
    code = expit(hidden @ w["encoder.2.weight"] + w["encoder.2.bias"])
    np.testing.assert_allclose(detector.transform(X), code, rtol=1e-6)


def test_codes_are_in_the_unit_interval(problem):
    X, _ = problem
    for latent_dim in (3, None):
        detector = make(
            LatentAutoregressionDetector,
            latent_dim=latent_dim,
            hidden_layer_sizes=(6, 4),
        ).fit(X)
        codes = detector.transform(1e3 * X)
        assert codes.shape == (len(X), latent_dim or 4)
        assert codes.min() >= 0 and codes.max() <= 1
        assert np.isfinite(detector.score_samples(1e3 * X)).all()


def test_a_code_of_one_is_in_the_last_bin(problem):
    X, _ = problem
    detector = make(LatentAutoregressionDetector, **SMALL).fit(X)
    network = detector._scoring_network(torch.device("cpu"))
    codes = torch.tensor([[[1.0, 1.0, 1.0], [0.9, 0.9, 0.9]]], dtype=torch.float64)
    log_p = network.estimator(codes).log_softmax(3)
    np.testing.assert_allclose(
        detector._surprisal(network, codes).detach(),
        -log_p[..., 4].sum(2).detach(),
    )


@pytest.mark.parametrize("shape", [(20, 3), (50, 3), (64, 8), (100, 5)])
def test_equal_training_rows_have_no_range_to_divide_by(shape):
    X = np.ones(shape)
    detector = LatentAutoregressionDetector(max_epochs=3, random_state=0).fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), np.zeros(len(X)))
    np.testing.assert_array_equal(detector.predict(X), np.ones(len(X)))
    assert detector.predict(X[:1]) == 1
    far = X.copy()
    far[:, 2] += 5
    far = detector.score_samples(far)
    assert np.isfinite(far).all() and (far < 0).all()


@pytest.mark.parametrize("n_rows", [2, 3, 5, 20])
def test_a_row_at_the_end_of_the_range_scores_alike_alone(n_rows):
    for seed in range(8):
        X = np.random.default_rng(seed).normal(size=(n_rows, 5))
        detector = make(LatentAutoregressionDetector, random_state=seed).fit(X)
        alone = [detector.score_samples(X[i : i + 1])[0] for i in range(n_rows)]
        np.testing.assert_array_equal(detector.score_samples(X), alone)


def test_partial_fit_takes_the_ranges_from_its_last_rows(problem):
    X, _ = problem
    detector = make(LatentAutoregressionDetector, **SMALL)
    detector.partial_fit(X[:100]).partial_fit(X[100:])
    error = parts(detector, X[100:])[0].sum(1)
    expected = [[error.min(), error.max()]]
    np.testing.assert_allclose(detector.error_range_, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "params, message",
    [({"n_bins": 1}, "n_bins"), ({"surprisal_weight": 0.0}, "surprisal_weight")],
)
def test_bad_parameters(params, message, problem):
    with pytest.raises(ValueError, match=message):
        make(LatentAutoregressionDetector, **params).fit(problem[0])
