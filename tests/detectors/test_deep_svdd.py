"""Deep SVDD's equations, against independent computations."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score

import skdeepad._training
from skdeepad import DeepSVDD
from skdeepad.detectors._deep_svdd import _mean_of_largest
from tests.conftest import CONV, make


@pytest.mark.parametrize("nu", [0.05, 0.1, 0.25, 0.3, 0.77, 1.0])
def test_the_loss_is_the_soft_boundarys_at_its_best_radius(nu):
    distances = np.random.default_rng(0).gamma(2.0, size=(3, 20))
    values, weights = _mean_of_largest(torch.tensor(distances), nu)
    for row, value in zip(distances, values.tolist(), strict=True):

        def eq_3(squared_radius, row=row):
            outside = np.maximum(0, row - squared_radius)
            return squared_radius + outside.sum() / (nu * len(row))

        # Convex, and linear between the distances: least at one of them or at zero.
        best = min(eq_3(radius) for radius in [0.0, *row])
        assert value == pytest.approx(best)
        found = minimize_scalar(eq_3, bounds=(0, row.max()), method="bounded")
        assert value <= found.fun + 1e-6
    np.testing.assert_allclose(weights.sum(1), 1)
    assert ((weights > 0).sum(1) <= np.ceil(nu * 20)).all()


def test_the_loss_of_all_rows_is_their_mean_distance():
    distances = torch.rand(2, 7, generator=torch.Generator().manual_seed(0))
    values, weights = _mean_of_largest(distances, 1.0)
    torch.testing.assert_close(values, distances.mean(1))
    torch.testing.assert_close(weights, torch.full((2, 7), 1 / 7))


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_score_is_equation_5(problem, fit_intercept):
    X, _ = problem
    params = {"hidden_layer_sizes": (5, 4), "latent_dim": 3}
    detector = make(DeepSVDD, fit_intercept=fit_intercept, **params).fit(X)
    z = detector.scaler_.transform(X)
    weights = [detector._state[f"encoder.{i}.weight"][0] for i in (0, 2, 4)]
    intercept = detector._state["encoder.0.bias"][0] if fit_intercept else 0.0
    for weight in weights[:-1]:
        z = z @ weight.astype(np.float64) + intercept
        z, intercept = np.where(z > 0, z, 0.01 * z), 0.0
    z = z @ weights[-1].astype(np.float64)
    np.testing.assert_allclose(detector.transform(X), z, rtol=1e-6, atol=1e-8)
    expected = -((z - detector.center_[0]) ** 2).sum(1)
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-6)


@pytest.fixture
def start(problem):
    """A detector at the beginning of its own training, by parameters."""

    def start(**params):
        X, _ = problem
        detector = make(DeepSVDD, **params)
        detector.n_features_in_ = X.shape[1]
        run = detector._start(X)
        if detector.pretrain_epochs:
            detector._pretrain(run, None)
        detector._set_center(run)
        detector._set_state(run.network.state_dict())
        return detector

    return start


@pytest.mark.parametrize("pretrain_epochs", [0, 3])
def test_the_centre_is_the_mean_code_kept_from_zero(pretrain_epochs, start, problem):
    X, _ = problem
    detector = start(pretrain_epochs=pretrain_epochs, latent_dim=12, n_estimators=2)
    means = detector.transform(X).mean(0).reshape(2, 12)
    near = np.abs(means) < 0.1
    assert near.any()
    assert not near.all()
    expected = np.where(near, np.where(means < 0, -0.1, 0.1), means)
    np.testing.assert_allclose(detector.center_, expected, rtol=1e-5)


def test_training_keeps_the_centre_and_lowers_the_distance(start, problem):
    X, _ = problem
    before, after = start(), make(DeepSVDD).fit(X)
    np.testing.assert_array_equal(after.center_, before.center_)
    assert -after.score_samples(X).mean() < -0.5 * before.score_samples(X).mean()


@pytest.mark.parametrize("params", [{}, CONV, {"output_activation": "sigmoid"}])
def test_pretraining_is_an_autoencoders(params, problem, monkeypatch):
    X, _ = problem
    X = (X - X.min(0)) / np.ptp(X, axis=0)
    x, networks, errors = torch.tensor(X, dtype=torch.float32), [], []
    make_one = DeepSVDD._build_autoencoder

    def noting(self, *args, **kwargs):
        networks.append(make_one(self, *args, **kwargs))
        return networks[-1]

    monkeypatch.setattr(DeepSVDD, "_build_autoencoder", noting)
    for epochs in (1, 200):
        params = params | {"standardize": False, "device": "cpu"}
        make(DeepSVDD, pretrain_epochs=epochs, **params).fit(X)
        network = next(n for n in networks if n.decoder)
        error = network.decode(network.encode(x[None])) - x
        errors.append(error.detach().square().mean().item())
        networks.clear()
    assert errors[1] < 0.2 * errors[0]
    assert errors[1] < 0.4 * x.var(0).mean().item()


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_held_out_rows_take_no_part_in_pretraining_and_centre(problem):
    """They can be anything: only the threshold sees them again."""
    X, _ = problem
    params = {"early_stopping": True, "max_epochs": 1, "standardize": False}
    detector = make(DeepSVDD, **params)
    held_out = detector._start(X).held_out[0]
    X = X / X.std(0)
    changed = X.copy()
    changed[held_out] = 5.0
    states = [make(DeepSVDD, **params).fit(rows)._state for rows in (X, changed)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value, err_msg=name)


@pytest.mark.parametrize(
    "change", [{"pretrain_epochs": 0}, {"pretrain_epochs": 3}, {"nu": 0.2}]
)
def test_parameters_change_the_scores(change, problem):
    X, _ = problem
    scores = make(DeepSVDD).fit(X).score_samples(X)
    assert not np.allclose(make(DeepSVDD, **change).fit(X).score_samples(X), scores)


def test_without_pretraining_the_decoder_has_no_effect(problem):
    X, _ = problem
    scores = [
        make(DeepSVDD, pretrain_epochs=0, decoder_layer_sizes=sizes).fit(X)
        for sizes in (None, (7, 3))
    ]
    scores = [detector.score_samples(X) for detector in scores]
    np.testing.assert_array_equal(*scores)


def test_a_typical_row_is_normal():
    """Without an intercept the row of zeros has the code zero, off the centre."""
    X = np.random.default_rng(0).normal(size=(1000, 10))
    flagged = [
        make(DeepSVDD, max_epochs=20, fit_intercept=value).fit(X).predict(0.2 * X) == -1
        for value in (False, True)
    ]
    assert flagged[0].mean() > 0.5
    assert flagged[1].mean() < 0.01


@pytest.mark.parametrize("params", [{}, CONV])
def test_nothing_can_shift_a_code(params, problem):
    X, _ = problem
    detector = make(DeepSVDD, batch_norm=True, **params).fit(X)
    for name, value in detector._state.items():
        if name.endswith("bias"):
            assert (value == 0).all(), name
    names = [name for name in detector._state if name.endswith("running_mean")]
    for name in names:
        weight = detector._state[name.replace("running_mean", "weight")]
        assert (weight == 1).all()
    assert names
    for fit_intercept, first in (
        (False, []),
        (True, [f"encoder.{bool(params):d}.bias"]),
    ):
        plain = make(DeepSVDD, fit_intercept=fit_intercept, **params).fit(X)
        assert [name for name in plain._state if name.endswith("bias")] == first


@pytest.mark.parametrize(
    ("params", "first"),
    [
        ({"hidden_layer_sizes": ()}, []),
        ({"hidden_layer_sizes": (8,), "latent_dim": None}, []),
        ({"hidden_layer_sizes": (8, 4), "latent_dim": None}, ["encoder.0.bias"]),
        (CONV | {"latent_dim": None}, ["encoder.1.bias"]),
    ],
)
def test_the_first_of_several_layers_has_a_bias(params, first, problem):
    X, _ = problem
    state = make(DeepSVDD, **params).fit(X)._state
    assert [name for name in state if name.endswith("bias")] == first


@pytest.mark.parametrize("name", ["tanh", "elu", "softplus"])
def test_activations_with_another_bound_than_zero_are_refused(name, problem):
    with pytest.raises(ValueError, match="activation"):
        make(DeepSVDD, activation=name).fit(problem[0])


@pytest.mark.parametrize("nu", [1e-320, 1e-30, 0.02])
def test_the_farthest_row_alone_where_nu_is_tiny(nu):
    distances = torch.tensor([[1.0, 3.0, 2.0]])
    values, weights = _mean_of_largest(distances, nu)
    assert values.tolist() == [3.0]
    assert weights.tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_held_out_rows_are_judged_in_chunks_as_at_once(problem, monkeypatch):
    X, _ = problem
    params = {"early_stopping": True, "nu": 0.1, "max_epochs": 3}
    losses = [make(DeepSVDD, **params).fit(X).history_["validation_loss"]]
    monkeypatch.setattr("skdeepad._training.chunk_bytes", lambda _: 4 * 256 * 7)
    losses.append(make(DeepSVDD, **params).fit(X).history_["validation_loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_decoder_that_is_not_there_counts_for_nothing(problem):
    X, _ = problem
    detector = make(DeepSVDD, decoder_layer_sizes=(4096,), hidden_layer_sizes=(8,))
    network = detector._build_network(X.shape[1], 1)
    assert (network.width, network.work) == (16, 6 * 8 + 8 * 16)
    # Nor must X be in reach of its output.
    detector.set_params(pretrain_epochs=0, output_activation="sigmoid").fit(X)
    with pytest.raises(ValueError, match="needs targets in"):
        detector.set_params(pretrain_epochs=1).fit(X)


def test_a_smaller_nu_holds_the_farthest_rows_nearer(problem):
    X, _ = problem
    rows = {
        nu: -make(DeepSVDD, nu=nu, max_epochs=60).fit(X).score_samples(X)
        for nu in (0.05, 1.0)
    }
    ratios = {nu: np.sort(d)[-10:].mean() / np.median(d) for nu, d in rows.items()}
    assert ratios[0.05] < ratios[1.0]


@pytest.mark.parametrize("nu", [0.1, 1.0])
def test_anomalies_are_found(nu, problem):
    X, y = problem
    detector = make(DeepSVDD, nu=nu, pretrain_epochs=30, max_epochs=30).fit(X, y)
    assert roc_auc_score(y, detector.decision_function(X)) > 0.9


def test_the_pretrained_autoencoder_has_seeds_of_its_own(problem, monkeypatch):
    seeds, build = [], skdeepad._training.build

    def spy(make_network, own):
        seeds.append({int(seed) for seed in own})
        return build(make_network, own)

    monkeypatch.setattr(skdeepad._training, "build", spy)
    make(DeepSVDD, pretrain_epochs=1, n_estimators=3).fit(problem[0])
    first, second = seeds
    assert len(first) == len(second) == 3
    assert first.isdisjoint(second)
