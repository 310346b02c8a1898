"""Training on the share of each batch's rows that look normal."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from skdeepad import DASVDD, DSEBM, AutoencoderDetector, DeepSVDD, VAEDetector
from skdeepad._support import SupportMixin
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from tests.conftest import CONV, DEEP, HARD, make, taken

every = pytest.mark.parametrize(
    "cls", [cls for cls in DEEP if issubclass(cls, SupportMixin)]
)
# One step, on all rows.
STEP = {"standardize": False, "max_epochs": 1, "dropout": 0.0}


@pytest.fixture(scope="module")
def contaminated():
    """Rows near a plane, a tenth of them in a cluster beside it; and new ones."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(800, 3)) @ rng.normal(size=(3, 8))
    cluster = rng.normal(loc=3.0, scale=0.1, size=(80, 8)) * np.tile([1, -1], 4)
    X = np.r_[plane[:400], cluster[:40]]
    return X, np.r_[plane[400:], cluster[40:]], np.repeat([1, -1], [400, 40])


@every
def test_anomalies_among_the_training_rows_stay_anomalies(cls, contaminated):
    X, new, y = contaminated
    params = {"max_epochs": 40, "n_estimators": 2, "hidden_layer_sizes": (32,)}
    auroc = {
        fraction: roc_auc_score(
            y,
            make(cls, support_fraction=fraction, **params).fit(X).score_samples(new),
        )
        for fraction in (1.0, 0.8)
    }
    assert auroc[0.8] > auroc[1.0]
    assert auroc[0.8] > 0.9


def test_a_step_is_one_on_the_rows_with_the_lowest_scores(problem):
    X, _ = problem
    n_kept = int(0.7 * len(X))
    start = make(AutoencoderDetector, learning_rate=1e-30, **STEP).fit(X)
    kept = np.sort(np.argsort(-start.score_samples(X), kind="stable")[:n_kept])
    picked = make(
        AutoencoderDetector, support_fraction=0.7, batch_size=len(X), **STEP
    ).fit(X)
    expected = make(AutoencoderDetector, batch_size=n_kept, **STEP).fit(X[kept])
    assert not np.allclose(picked.score_samples(X), start.score_samples(X), rtol=1e-3)
    np.testing.assert_allclose(
        picked.score_samples(X), expected.score_samples(X), rtol=1e-5
    )
    np.testing.assert_allclose(picked.history_["loss"], expected.history_["loss"])


@every
@pytest.mark.parametrize("params", [{}, HARD, CONV], ids=["plain", "hard", "conv"])
def test_networks_side_by_side_pick_their_own_rows(cls, params, problem):
    X, _ = problem
    params = {**taken(cls, params), "support_fraction": 0.6, "n_estimators": 1}
    alone = make(cls, **params).fit(X)
    among = make(cls, **{**params, "n_estimators": 3}).fit(X)
    for name, value in alone._state.items():
        np.testing.assert_allclose(
            among._state[name][:1], value, rtol=1e-3, atol=1e-5, err_msg=name
        )


@every
def test_held_out_rows_are_picked_too(cls, contaminated):
    X, _, _ = contaminated
    params = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 60}
    if "early_stopping" in taken(cls, params):
        all_rows, picked = (
            make(cls, support_fraction=fraction, **params).fit(X)
            for fraction in (1.0, 0.5)
        )
        losses = (d.history_["validation_loss"][0] for d in (picked, all_rows))
        assert np.divide(*losses) < 0.9


@pytest.mark.parametrize(("fraction", "size"), [(0.5, 2), (0.98, 32), (0.9, 5)])
def test_small_batches_lose_a_row_too(fraction, size, problem):
    X, _ = problem
    every_row, most = (
        make(AutoencoderDetector, batch_size=size, support_fraction=f).fit(X[:64])
        for f in (1.0, fraction)
    )
    assert not np.array_equal(most.history_["loss"], every_row.history_["loss"])
    # One alone can't be left out.
    single = make(
        AutoencoderDetector, support_fraction=fraction, standardize=False
    ).partial_fit(X[:1])
    assert np.isfinite(single.history_["loss"]).all()


