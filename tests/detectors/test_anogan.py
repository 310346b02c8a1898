"""AnoGAN against its formulas, written out, and what the search for points finds."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from skdeepad import AnoGAN
from skdeepad._training import build
from tests.conftest import make, weights_of

SMALL = {"hidden_layer_sizes": (7,), "latent_dim": 3, "activation": "tanh"}


class Networks:
    """The networks of one member, in NumPy."""

    def __init__(self, detector, member=0):
        self._state = weights_of(detector, member)

    def _linear(self, name, h):
        return h @ self._state[f"{name}.weight"] + self._state[f"{name}.bias"]

    def generate(self, points):
        return self._linear("decoder.2", np.tanh(self._linear("decoder.0", points)))

    def features(self, rows):
        return np.tanh(self._linear("encoder.0", rows))

    def logit(self, rows):
        return self._linear("encoder.2", self.features(rows))[:, 0]

    def score(self, x, points, weight):
        """The parts of each feature, and the discriminator's."""
        back = self.generate(points)
        features = np.abs(self.features(x) - self.features(back)).sum(1)
        return (1 - weight) * np.abs(x - back), weight * features


def cross_entropy(logits, label):
    p = 1 / (1 + np.exp(-logits))
    return -np.log(p if label else 1 - p).mean()


def test_losses_are_the_papers(problem, monkeypatch):
    X, _ = problem
    points = np.random.default_rng(1).normal(size=(len(X), 3)).round(3)

    def given(self, network, x):
        network.drawn = x.new_tensor(points)[None]
        return network.drawn

    monkeypatch.setattr(AnoGAN, "_draw", given)
    quick = {"learning_rate": 1e-30, "batch_size": len(X), "max_epochs": 1}
    detector = make(AnoGAN, **SMALL, **quick).fit(X)
    nets, x = Networks(detector), detector.scaler_.transform(X)
    said = nets.logit(nets.generate(points))
    expected = {
        "critics": 0.5 * (cross_entropy(nets.logit(x), 1) + cross_entropy(said, 0)),
        "loss": cross_entropy(said, 1),
    }
    assert detector.history_.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(detector.history_[name], [value], rtol=1e-5)


@pytest.mark.parametrize("feature_weight", [0.0, 0.3, 1.0])
def test_score_is_the_difference_from_the_row_that_was_found(problem, feature_weight):
    X, _ = problem
    detector = make(AnoGAN, n_estimators=2, feature_weight=feature_weight, **SMALL).fit(
        X
    )
    x, points = detector.scaler_.transform(X), detector.transform(X)
    parts = [
        Networks(detector, i).score(x, points[:, 3 * i : 3 * i + 3], feature_weight)
        for i in range(2)
    ]
    scores = np.mean([errors.sum(1) + other for errors, other in parts], axis=0)
    np.testing.assert_allclose(detector.score_samples(X), -scores, rtol=1e-6)
    np.testing.assert_allclose(
        detector.feature_errors(X), np.mean([e for e, _ in parts], axis=0), atol=1e-6
    )
    back = [
        Networks(detector, i).generate(points[:, 3 * i : 3 * i + 3]) for i in range(2)
    ]
    np.testing.assert_allclose(
        detector.reconstruct(X),
        detector.scaler_.inverse_transform(np.mean(back, axis=0)),
    )


def test_the_search_is_adams_from_the_origin(problem):
    X, _ = problem
    params = {"feature_weight": 0.3, "mapping_rate": 0.02, "n_mapping_steps": 7}
    detector = make(AnoGAN, **SMALL, **params).fit(X)
    nets, x, h = Networks(detector), detector.scaler_.transform(X), 1e-7
    points, mean, square = (np.zeros((len(X), 3)) for _ in range(3))

    def loss(points):
        errors, other = nets.score(x, points, 0.3)
        return errors.sum(1) + other

    for step in range(1, 8):
        gradient = [
            (loss(points + e) - loss(points - e)) / (2 * h) for e in h * np.eye(3)
        ]
        mean = 0.9 * mean + 0.1 * np.transpose(gradient)
        square = 0.999 * square + 0.001 * np.transpose(gradient) ** 2
        root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        points = points - 0.02 * mean / (1 - 0.9**step) / root
    np.testing.assert_allclose(detector.transform(X), points, atol=1e-4)
    # It does find better ones: an AnoGAN that never searches is a known fault.
    assert loss(points).mean() < 0.99 * loss(0 * points).mean()


def test_more_steps_find_better_points(problem):
    X, _ = problem
    scores = [
        make(AnoGAN, n_mapping_steps=n).fit(X).score_samples(X).mean()
        for n in (1, 10, 100)
    ]
    assert scores[0] < scores[1] < scores[2]


def test_a_row_has_one_score_whatever_is_beside_it(problem):
    X, _ = problem
    X = np.tile(X, (3, 1)) + np.arange(600)[:, None] * 1e-3
    detector = make(AnoGAN, n_estimators=2).fit(X)
    scores = detector.score_samples(X)  # blocks of 128 rows, the last of 88
    order = np.random.default_rng(0).permutation(600)
    np.testing.assert_array_equal(detector.score_samples(X[order]), scores[order])
    for i in (0, 127, 128, 599):
        np.testing.assert_array_equal(detector.score_samples(X[i : i + 1]), scores[i])
    assert detector.offset_ == np.nextafter(scores.min(), np.inf)


def energy_distance(a, b):
    return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()


def test_generated_rows_come_to_be_like_the_training_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 2)) @ rng.normal(size=(2, 5))
    X += 0.1 * rng.normal(size=X.shape)
    points = rng.normal(size=(500, 2))
    distances = []
    for epochs in (1, 60):
        params = {"latent_dim": 2, "hidden_layer_sizes": (32,), "activation": "tanh"}
        # A GPU draws other points, and the turns of two networks take their luck.
        params["device"] = "cpu"
        detector = make(AnoGAN, max_epochs=epochs, **params).fit(X)
        generated = Networks(detector).generate(points)
        distances.append(energy_distance(detector.scaler_.transform(X), generated))
    assert distances[1] < 0.2 * distances[0]


def test_each_turn_trains_its_own_network(problem):
    X, _ = problem
    detector = make(AnoGAN, **SMALL)
    network = build(lambda k: detector._build_network(6, k), [0])
    network.train()
    network.points.seed([0], lambda s: [torch.Generator().manual_seed(0)], 2)
    x = torch.tensor(X[None], dtype=torch.float32)
    critic, generator = detector._phases(network)

    def moved(phase):
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        phase.step(x)
        return {n for n, p in network.named_parameters() if not p.equal(before[n])}

    names = {name for name, _ in network.named_parameters()}
    assert moved(critic) == {name for name in names if name.startswith("encoder")}
    assert moved(generator) == {name for name in names if name.startswith("decoder")}


@pytest.mark.parametrize(
    "params, message",
    [
        ({"feature_weight": 1.1}, "feature_weight"),
        ({"n_mapping_steps": 0}, "n_mapping_steps"),
        ({"mapping_rate": 0.0}, "mapping_rate"),
    ],
)
def test_bad_parameters(params, message, problem):
    with pytest.raises(ValueError, match=message):
        make(AnoGAN, **params).fit(problem[0])
