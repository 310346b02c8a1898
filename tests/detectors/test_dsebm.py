"""DSEBM against its formulas, written out."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skdeepad import DSEBM
from tests.conftest import make, weights_of


def layers_of(detector):
    """Weights and biases of the only network, in float64."""
    state = weights_of(detector)
    names = sorted(name for name in state if name.endswith(".weight"))
    return [(state[name], state[name.replace("weight", "bias")]) for name in names]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def energy_and_slope(detector, x):
    """Of scaled rows, by the chain rule; softplus layers."""
    h, inputs = x, []
    for weight, bias in layers_of(detector):
        inputs.append(h @ weight + bias)
        h = np.logaddexp(0, inputs[-1])
    origin = weights_of(detector)["origin.value"]
    energy = 0.5 * ((x - origin) ** 2).sum(1) - h.sum(1)
    back = np.ones_like(h)
    for (weight, _), before in zip(
        layers_of(detector)[::-1], inputs[::-1], strict=True
    ):
        back = (back * sigmoid(before)) @ weight.T
    return energy, x - origin - back


def test_scores_are_the_energy_and_its_squared_slope(problem):
    X, _ = problem
    params = {"hidden_layer_sizes": (7, 5), "latent_dim": None, "max_epochs": 3}
    detector = make(DSEBM, criterion="energy", **params).fit(X)
    x = detector.scaler_.transform(X)
    energy, slope = energy_and_slope(detector, x)
    np.testing.assert_allclose(detector.score_samples(X), -energy, rtol=1e-6, atol=1e-6)
    by_slope = make(DSEBM, **params).fit(X)
    squares = slope**2
    np.testing.assert_allclose(by_slope.score_samples(X), -squares.sum(1), rtol=1e-6)
    np.testing.assert_allclose(by_slope.feature_errors(X), squares, rtol=1e-6)
    np.testing.assert_allclose(
        detector.reconstruct(X), detector.scaler_.inverse_transform(x - slope)
    )
    assert detector._state["origin.value"].any()  # it is trained


def test_a_normal_distribution_is_learnt_as_bayes_would_have_it():
    """f(x) is the mean of clean rows given a noisy one, and so E is quadratic."""
    X = np.random.default_rng(0).normal(size=(4000, 2))
    detector = DSEBM(
        hidden_layer_sizes=(64,),
        criterion="energy",
        noise_std=1.0,
        max_epochs=60,
        batch_size=256,
        standardize=False,
        random_state=0,
    ).fit(X)
    grid = np.stack(np.meshgrid(*[np.linspace(-1.5, 1.5, 7)] * 2), -1).reshape(-1, 2)
    # With other seeds the largest difference is from 0.06 to 0.12.
    np.testing.assert_allclose(detector.reconstruct(grid), grid / 2, atol=0.15)
    energy = -detector.score_samples(grid)
    expected = (grid**2).sum(1) / 4
    assert np.corrcoef(energy, expected)[0, 1] > 0.95
    np.testing.assert_allclose(np.ptp(energy), np.ptp(expected), rtol=0.3)
    # The least loss there is: the variance that is left, of each feature a half.
    assert 0.95 < detector.history_["loss"][-1] < 1.05


@pytest.mark.parametrize(
    "params, message",
    [
        ({"noise_std": 0.0}, "noise_std"),
        ({"batch_norm": True}, "takes no batch_norm"),
        (
            {
                "architecture": "conv",
                "image_shape": (1, 2, 3),
                "hidden_layer_sizes": (),
                "latent_dim": 2,
            },
            "needs a hidden layer",
        ),
    ],
)
def test_what_has_no_energy_is_refused(params, message, problem):
    with pytest.raises(ValueError, match=message):
        DSEBM(**params).fit(problem[0])


def test_more_noise_makes_a_wider_energy(problem):
    X, _ = problem
    little, much = (
        make(DSEBM, noise_std=s, max_epochs=30).fit(X).reconstruct(X) for s in (0.1, 2)
    )
    assert np.ptp(much, axis=0).sum() < np.ptp(little, axis=0).sum()


def test_convolutional_networks():
    X = np.random.default_rng(0).random((40, 2 * 7 * 5))
    conv = {"architecture": "conv", "image_shape": (2, 7, 5), "n_estimators": 2}
    detector = make(DSEBM, hidden_layer_sizes=(4, 6), latent_dim=3, **conv).fit(X)
    assert detector.reconstruct(X).shape == X.shape
    assert detector.transform(X).shape == (40, 6)
    single = make(DSEBM, hidden_layer_sizes=(4, 6), **(conv | {"n_estimators": 1}))
    slope = (X - single.fit(X).reconstruct(X)) / single.scaler_.scale_
    np.testing.assert_allclose(single.feature_errors(X), slope**2)


def test_the_energy_is_learnt(problem):
    X, y = problem
    params = {"criterion": "energy", "noise_std": 0.5, "batch_size": 16}
    untrained, trained = (
        make(DSEBM, max_epochs=n, learning_rate=lr, **params).fit(X, y)
        for n, lr in ((1, 1e-12), (100, 3e-3))
    )
    aurocs = [roc_auc_score(y, d.score_samples(X)) for d in (untrained, trained)]
    assert aurocs[0] < 0.95 < 0.99 < aurocs[1]


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_held_out_rows_are_noisy_too(problem):
    """Or the loss to stop by would be the one that no energy makes least."""
    X, _ = problem
    detector = make(DSEBM, early_stopping=True, noise_std=1.0, max_epochs=8).fit(X)
    held_out = detector.history_["validation_loss"]
    assert held_out[-1] == pytest.approx(detector.history_["loss"][-1], rel=0.3)


@pytest.mark.parametrize("activation", ["softplus", "elu", "silu", "tanh", "gelu"])
def test_networks_of_odd_sizes_train_as_if_alone(activation, problem):
    """Smooth functions round full vectors and what is left of them alike."""
    X, _ = problem
    params = {"hidden_layer_sizes": (50, 7), "batch_size": 15, "activation": activation}
    params["device"] = "cpu"
    alone = make(DSEBM, **params).fit(X)
    among = make(DSEBM, n_estimators=3, **params).fit(X)
    for name, value in alone._state.items():
        np.testing.assert_array_equal(among._state[name][:1], value, err_msg=name)


def test_weights_start_within_glorots_bound():
    X = np.random.default_rng(0).normal(size=(20, 6))
    params = {"hidden_layer_sizes": (300,), "latent_dim": None, "learning_rate": 1e-30}
    detector = make(DSEBM, max_epochs=1, **params).fit(X)
    ((weight, _),) = layers_of(detector)
    bound = np.sqrt(6 / (6 + 300))
    assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