@pytest.mark.parametrize(
    ("fraction", "n_rows", "n_kept"), [(0.7, 25, 17), (0.29, 100, 29), (0.5, 1, 1)]
)
def test_kept_rows_are_whole_ones(fraction, n_rows, n_kept):
    detector = make(AutoencoderDetector, support_fraction=fraction).fit(np.eye(6))
    network = detector._scoring_network(torch.device("cpu"))
    x = torch.zeros(1, n_rows, 6, dtype=torch.float64)
    assert detector._selection(network)(x).shape == (1, n_kept, 6)


def test_pretraining_picks_rows(contaminated):
    X, _, _ = contaminated
    first, second = (
        make(DeepSVDD, pretrain_epochs=3, support_fraction=fraction).fit(X)
        for fraction in (0.8, 0.6)
    )
    # It comes before the centre.
    assert not np.allclose(first.center_, second.center_)


@every
def test_searches_over_the_fraction_are_equal(cls, problem):
    X, y = problem
    grid = {"support_fraction": [1.0, 0.7], "learning_rate": [1e-3, 3e-3]}
    options = {"scoring": "roc_auc", "cv": OneClassKFold(3), "refit": False}
    one, other = (
        search(make(cls), grid, **options).fit(X, y).cv_results_["mean_test_score"]
        for search in (GridSearchCV, BatchedGridSearchCV)
    )
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("cls", "one", "other"),
    [
        (DSEBM, {"criterion": "energy"}, {"criterion": "reconstruction"}),
        (VAEDetector, {"criterion": "elbo"}, {"criterion": "reconstruction"}),
        (VAEDetector, {}, {"scoring": "sample"}),
        (VAEDetector, {}, {"scoring": "multi_sample", "n_samples": 2}),
        (DASVDD, {"gamma": 1.0}, {"gamma": 1.0, "score_reduction": "mean"}),
    ],
)
def test_ways_of_scoring_pick_no_other_rows(cls, one, other, problem):
    X, _ = problem
    one, other = (
        make(cls, support_fraction=0.5, **params).fit(X) for params in (one, other)
    )
    assert not np.allclose(one.score_samples(X), other.score_samples(X), rtol=1e-3)
    for name, value in one._state.items():
        np.testing.assert_array_equal(value, other._state[name])


@pytest.mark.parametrize(
    ("cls", "params", "weights"),
    [
        (VAEDetector, {}, "beta"),
        (DASVDD, {"loss_reduction": "mean"}, "gamma"),
        (DASVDD, {"loss_reduction": "sum"}, "gamma"),
    ],
)
def test_rows_are_picked_by_the_whole_loss(cls, params, weights, problem):
    """Of one row, the loss is the sum that rows are picked by."""
    X, _ = problem
    X = X[:30]
    for weight in (0.0, 5.0):
        detector = make(cls, n_estimators=2, **{weights: weight}, **params).fit(X)
        device = torch.device("cpu")
        fitted = detector._as_fitted()
        network = fitted._scoring_network(device)
        x = torch.as_tensor(fitted._scale(X)).expand(2, -1, -1)
        with torch.no_grad():
            found = fitted._support_scores(network, x)
            for i in range(len(X)):
                expected = fitted._loss(network, x[:, i : i + 1])["loss"]
                torch.testing.assert_close(found[:, i], expected)


def test_searches_over_the_weight_of_the_divergence_pick_their_own_rows(problem):
    X, y = problem
    grid = {"beta": [0.1, 5.0], "support_fraction": [0.5]}
    options = {"scoring": "roc_auc", "cv": OneClassKFold(3), "refit": False}
    one, other = (
        search(make(VAEDetector), grid, **options).fit(X, y).cv_results_
        for search in (GridSearchCV, BatchedGridSearchCV)
    )
    np.testing.assert_allclose(
        one["mean_test_score"], other["mean_test_score"], atol=1e-6
    )


@every
@pytest.mark.parametrize("fraction", [0, 1.1, "most"])
def test_bad_fractions_are_refused(cls, fraction, problem):
    with pytest.raises(ValueError, match="support_fraction"):
        make(cls, support_fraction=fraction).fit(problem[0])
