"""OCGAN against its losses, written out, and what they are for."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.stats import kstest

from skdeepad import OCGAN
from skdeepad._training import build
from tests.conftest import make, weights_of

SMALL = {
    "hidden_layer_sizes": (7,),
    "latent_dim": 3,
    "latent_critic_layer_sizes": (5,),
    "activation": "tanh",
}


class Networks:
    """The networks of one member, in NumPy."""

    def __init__(self, detector):
        self._state = weights_of(detector)

    def _linear(self, name, h):
        return h @ self._state[f"{name}.weight"] + self._state[f"{name}.bias"]

    def encode(self, x):
        hidden = np.tanh(self._linear("encoder.0", x))
        return np.tanh(self._linear("encoder.2", hidden))

    def decode(self, code):
        return self._linear("decoder.2", np.tanh(self._linear("decoder.0", code)))

    def logit(self, critic, rows):
        name = f"critics.{critic}.encoder"
        return self._linear(f"{name}.2", np.tanh(self._linear(f"{name}.0", rows)))[:, 0]


def cross_entropy(logits, label):
    p = 1 / (1 + np.exp(-logits))
    return -np.log(p if label else 1 - p)


def untrained(X, **params):
    """A detector after a step of no size, whose losses are those of its weights."""
    quick = {"learning_rate": 1e-30, "batch_size": len(X), "max_epochs": 1}
    return make(OCGAN, **(SMALL | quick | params)).fit(X)


@pytest.mark.parametrize("n_mining_steps", [0, 1, 4])
def test_losses_are_the_papers(problem, monkeypatch, n_mining_steps):
    X, _ = problem
    points = np.random.default_rng(1).uniform(-1, 1, (len(X), 3)).round(3)

    def given(self, network, x):
        network.drawn = x.new_tensor(points)[None]
        return network.drawn

    monkeypatch.setattr(OCGAN, "_draw", given)
    detector = untrained(
        X,
        noise_std=0.0,
        reconstruction_weight=3.0,
        mining_rate=8.0,
        n_mining_steps=n_mining_steps,
    )
    nets, x = Networks(detector), detector.scaler_.transform(X)
    codes = nets.encode(x)
    back, decoded = nets.decode(codes), nets.decode(points)

    def told_apart(critic, normal, others):
        return 0.5 * (
            cross_entropy(nets.logit(critic, normal), 1).mean()
            + cross_entropy(nets.logit(critic, others), 0).mean()
        )

    def of_no_row(points):
        return cross_entropy(nets.logit("classifier", nets.decode(points)), 0)

    mined, h = points, 1e-6
    for _ in range(n_mining_steps):
        slopes = [
            (of_no_row(mined + step) - of_no_row(mined - step)) / (2 * h)
            for step in h * np.eye(3)
        ]
        mined = np.clip(mined - 8.0 * np.transpose(slopes), -1, 1)
    expected = {
        "reconstruction": ((back - x) ** 2).sum(1).mean(),
        "latent": cross_entropy(nets.logit("latent", codes), 1).mean(),
        "visual": cross_entropy(nets.logit("visual", nets.decode(mined)), 1).mean(),
        "latent_critic": told_apart("latent", points, codes),
        "visual_critic": told_apart("visual", x, decoded),
        "classifier": told_apart("classifier", back, decoded),
    }
    expected["loss"] = sum(
        weight * expected[name]
        for name, weight in (("reconstruction", 3.0), ("latent", 1), ("visual", 1))
    )
    expected["critics"] = sum(
        expected[name] for name in ("latent_critic", "visual_critic", "classifier")
    )
    assert detector.history_.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(detector.history_[name], [value], rtol=1e-5)
    if n_mining_steps:
        assert of_no_row(mined).mean() < of_no_row(points).mean() - 1e-3


def test_the_target_of_noisy_rows_is_clean(problem, monkeypatch):
    X, _ = problem
    monkeypatch.setattr(OCGAN, "_noisy", lambda self, network, x: x + self.noise_std)
    detector = untrained(X, noise_std=0.5)
    nets, x = Networks(detector), detector.scaler_.transform(X)
    back = nets.decode(nets.encode(x + 0.5))
    expected = ((back - x) ** 2).sum(1).mean()
    np.testing.assert_allclose(
        detector.history_["reconstruction"], [expected], rtol=1e-5
    )


def test_score_is_the_squared_error_of_rows_without_noise(problem):
    X, _ = problem
    detector = make(OCGAN, **SMALL).fit(X)
    nets, x = Networks(detector), detector.scaler_.transform(X)
    errors = (nets.decode(nets.encode(x)) - x) ** 2 / 6
    np.testing.assert_allclose(detector.feature_errors(X), errors, rtol=1e-6)
    np.testing.assert_allclose(detector.score_samples(X), -errors.sum(1), rtol=1e-6)
    assert (np.abs(detector.transform(X)) < 1).all()


def test_each_turn_trains_its_own_networks(problem):
    X, _ = problem
    detector = make(OCGAN, **SMALL)
    network = build(lambda k: detector._build_network(6, k), [0])
    network.train()
    for layer in (network.noise, network.points):
        layer.seed([0], lambda seeds: [torch.Generator().manual_seed(0)], 2)
    x = torch.tensor(X[None], dtype=torch.float32)
    critics, autoencoder = detector._phases(network)

    def moved(phase):
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        phase.step(x)
        return {n for n, p in network.named_parameters() if not p.equal(before[n])}

    names = {name for name, _ in network.named_parameters()}
    assert moved(critics) == {name for name in names if name.startswith("critics")}
    assert moved(autoencoder) == {n for n in names if not n.startswith("critics")}


def test_codes_fill_the_cube_and_what_is_decoded_is_normal():
    """What the two discriminators are for: less so where they hardly count."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 5))
    X += 0.05 * rng.normal(size=X.shape)
    points = rng.uniform(-1, 1, (500, 2))
    uneven, strange = [], []
    for weight in (1e6, 2.0):
        detector = make(
            OCGAN,
            hidden_layer_sizes=(32,),
            latent_dim=2,
            activation="tanh",
            reconstruction_weight=weight,
            max_epochs=60,
        ).fit(X)
        codes = detector.transform(X)
        uneven.append(
            np.mean([kstest(code, "uniform", (-1, 2)).statistic for code in codes.T])
        )
        decoded = detector.scaler_.inverse_transform(Networks(detector).decode(points))
        strange.append(cKDTree(X).query(decoded)[0].mean())
    assert uneven[1] < 0.6 * uneven[0]
    assert strange[1] < 0.6 * strange[0]


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_early_stopping_goes_by_the_reconstruction_error(problem):
    X, _ = problem
    detector = untrained(X, early_stopping=True, validation_fraction=0.5)
    nets, x = Networks(detector), detector.scaler_.transform(X)
    errors = ((nets.decode(nets.encode(x)) - x) ** 2).sum(1)
    held_out = detector.history_["validation_loss"][0]
    # The rows held out are half of them.
    least, largest = (
        np.sort(errors)[part].mean() for part in (slice(100), slice(-100, None))
    )
    assert least < held_out < largest < detector.history_["loss"][0]
    assert held_out == pytest.approx(errors.mean(), rel=0.2)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"reconstruction_weight": 0.0}, "reconstruction_weight"),
        ({"n_mining_steps": -1}, "n_mining_steps"),
        ({"mining_rate": 0.0}, "mining_rate"),
        ({"latent_critic_layer_sizes": (0,)}, "latent_critic_layer_sizes"),
    ],
)
def test_bad_parameters(params, message, problem):
    with pytest.raises(ValueError, match=message):
        make(OCGAN, **params).fit(problem[0])
