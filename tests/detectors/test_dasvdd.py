"""DASVDD against the equations of its paper, computed with NumPy."""

import numpy as np
import pytest
import torch

from skdeepad import DASVDD, AutoencoderDetector
from skdeepad._random import member_seeds
from skdeepad._training import build, prepare
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
    """The initial networks are drawn again from their seeds, the rest is NumPy."""
    X, _ = problem
    detector = make(DASVDD, score_reduction=reduction, n_gamma_init=4, **TINY).fit(X)
    seeds = member_seeds(detector._noise_seed, 4)
    start = build(lambda members: detector._build_network(6, members), seeds)
    ratios = []
    for t in range(4):
        single = make(DASVDD, **TINY).fit(X)
        for name, value in start.state_dict().items():
            single._state[name] = value.numpy()[t : t + 1]
        single._state["center.value"] = np.zeros((1, 1, 2))
        error, distance = parts(single, X)
        ratios.append((getattr(error, reduction)(axis=1) / distance).mean())
    assert detector.gamma_ == pytest.approx(np.mean(ratios), rel=1e-4)


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


def test_gamma_auto_of_a_code_of_one_number_is_warned_of(problem):
    X, _ = problem
    with pytest.warns(UserWarning, match="gamma_ is .* by chance. Give gamma a number"):
        make(DASVDD, latent_dim=1).fit(X)
    make(DASVDD, latent_dim=1, gamma=1.0).fit(X)
    make(DASVDD, latent_dim=2).fit(X)


def test_gamma_auto_refuses_codes_at_zero(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="gamma='auto'"):
        make(DASVDD, hidden_layer_sizes=(2,), latent_dim=None, activation="relu").fit(X)


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


@pytest.mark.parametrize("center", ["trained", "mean"])
def test_center_is_trained_however_small_the_batch(problem, center):
    X, _ = problem
    params = {"center": center, "batch_size": 4, "kappa": 0.99}
    detector = make(DASVDD, **params).fit(X)
    start = make(DASVDD, center_learning_rate=1e-9, **(params | {"center": "trained"}))
    assert "center_distance" in detector.history_
    assert not np.allclose(detector.center_, start.fit(X).center_, atol=1e-3)


@pytest.mark.parametrize("center", ["trained", "mean"])
def test_center_phase_leaves_the_networks_alone(center):
    detector = make(DASVDD, center=center, batch_norm=True, dropout=0.5, gamma=1.0)
    network = build(lambda members: detector._build_network(6, members), [0, 1])
    network.gamma.fill_(detector.gamma)  # as _before_training: memory is as it was
    phase = detector._phases(network)[1]
    prepare(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    phase.step(torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)))
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == (name != "center.value"), name
    assert network.training


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
    reductions = {"loss_reduction": "mean", "score_reduction": "mean"}
    ours = make(DASVDD, gamma=0.0, center="fixed", **reductions, **params)
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


def test_centres_start_as_standard_normal_points_of_each_member(problem):
    X, _ = problem
    params = {"kappa": 1.0, "gamma": 1.0, "latent_dim": 16, "n_estimators": 50}
    centers = make(DASVDD, max_epochs=1, **params).fit(X).center_
    assert abs(centers.mean()) < 0.15
    assert 0.9 < centers.std() < 1.1
    assert len(np.unique(centers)) == centers.size


def test_the_share_of_a_batch_that_trains_the_networks_is_rounded():
    stops = [DASVDD()._first(n).stop for n in (64, 16, 3, 1)]
    assert stops == [58, 14, 2, 1]
