"""DASVDD against the equations of its paper, computed with NumPy."""

import numpy as np
import pytest

from skdeepad import DASVDD, AutoencoderDetector
from tests.conftest import make

TINY = {"hidden_layer_sizes": (5,), "latent_dim": 2, "activation": "tanh"}


def parts(detector, X):
    """Squared error of each feature and squared distance, from the state's arrays."""
    Z, state = detector.scaler_.transform(X), detector._state

    def layer(x, name):
        return x @ state[f"{name}.weight"][0] + state[f"{name}.bias"][0]

    z = layer(np.tanh(layer(Z, "encoder.0")), "encoder.2")
    output = layer(np.tanh(layer(z, "decoder.0")), "decoder.2")
    return (output - Z) ** 2, ((z - detector.center_[0]) ** 2).sum(axis=1)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_score_is_equation_2(problem, reduction):
    X, _ = problem
    detector = make(DASVDD, gamma=0.7, score_reduction=reduction, **TINY).fit(X)
    error, distance = parts(detector, X)
    expected = getattr(error, reduction)(axis=1) + 0.7 * distance
    np.testing.assert_allclose(-detector.score_samples(X), expected, rtol=1e-5)
    np.testing.assert_allclose(
        detector.feature_errors(X).sum(axis=1),
        getattr(error, reduction)(axis=1),
        rtol=1e-5,
    )
    assert detector.gamma_ == pytest.approx(0.7)
    assert detector.center_.shape == (1, 2)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_loss_is_equation_3(problem, reduction):
    """With steps too small to move anything, the history is the loss of the data."""
    X, _ = problem
    detector = make(
        DASVDD,
        gamma=0.7,
        loss_reduction=reduction,
        learning_rate=1e-12,
        center="fixed",
        max_epochs=1,
        **TINY,
    ).fit(X)
    error, distance = parts(detector, X)
    history = detector.history_
    error = getattr(error, reduction)(axis=1).mean()
    assert history["reconstruction"][0] == pytest.approx(error, rel=1e-4)
    assert history["distance"][0] == pytest.approx(distance.mean(), rel=1e-4)
    loss = error + 0.7 * distance.mean()
    assert history["loss"][0] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gamma_auto_is_equation_6(problem, reduction):
    """The ratio of untrained detectors with the centre at zero, averaged."""
    X, _ = problem
    params = TINY | {"score_reduction": reduction, "batch_norm": False}
    gammas = [
        make(DASVDD, n_gamma_init=1, random_state=s, **params).fit(X).gamma_
        for s in range(30)
    ]
    untrained = params | {
        "learning_rate": 1e-12,
        "center_learning_rate": 1e-12,
        "max_epochs": 1,
    }
    ratios = []
    for seed in range(30):
        detector = make(DASVDD, gamma=1.0, random_state=100 + seed, **untrained).fit(X)
        detector._state["center.value"][:] = 0
        error, distance = parts(detector, X)
        ratios.append((getattr(error, reduction)(axis=1) / distance).mean())
    # Two samples of the same distribution, which is wide: compare the logarithms.
    log_gammas, log_ratios = np.log(gammas), np.log(ratios)
    spread = np.hypot(log_gammas.std(), log_ratios.std()) / np.sqrt(30)
    assert abs(log_gammas.mean() - log_ratios.mean()) < 3 * spread


def test_gamma_auto_averages_over_initializations(problem):
    X, _ = problem
    spread = [
        np.std(
            [
                make(DASVDD, n_gamma_init=n, random_state=s, max_epochs=1).fit(X).gamma_
                for s in range(8)
            ]
        )
        for n in (1, 20)
    ]
    assert spread[1] < 0.5 * spread[0]


def test_gamma_auto_refuses_codes_at_zero(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="gamma='auto'"):
        make(DASVDD, hidden_layer_sizes=(2,), activation="relu").fit(X)


def test_trained_center_moves_to_the_codes(problem):
    X, _ = problem
    start = make(DASVDD, center_learning_rate=1e-9, max_epochs=1).fit(X).center_
    detector = make(DASVDD, max_epochs=20).fit(X)
    codes = detector.transform(X).mean(axis=0)
    distance = [np.linalg.norm(c - codes) for c in (start, detector.center_)]
    assert distance[1] < 0.1 * distance[0]


def test_center_follows_torchs_adagrad(problem):
    """One step from the start: c - lr * g / (|g| + eps) is a step of size lr."""
    X, _ = problem
    params = {"max_epochs": 1, "batch_size": 1000, "kappa": 0.5}
    still = make(DASVDD, center_learning_rate=1e-9, **params).fit(X).center_
    moved = make(DASVDD, center_learning_rate=0.25, **params).fit(X).center_
    np.testing.assert_allclose(np.abs(moved - still), 0.25, rtol=1e-3)


def test_mean_center_is_equation_4(problem):
    """One batch, the networks standing still: the mean code of the last rows."""
    X, _ = problem
    detector = make(
        DASVDD,
        center="mean",
        kappa=0.005,
        learning_rate=1e-12,
        max_epochs=1,
        batch_size=len(X),
    ).fit(X)
    # One row of 200 trains the networks; the centre is the mean of the other 199.
    codes = detector.transform(X)
    rests = (codes.sum(axis=0) - codes) / (len(X) - 1)
    nearest = np.abs(rests - detector.center_).max(axis=1).min()
    assert nearest < 1e-5
    assert "center_distance" in detector.history_


def test_fixed_center_is_the_mean_code_of_the_start(problem):
    X, _ = problem
    untrained = make(DASVDD, center="fixed", learning_rate=1e-12, max_epochs=1).fit(X)
    trained = make(DASVDD, center="fixed").fit(X)
    np.testing.assert_allclose(trained.center_, untrained.center_, rtol=1e-5)
    np.testing.assert_allclose(
        untrained.center_[0], untrained.transform(X).mean(axis=0), atol=1e-5
    )


def test_kappa_one_leaves_the_center_alone(problem):
    X, _ = problem
    trained = make(DASVDD, kappa=1.0).fit(X)
    fewer = make(DASVDD, kappa=1.0, max_epochs=1).fit(X)
    np.testing.assert_array_equal(trained.center_, fewer.center_)
    assert "center_distance" not in trained.history_


def test_gamma_zero_is_an_autoencoder(problem):
    X, _ = problem
    params = {"hidden_layer_sizes": (8, 3), "activation": "leaky_relu"}
    ours = make(DASVDD, gamma=0.0, center="fixed", loss_reduction="mean", **params)
    plain = make(AutoencoderDetector, **params)
    np.testing.assert_allclose(
        ours.fit(X).score_samples(X), plain.fit(X).score_samples(X), rtol=1e-4
    )


def test_hypersphere_does_not_collapse(problem):
    """The codes of different rows stay apart, although their spread is punished."""
    X, _ = problem
    detector = make(DASVDD, max_epochs=100).fit(X)
    codes = detector.transform(X)
    assert codes.std(axis=0).max() > 1e-2
    assert detector.history_["reconstruction"][-1] < 0.5 * X.shape[1]
