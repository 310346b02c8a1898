"""Training options that all deep detectors share."""

import copy
import gc
import pickle
import re
import warnings
import weakref
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from threading import Thread

import joblib
import numpy as np
import pandas as pd
import pyarrow
import pytest
import scipy.stats
import torch
from scipy.special import expit
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from torch import nn

import skdeepad._training
from skdeepad import DASVDD, AutoencoderDetector, DeepSVDD, VAEDetector
from skdeepad._deep import BaseDeepDetector
from skdeepad._nn import Center, Linear
from skdeepad._nn._layers import Stochastic
from skdeepad._random import make_generators
from skdeepad._reconstruction import BaseAutoencoderDetector, ReconstructionMixin
from skdeepad._together import Requests, Trained, serving
from skdeepad._training import build, prepare, random_layers, seed_layers
from skdeepad.datasets import load_wbc
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from skdeepad.thresholds import Conformal
from tests.conftest import (
    CONV,
    HARD,
    LOWERING,
    assert_equal_states,
    every_deep,
    every_lowering,
    lowered,
    make,
)


@every_lowering
def test_history_has_a_value_an_epoch_and_falls(cls, problem):
    X, _ = problem
    detector = make(cls, max_epochs=12).fit(X)
    assert detector.n_iter_ == 12
    assert {len(losses) for losses in detector.history_.values()} == {12}
    assert lowered(detector)[-1] < lowered(detector)[0]


@every_deep
def test_training_moves_every_tensor(cls, problem):
    X, _ = problem
    # A batch of all rows has no mean to move to.
    params = {"batch_norm": True, "gamma": 1.0, "batch_size": 64}
    params = {k: v for k, v in params.items() if k in cls().get_params()}
    detector = make(cls, max_epochs=1, learning_rate=1e-12, **params).fit(X)
    network = detector._scoring_network(torch.device("cpu"))
    kept = {name for name, p in network.named_parameters() if not p.requires_grad}
    start, end = detector._state, make(cls, **params).fit(X)._state
    for name in start.keys() - kept:
        if name not in ("gamma", "least_norm", "lowest", "step"):
            assert not np.allclose(start[name], end[name], atol=1e-6), name


@every_lowering
def test_warm_start_goes_on(cls, problem):
    X, _ = problem
    detector = make(cls, warm_start=True).fit(X)
    first = lowered(detector)
    detector.fit(X)
    assert detector.n_iter_ == 10
    np.testing.assert_array_equal(lowered(detector)[:5], first)
    assert lowered(detector)[5] < first[0]
    scores = detector.score_samples(X)
    detector.set_params(hidden_layer_sizes=(3,), learning_rate=1e-4)
    with pytest.raises(
        ValueError,
        match=r"or their shapes \(with hidden_layer_sizes; .* changed",
    ):
        detector.fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    with pytest.raises(ValueError, match="features"):
        detector.fit(X[:, :4])


FUNCTION = [
    (AutoencoderDetector, {}, "standardize", False),
    (AutoencoderDetector, {}, "activation", "tanh"),
    (AutoencoderDetector, {"standardize": False}, "output_activation", "sigmoid"),
    (VAEDetector, {"standardize": False}, "likelihood", "bernoulli"),
    (
        AutoencoderDetector,
        {"architecture": "conv", "image_shape": (1, 3, 2), "hidden_layer_sizes": (4,)},
        "image_shape",
        (1, 2, 3),
    ),
]


@pytest.mark.parametrize(("cls", "params", "name", "value"), FUNCTION)
def test_what_the_weights_mean_is_fixed_by_the_first_fit(cls, params, name, value):
    X = np.random.RandomState(0).uniform(size=(40, 6))
    detector = make(cls, warm_start=True, **params).fit(X)
    scores = detector.score_samples(X)
    detector.set_params(**{name: value})
    for train in (detector.fit, detector.partial_fit):
        with pytest.raises(ValueError, match=f"but {name} changed since. Undo"):
            train(X)
        np.testing.assert_array_equal(detector.score_samples(X), scores)
    if name == "image_shape":
        detector.set_params(image_shape=(2, 3, 1))  # of other layers too
        with pytest.raises(ValueError, match=r"but image_shape changed since\. Undo"):
            detector.fit(X)
        detector.set_params(image_shape=[1, 3, 2]).fit(X)


def test_a_code_with_an_activation_is_not_one_without(problem):
    X, _ = problem
    detector = make(
        AutoencoderDetector,
        warm_start=True,
        hidden_layer_sizes=(8, 3),
        latent_dim=None,
    ).fit(X)
    detector.set_params(hidden_layer_sizes=(8,), latent_dim=3)
    with pytest.raises(ValueError, match="latent_dim changed since"):
        detector.fit(X)


@pytest.mark.parametrize("change", [{"noise_std": 1.0}, {"dropout": 0.9}])
def test_what_is_added_in_training_may_change_in_a_warm_start(change, problem):
    X, _ = problem
    first = make(AutoencoderDetector, warm_start=True, dropout=0.1).fit(X)
    for name in ("fit", "partial_fit"):
        same, changed = (
            getattr(copy.deepcopy(first).set_params(**params), name)(X)
            for params in ({}, change)
        )
        assert changed.history_["loss"][-1] > 1.05 * same.history_["loss"][-1]


@pytest.mark.parametrize("before", ["fixed", "mean", "trained"])
@pytest.mark.parametrize("after", ["fixed", "mean", "trained"])
def test_the_centre_may_be_found_in_another_way_from_now_on(before, after, problem):
    X, _ = problem
    detector = make(DASVDD, center=before).partial_fit(X)
    center = detector.center_.copy()
    detector.set_params(center=after).partial_fit(X)
    moved = np.abs(detector.center_ - center).max() > 1e-3
    assert moved == (after != "fixed")


def test_small_integers_do_not_overflow_in_a_warm_start(problem):
    X, _ = problem
    detector = make(AutoencoderDetector, max_epochs=np.int8(70), warm_start=True)
    assert len(detector.fit(X).fit(X).history_["loss"]) == 140


def test_warm_start_keeps_the_scale_and_uses_new_random_numbers(problem):
    X, _ = problem
    params = {"warm_start": True, "noise_std": 0.3, "learning_rate": 1e-12}
    detector = make(AutoencoderDetector, **params).fit(X)
    mean = detector.scaler_.mean_.copy()
    losses = detector.fit(X).history_["loss"]
    # The networks stand still: the noise makes the difference.
    assert len(np.unique(losses)) == 10
    detector.fit(X + 5)
    np.testing.assert_array_equal(detector.scaler_.mean_, mean)


def test_warm_start_pads_the_history_of_losses_it_does_not_have(problem):
    X, _ = problem
    detector = make(AutoencoderDetector, warm_start=True, early_stopping=True)
    with pytest.warns(ConvergenceWarning):
        detector.fit(X)
    detector.set_params(early_stopping=False).fit(X)
    losses = detector.history_["validation_loss"]
    assert np.isfinite(losses[:5]).all()
    assert np.isnan(losses[5:]).all()


@pytest.mark.parametrize("random_state", [None, 0])
def test_a_warm_start_holds_out_the_same_rows(random_state, problem, monkeypatch):
    X, _ = problem
    splits, split = [], skdeepad._training.split_validation
    monkeypatch.setattr(
        skdeepad._training,
        "split_validation",
        lambda *args: splits.append(split(*args)) or splits[-1],
    )
    detector = make(
        AutoencoderDetector,
        early_stopping=True,
        n_iter_no_change=1,
        max_epochs=50,
        warm_start=True,
        random_state=random_state,
    )
    for fit in (detector.fit, detector.fit, clone(detector).fit):
        fit(X)
    (_, first), (_, second), (_, other) = splits
    assert torch.equal(first, second)
    assert torch.equal(first, other) == (random_state == 0)


class Narrow(AutoencoderDetector):
    """A subclass whose users choose one thing."""

    def __init__(self, learning_rate=1e-3):
        super().__init__(learning_rate=learning_rate, max_epochs=2, random_state=0)


def test_a_subclass_may_have_fewer_parameters(problem, tmp_path):
    X, y = problem
    wide = AutoencoderDetector(learning_rate=1e-3, max_epochs=2, random_state=0)
    expected = wide.fit(X).score_samples(X)
    detector = Narrow().fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), expected)
    detector.warm_start, detector.checkpoint_dir = True, tmp_path
    assert len(detector.fit(X).history_["loss"]) == 4
    options = {"scoring": "roc_auc", "cv": OneClassKFold(3), "refit": False}
    plain, batched = (
        search(Narrow(), {"learning_rate": [1e-4, 1e-2]}, **options).fit(X, y)
        for search in (GridSearchCV, BatchedGridSearchCV)
    )
    np.testing.assert_allclose(
        batched.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_warm_start_takes_a_new_number_for_gamma(problem):
    X, _ = problem
    detector = make(DASVDD, gamma=0.5, warm_start=True).fit(X)
    assert detector.set_params(gamma=9.0).fit(X).gamma_ == 9.0
    assert detector.set_params(gamma="auto").fit(X).gamma_ == 9.0


@every_lowering
def test_early_stopping_stops_and_warns_where_it_does_not(cls, problem):
    X, _ = problem
    params = {"early_stopping": True, "n_iter_no_change": 3, "n_estimators": 2}
    params |= {"max_epochs": 400, "learning_rate": 0.02}
    detector = make(cls, **params).fit(X)
    losses = detector.history_["validation_loss"]
    assert detector.n_iter_ == len(losses) < 400
    with pytest.warns(ConvergenceWarning, match="Raise max_epochs"):
        make(cls, **(params | {"max_epochs": 2})).fit(X)
    with pytest.raises(ValueError, match="none to train on"):
        make(cls, **params).fit(X[:1])


@pytest.mark.filterwarnings("ignore:.*still improved")
@pytest.mark.parametrize(
    "params",
    [
        {"precision": "bf16"},
        {"support_fraction": 0.8},
        {"warm_start": True},
        {"dropout": 0.3, "batch_norm": True, "weight_decay": 1e-3},
    ],
    ids=str,
)
def test_members_left_behind_change_nothing(params, problem, sizes, monkeypatch):
    X, _ = problem
    params = {"learning_rate": 0.01, "device": "cpu"} | params
    params |= {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 40}
    params |= {"hidden_layer_sizes": (32, 16), "latent_dim": None, "n_estimators": 6}
    detectors = []
    for narrowed_at in (0.99, 0.0):
        monkeypatch.setattr(skdeepad._training, "NARROWED_AT", narrowed_at)
        sizes.clear()
        detectors.append(make(AutoencoderDetector, **params).fit(X))
        if params.get("warm_start"):
            detectors[-1].fit(X)
        assert (len(set(sizes)) > 2) == (narrowed_at > 0)
    assert_equal_states(*detectors)


def test_early_stopping_restores_what_it_measured(problem):
    """The kept weights give the best validation loss of the history."""
    X, _ = problem
    params = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate": 0.05}
    detector = make(AutoencoderDetector, max_epochs=300, **params).fit(X)
    best = int(np.argmin(detector.history_["validation_loss"]))
    assert best < detector.n_iter_ - 1
    with pytest.warns(ConvergenceWarning):
        shorter = make(AutoencoderDetector, max_epochs=best + 1, **params).fit(X)
    np.testing.assert_allclose(
        detector.score_samples(X), shorter.score_samples(X), rtol=1e-6
    )


@every_deep
def test_diverging_fit_leaves_the_fitted_detector_as_it_was(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    before = dict(vars(detector))
    detector.set_params(learning_rate=1e30)
    with pytest.raises(ValueError, match="Training diverged"):
        detector.fit(X)
    assert dict(vars(detector)) == before | {"learning_rate": 1e30}


class Recorder:
    """A callback that notes what it is told, and stops or raises where asked to."""

    def __init__(self, stop_after=None, error=None):
        self.stop_after, self.error, self.events = stop_after, error, []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        self.events.append(f"end {context.task_name} {context.task_id}")
        if context.task_name == "epoch":
            self.scores = fitted_estimator.score_samples(X)
            self.labels = fitted_estimator.predict(X)
            if self.error is not None:
                raise self.error
        return context.task_id + 1 == self.stop_after

    def teardown(self, estimator, context):
        self.events.append("teardown")


@every_deep
def test_callbacks_see_each_epoch_and_can_stop(cls, problem):
    X, _ = problem
    recorder = Recorder(stop_after=2)
    detector = make(cls).set_callbacks(recorder).fit(X)
    assert recorder.events == [
        "setup",
        "begin fit 0",
        "begin epoch 0",
        "end epoch 0",
        "begin epoch 1",
        "end epoch 1",
        "end fit 0",
        "teardown",
    ]
    assert detector.n_iter_ == 2
    np.testing.assert_array_equal(recorder.scores, detector.score_samples(X))
    np.testing.assert_array_equal(recorder.labels, detector.predict(X))


def test_callbacks_and_early_stopping_agree(problem):
    """The fitted estimator of the last epoch is the one that is kept."""
    X, _ = problem
    recorder = Recorder()
    params = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate": 0.05}
    detector = make(AutoencoderDetector, max_epochs=300, **params)
    detector.set_callbacks(recorder).fit(X)
    np.testing.assert_array_equal(recorder.scores, detector.score_samples(X))
    begun = sum(event.startswith("begin epoch") for event in recorder.events)
    ended = sum(event.startswith("end epoch") for event in recorder.events)
    assert begun == ended == detector.n_iter_ < 300


def test_stopping_by_a_callback_is_no_lack_of_convergence(problem):
    X, _ = problem
    detector = make(AutoencoderDetector, early_stopping=True)
    detector.set_callbacks(Recorder(stop_after=2)).fit(X)  # warnings are errors here
    assert detector.n_iter_ == 2


def test_scoring_monitor_sees_labels(problem):
    X, y = problem
    monitor = ScoringMonitor(scoring="roc_auc")
    detector = make(AutoencoderDetector).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs(select="most_recent").data
    epochs = [entry["roc_auc"] for entry in log if entry["task_name"] == "epoch"]
    assert len(epochs) == 5
    assert epochs[-1] == roc_auc_score(y, detector.decision_function(X))


def test_callbacks_do_not_change_the_result(problem):
    X, _ = problem
    plain = make(DASVDD, dropout=0.2).fit(X)
    watched = make(DASVDD, dropout=0.2).set_callbacks(Recorder()).fit(X)
    np.testing.assert_array_equal(watched.score_samples(X), plain.score_samples(X))


def test_losses_are_means_over_the_networks(problem):
    X, _ = problem
    params = {"n_estimators": 3, "learning_rate": 1e-30, "max_epochs": 1}
    detector = make(AutoencoderDetector, **params).fit(X)
    # The score is the loss of a row, of networks that have learnt nothing.
    expected = -detector.score_samples(X).mean()
    assert detector.history_["loss"] == pytest.approx(expected, rel=1e-5)


def test_sigmoid_of_the_output(problem):
    X, _ = problem
    X = (X - X.min(axis=0)) / np.ptp(X, axis=0)
    params = {"standardize": False, "learning_rate": 1e-30, "max_epochs": 1}
    plain = make(AutoencoderDetector, **params).fit(X).reconstruct(X)
    bounded = make(AutoencoderDetector, output_activation="sigmoid", **params).fit(X)
    np.testing.assert_allclose(bounded.reconstruct(X), expit(plain), rtol=1e-6)


def test_a_warm_start_has_an_optimizer_of_its_own(problem):
    X, _ = problem
    one = make(AutoencoderDetector, warm_start=True).partial_fit(X)
    other = copy.deepcopy(one)
    del other._optimizers
    np.testing.assert_array_equal(
        one.fit(X).score_samples(X), other.fit(X).score_samples(X)
    )


def test_progress_bar(problem, capsys):
    pytest.importorskip("rich")
    X, _ = problem
    make(AutoencoderDetector).set_callbacks(ProgressBar()).fit(X)
    assert "AutoencoderDetector" in capsys.readouterr().out


def far_cells(X):
    return np.where(np.random.default_rng(0).random(X.shape) < 0.01, 1e6, X)


@pytest.mark.parametrize(
    ("spoil", "params"),
    [
        (lambda X: X * 1e-170, {}),
        (lambda X: X * 1e-6, {"standardize": False}),
        (lambda X: np.vstack([X, np.full_like(X[:1], 1e100)]), {}),
        (far_cells, {}),
    ],
    ids=["tiny", "not scaled", "far row", "far cells"],
)
@pytest.mark.filterwarnings("ignore:.*have not learned")  # of the same reason
def test_rows_that_look_alike_to_the_networks(spoil, params):
    X = np.random.default_rng(0).normal(size=(500, 3))
    with pytest.warns(UserWarning, match="Rows look alike"):
        make(AutoencoderDetector, max_epochs=1, **params).fit(spoil(X))


@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_columns_of_other_values_than_numbers_are_named(kind):
    frame = pd.DataFrame(
        {
            "size": [1.0, 2.0, 3.0, 4.0],
            "kind": pd.Categorical(list("aabb")),
            "day": pd.date_range("2020", periods=4),
            "marked": ["1", None, "?", "4"],
            "number": ["1", "2", "3", "4"],
        }
    )
    good = frame[["size"]]
    if kind == "pyarrow":
        frame, good = pyarrow.table(frame), pyarrow.table(good)
    detector = make(AutoencoderDetector, max_epochs=1)
    what = r"in the column\(s\) kind \('a'\), day \('2020-01-01.*'\), marked \('\?'\)\."
    with pytest.raises(ValueError, match=what):
        detector.fit(frame)
    detector.fit(good)
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_columns_of_what_is_not_finite_are_named(value, problem):
    frame = pd.DataFrame(problem[0], columns=list("abcdef"))
    detector = make(AutoencoderDetector, max_epochs=1).fit(frame)
    broken = frame.copy()
    broken.loc[3, ["b", "e"]] = value
    for method in (detector.fit, detector.score_samples, detector.partial_fit):
        with pytest.raises(ValueError, match="contains") as caught:
            method(broken)
        assert any("column(s) b, e." in note for note in caught.value.__notes__)
    with pytest.raises(ValueError, match="contains") as caught:
        make(AutoencoderDetector).fit(broken.to_numpy())
    assert any("column(s) 1, 4." in note for note in caught.value.__notes__)
    flat = frame["a"].to_numpy()
    for method, rows, match in (
        (make(AutoencoderDetector).fit, flat, "2D"),
        (detector.score_samples, broken[["b", "a"]], "feature names"),
    ):
        with pytest.raises(ValueError, match=match) as caught:
            method(rows)
        assert not hasattr(caught.value, "__notes__")


def test_columns_of_text_are_named_in_scoring_too(problem):
    frame = pd.DataFrame(problem[0], columns=list("abcdef"))
    detector = make(AutoencoderDetector, max_epochs=1).fit(frame)
    frame["b"] = ["n/a", *frame["b"].astype(str)[1:]]
    with pytest.raises(ValueError, match=r"in the column\(s\) b \('n/a'\)"):
        detector.score_samples(frame)


@pytest.mark.parametrize(
    "column",
    [
        np.array([1, None, 3], object),
        pd.array([True, None, False], "boolean"),
        pd.array([1, None, 3], "Int64"),
    ],
    ids=str,
)
def test_what_is_missing_is_said_to_be(column):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": column})
    with pytest.raises(ValueError, match="contains NaN"):
        make(AutoencoderDetector, max_epochs=1).fit(frame)


def test_columns_that_look_alike_are_named():
    X = np.random.default_rng(0).normal(size=(3000, 8))
    X[:5, 2] = 999999.0
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    for rows, name in ((frame, "c"), (X, "2")):
        what = rf"in 1 of 8 column\(s\) \({name}\): nine"
        with pytest.warns(UserWarning, match=what):
            make(AutoencoderDetector, max_epochs=1).fit(rows)
    X[5:10] = 999999.0
    with pytest.warns(UserWarning, match=r"in 8 of 8 .* \(0, 1, 2, 3, 4, \.\.\.\)"):
        make(AutoencoderDetector, max_epochs=1).fit(X)


def test_columns_that_are_constant_in_a_first_part_are_named(problem):
    X, _ = problem
    part = X[:20].copy()
    part[:, 1] = 3.0
    with pytest.warns(UserWarning, match=r"1 of 6 column\(s\) .* first part \(1\)"):
        detector = make(AutoencoderDetector).partial_fit(part)
    with pytest.warns(UserWarning, match=r"6 of 6 .* \(0, 1, 2, 3, 4, \.\.\.\)"):
        make(AutoencoderDetector).partial_fit(X[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.partial_fit(part)  # too late
        make(AutoencoderDetector, standardize=False).partial_fit(part)
        make(AutoencoderDetector).fit(part)


@pytest.mark.parametrize("n_rows", [50, 20_000])
def test_a_feature_far_from_zero_is_scaled_as_any(n_rows):
    X = np.random.default_rng(0).normal(size=(n_rows, 2))
    spread = np.exp2(-20)  # few of the digits that are left beside 2**24
    far = np.c_[np.exp2(24) + spread * np.round(256 * X[:, 0]), X[:, 1]]
    scaler = make(AutoencoderDetector, max_epochs=1).fit(far).scaler_
    np.testing.assert_allclose(scaler.scale_, far.std(axis=0), rtol=1e-6)


def test_a_feature_of_rounding_alone_is_not_scaled():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), size=500)
    X = np.c_[shares, shares.sum(axis=1)]
    assert len(np.unique(X[:, 4])) > 1
    detector = make(AutoencoderDetector, max_epochs=1)
    with pytest.warns(UserWarning, match=r"look alike .* 1 of 5 column\(s\) \(4\)"):
        detector.fit(X)
    assert detector.scaler_.scale_[4] == 1.0


@pytest.mark.parametrize("cls", [AutoencoderDetector, VAEDetector, DASVDD])
def test_networks_that_have_not_learned_are_told_of(cls):
    X, y = load_wbc(return_X_y=True)
    detector = cls(learning_rate=3.0, max_epochs=5, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"have not learned: .* zeros would"):
        detector.fit(pd.DataFrame(X, columns=load_wbc().feature_names), y)
    normal = pd.DataFrame(X[y == 1], columns=load_wbc().feature_names)
    error = (normal - detector.reconstruct(normal)) / normal.std()
    assert np.square(error).to_numpy().mean() > 10


@pytest.mark.parametrize("shape", [np.array([5, 5, 3]), (np.int64(5),) * 2 + (3,)])
def test_an_image_shape_of_numpy_numbers(shape):
    X = np.random.default_rng(0).uniform(size=(20, 75))
    params = {"architecture": "conv", "hidden_layer_sizes": (2,), "max_epochs": 1}
    scores = []
    for image_shape in (shape, (5, 5, 3)):
        detector = make(AutoencoderDetector, image_shape=image_shape, **params)
        with pytest.warns(UserWarning, match="as 5 channels of 5 x 3"):
            detector.fit(X)
        scores.append(detector.score_samples(X))
    np.testing.assert_array_equal(*scores)


def test_channels_that_come_last_are_told_of():
    X = np.random.default_rng(0).normal(size=(20, 75))
    params = {"architecture": "conv", "hidden_layer_sizes": (2,), "max_epochs": 1}
    with pytest.warns(UserWarning, match=r"as 5 channels of 5 x 3 .* \(3, 5, 5\)"):
        make(AutoencoderDetector, image_shape=(5, 5, 3), **params).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape in ((3, 5, 5), (1, 25, 3), (25, 3, 1), (15, 5, 1), (25, 1, 3)):
            make(AutoencoderDetector, image_shape=shape, **params).fit(X)


@pytest.mark.parametrize(
    "change",
    [
        lambda X: X * 1e-30,
        lambda X: X * [1e12, 1.0, 1e-12],
        lambda X: np.repeat(X[:1], 20, axis=0),
        lambda X: np.where(np.abs(X) > 2, X, 0.0 * X),  # with zeros of both signs
        lambda X: (X > 0) + 1e-16 * np.round(X),
        lambda X: np.exp(3 * X),
        lambda X: X[:2],
    ],
    ids=["small", "units", "equal", "sparse", "rounding", "heavy tail", "two rows"],
)
def test_rows_that_do_not(change):
    X = np.random.default_rng(0).normal(size=(500, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(AutoencoderDetector, max_epochs=1).fit(change(X))
        # As pixels, of which some never change: their scale is the user's.
        scales = [1.0, 1.0, 1e-5]
        params = {"standardize": False, "max_epochs": 1}
        make(AutoencoderDetector, **params).fit(X * scales)


@every_deep
def test_interrupt_leaves_a_usable_previous_state(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    before, scores = dict(vars(detector)), detector.score_samples(X)
    recorder = Recorder(error=KeyboardInterrupt())
    detector.set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt):
        detector.fit(X + 1)
    assert recorder.events[-1] == "teardown"
    detector.set_callbacks()
    assert dict(vars(detector)) == before
    np.testing.assert_array_equal(detector.score_samples(X), scores)


@every_deep
@pytest.mark.parametrize(
    "mode",
    [
        torch.inference_mode,
        torch.no_grad,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.device("meta"),
    ],
)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"architecture": "conv", "image_shape": (1, 2, 3), "hidden_layer_sizes": (4,)},
    ],
)
def test_torchs_modes_around_a_fit_do_not_matter(cls, mode, params, problem):
    X, _ = problem

    def scores():
        detector = make(cls, **params).fit(X)
        fitted = detector.score_samples(X)
        return fitted, detector.partial_fit(X).score_samples(X)

    outside = scores()
    with mode():
        inside = scores()
    np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_device_errors_say_what_to_do(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="not a torch device"):
        make(AutoencoderDetector, device="gpu0").fit(X)
    with pytest.raises(ValueError, match="not supported"):
        make(AutoencoderDetector, device="meta").fit(X)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="finds no CUDA device"):
            make(AutoencoderDetector, device="cuda").fit(X)
    detector = make(AutoencoderDetector, device="cpu").fit(X)
    assert detector.device_ == "cpu"


def test_state_from_cuda_scores_on_a_cpu(problem):
    """What a detector trained on CUDA holds: arrays, and the name of the device."""
    X, _ = problem
    detector = make(VAEDetector).fit(X)
    scores = detector.score_samples(X)
    detector.device_ = "cuda:0"
    detector._fitted_params["device"] = "cuda"
    loaded = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(loaded.score_samples(X), scores)


@pytest.fixture
def numbers_of_a_cpu(monkeypatch):
    """Let a GPU's networks take the random numbers that they would on the CPU."""

    def make_on_cpu(seeds, device, *purpose):
        return make_generators(seeds, "cpu", *purpose)

    def through_cpu(draw):
        def drawn(self, block, *args):
            on_cpu = torch.empty(block.shape)
            draw(self, on_cpu, *args)
            block.copy_(on_cpu)

        return drawn

    monkeypatch.setattr(skdeepad._training, "make_generators", make_on_cpu)
    for layer in Stochastic.__subclasses__():
        monkeypatch.setattr(layer, "draw", through_cpu(layer.draw))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("params", [{}, HARD, CONV | HARD], ids=str)
@every_deep
def test_a_gpu_trains_and_scores_as_the_cpu(cls, params, problem, numbers_of_a_cpu):
    X, _ = problem
    params = params | {"max_epochs": 2}
    cpu, gpu = (make(cls, device=name, **params).fit(X) for name in ("cpu", "cuda"))
    for name, losses in cpu.history_.items():
        np.testing.assert_allclose(gpu.history_[name], losses, rtol=1e-3, atol=1e-4)
    scores = gpu.score_samples(X)
    np.testing.assert_allclose(scores, cpu.score_samples(X), rtol=0.01, atol=1e-3)
    gpu.set_params(device="cpu")
    np.testing.assert_allclose(gpu.score_samples(X), scores, rtol=1e-6)


def test_a_conformal_threshold_refuses_rows_of_earlier_fits(problem):
    X, _ = problem
    detector = make(AutoencoderDetector, threshold=Conformal(0.1), warm_start=True)
    detector.fit(X)
    with pytest.raises(ValueError, match="were trained on before"):
        detector.fit(X)


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_norm": True, "dropout": 0.3}, {"output_activation": "sigmoid"}],
    ids=["plain", "regularised", "sigmoid"],
)
@pytest.mark.parametrize(
    "cls, own",
    [
        (AutoencoderDetector, {"noise_std": 0.5}),
        (VAEDetector, {"beta": torch.tensor([0.3, 2.0])}),
        (VAEDetector, {"likelihood": "bernoulli"}),
        (DASVDD, {"gamma": 0.7}),
        (DASVDD, {"gamma": 0.7, "loss_reduction": "mean"}),
        (DeepSVDD, {}),
        (DeepSVDD, {"nu": 0.3}),
    ],
)
def test_own_gradients_of_the_loss_are_autograds(cls, own, options):
    """Of the parts of the loss too, with two networks and the same random numbers."""
    detector = make(cls, latent_dim=2, **(options | own))
    network = build(lambda members: detector._build_network(6, members), [0, 1])
    if hasattr(network, "gamma"):
        network.gamma.copy_(torch.tensor([[0.7], [0.1]]))
    x = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    phase = detector._phases(network)[0]
    prepare(network.train())
    seed_layers(random_layers(network), [3, 4], (0,), 1, x.device)
    expected = phase._set_by_autograd(x)
    gradients = [p.grad.clone() for p in phase._parameters]
    phase._gradients.fill_(7.0)
    seed_layers(random_layers(network), [3, 4], (0,), 1, x.device)
    torch.testing.assert_close(detector._set_gradients(network, x), expected)
    for parameter, gradient in zip(phase._parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


class LossOnly(ReconstructionMixin, BaseAutoencoderDetector):
    """A new detector as CONTRIBUTING describes it, with no backward pass of its own."""

    def _loss(self, network, x):
        difference = network.decode(network.encode(x)) - x
        return {"loss": difference.square().mean((1, 2))}

    def _feature_errors(self, network, x):
        return self._reconstruction(network, x).sub_(x).square_()

    def _anomaly_scores(self, network, x):
        return self._feature_errors(network, x).mean(2)


class Mean(BaseDeepDetector):
    """One without an encoder and a decoder: the distance from a point."""

    def _build_network(self, n_features, members):
        network = nn.Module()
        network.point = Center(members, n_features)
        network.members, network.width, network.work = members, n_features, n_features
        return network

    def _distance(self, network, x):
        return (x - network.point.value).square().sum(2)

    def _loss(self, network, x):
        return {"loss": self._distance(network, x).mean(1)}

    def _anomaly_scores(self, network, x):
        return self._distance(network, x)


def test_a_detector_without_a_decoder(problem):
    X, _ = problem
    detector = make(Mean, max_epochs=50, learning_rate=0.05, n_estimators=3).fit(X)
    expected = (detector.scaler_.transform(X) ** 2).sum(1)  # the mean is at 0
    np.testing.assert_allclose(
        -detector.score_samples(X), expected, rtol=0.05, atol=0.5
    )


def test_wrong_shapes_of_a_new_detector_are_told_of(problem):
    X, _ = problem

    class Scalar(LossOnly):
        def _loss(self, network, x):
            return {"loss": super()._loss(network, x)["loss"].sum()}

    class OfRows(LossOnly):
        def _anomaly_scores(self, network, x):
            return super()._anomaly_scores(network, x)[0]

    class Drawn(Mean):
        def _build_network(self, n_features, members):
            network = super()._build_network(n_features, members)
            network.layer = nn.Linear(n_features, 1)
            return network

    with pytest.raises(ValueError, match=r"shape \(\), expected \(members,\) = \(1,\)"):
        make(Scalar).fit(X)
    with pytest.raises(ValueError, match=r"_anomaly_scores gave .* = \(1, 200\)"):
        make(OfRows).fit(X)
    with pytest.raises(TypeError, match=r"Linear has parameters and no initialize"):
        make(Drawn).fit(X)


def absolute_error(self, network, x):
    """A loss."""
    difference = network.decode(network.encode(x)) - x
    return {"loss": difference.abs().mean((1, 2))}


@pytest.mark.parametrize("params", [{}, {"precision": "bf16", "dropout": 0.2}])
def test_a_detector_that_states_its_loss_alone_is_trained_by_autograd(params, problem):
    X, _ = problem
    own = make(AutoencoderDetector, **params).fit(X)
    stated = make(LossOnly, **params).fit(X)
    rtol = 0.05 if params else 1e-4
    np.testing.assert_allclose(own.history_["loss"], stated.history_["loss"], rtol=rtol)
    np.testing.assert_allclose(
        own.score_samples(X), stated.score_samples(X), rtol=10 * rtol
    )


def test_gradients_of_an_overridden_loss_are_not_used(problem):
    X, _ = problem
    own, stated = (
        make(type("AbsoluteError", (base,), {"_loss": absolute_error})).fit(X)
        for base in (AutoencoderDetector, LossOnly)
    )
    np.testing.assert_array_equal(own.score_samples(X), stated.score_samples(X))
    np.testing.assert_array_equal(own.history_["loss"], stated.history_["loss"])


@pytest.mark.parametrize(
    ("cls", "name", "method"),
    [
        (
            VAEDetector,
            "_log_likelihood",
            lambda self, output, x: -(output - x).abs(),
        ),
        (
            DASVDD,
            "_reduce",
            lambda self, difference, reduction: difference.abs().sum(2),
        ),
    ],
)
def test_nor_those_of_what_a_loss_is_made_of(cls, name, method, problem):
    X, _ = problem
    plain = make(cls, kappa=0.9) if cls is DASVDD else make(cls)
    other = type("Absolute", (cls,), {name: method})(**plain.get_params())
    losses = [detector.fit(X).history_["loss"] for detector in (plain, other)]
    assert not np.allclose(*losses, rtol=1e-2)
    assert not np.allclose(
        plain._state["encoder.0.weight"], other._state["encoder.0.weight"], atol=1e-4
    )


def test_a_fixed_centre_is_each_members_own_to_the_last_bit(problem):
    X, _ = problem
    X = np.repeat(X, 12, axis=0)
    params = {"center": "fixed", "gamma": 0.1, "hidden_layer_sizes": (512,)}
    params["device"] = "cpu"  # a GPU's products of several matrices round otherwise
    alone = make(DASVDD, max_epochs=1, **params).fit(X)
    together = make(DASVDD, max_epochs=1, n_estimators=4, **params).fit(X)
    np.testing.assert_array_equal(alone.center_[0], together.center_[0])
    for name, value in alone._state.items():
        np.testing.assert_array_equal(value[0], together._state[name][0])


def test_a_detector_loaded_as_a_memory_map_goes_on(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector).partial_fit(X)
    joblib.dump(detector, tmp_path / "detector")
    loaded = joblib.load(tmp_path / "detector", mmap_mode="r").partial_fit(X)
    np.testing.assert_array_equal(
        loaded.score_samples(X), detector.partial_fit(X).score_samples(X)
    )


@every_deep
def test_scoring_in_chunks_is_scoring_at_once(cls, problem, monkeypatch):
    X, _ = problem
    detector = make(cls, n_estimators=2).fit(X)
    per_row = getattr(detector, "transform", None) or detector.feature_errors
    outputs = [m(X) for m in (detector.score_samples, per_row)]
    monkeypatch.setattr("skdeepad._training.chunk_bytes", lambda _: 8 * 256 * 2 * 7)
    np.testing.assert_array_equal(detector.score_samples(X), outputs[0])
    np.testing.assert_allclose(per_row(X), outputs[1], rtol=1e-12, atol=1e-14)


@every_deep
def test_the_network_to_score_with_is_made_once_a_state(cls, problem):
    X, _ = problem
    detector = make(cls, warm_start=True, device="cpu").fit(X)
    network = detector._scoring_network(torch.device("cpu"))
    before = detector.score_samples(X)
    assert detector._scoring_network(torch.device("cpu")) is network
    copied = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copied.score_samples(X), before)
    for fit, rows in ((detector.fit, X), (detector.partial_fit, X[:50])):
        fit(rows)
        fresh = pickle.loads(pickle.dumps(detector)).score_samples(X)
        np.testing.assert_array_equal(detector.score_samples(X), fresh)
        assert not np.array_equal(fresh, before)
        before = fresh
    known = weakref.ref(detector._scoring_network(torch.device("cpu")))
    del detector, fit
    gc.collect()
    assert known() is None


def test_partial_fit_prints_its_epoch(problem, capsys):
    X, _ = problem
    detector = make(AutoencoderDetector, verbose=True)
    detector.partial_fit(X).partial_fit(X)
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[AutoencoderDetector\] epoch 1: loss=[\d.]+", first)
    assert "epoch 2: loss=" in second


@every_deep
def test_scores_beside_a_fit_in_another_thread_are_of_one_fit(
    cls, problem, monkeypatch
):
    X, _ = problem
    detector = make(cls).fit(X)
    old = detector.score_samples(X)
    seen, scale = [], BaseDeepDetector._scale

    def refit(self, rows):
        monkeypatch.setattr(BaseDeepDetector, "_scale", scale)
        other = Thread(target=lambda: detector.set_params(random_state=9).fit(2 * X))
        other.start()
        other.join()
        return scale(self, rows)

    # A fit that ends while rows are scored, ...
    monkeypatch.setattr(BaseDeepDetector, "_scale", refit)
    np.testing.assert_array_equal(detector.score_samples(X), old)
    new = detector.score_samples(X)
    assert not np.array_equal(new, old)
    fresh = pickle.loads(pickle.dumps(detector)).score_samples(X)
    np.testing.assert_array_equal(new, fresh)
    # ... and rows that are scored in the midst of a fit.
    train = BaseDeepDetector._train

    def scoring(self, run, **options):
        seen.append(detector.score_samples(X))
        outcome = train(self, run, **options)
        seen.append(detector.score_samples(X))
        return outcome

    monkeypatch.setattr(BaseDeepDetector, "_train", scoring)
    detector.fit(3 * X)
    assert len(seen) >= 2
    for scores in seen:
        np.testing.assert_array_equal(scores, new)


def test_a_detector_need_not_be_hashable(problem):
    X, _ = problem
    plain = make(AutoencoderDetector).fit(X)
    own = dataclass(kw_only=True)(type("Own", (AutoencoderDetector,), {}))
    with pytest.raises(TypeError, match="unhashable"):
        hash(own())
    np.testing.assert_array_equal(
        make(own).fit(X).score_samples(X), plain.score_samples(X)
    )


@every_deep
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_norm": True, "dropout": 0.1, "n_estimators": 2},
        {"architecture": "conv", "image_shape": (1, 2, 3), "hidden_layer_sizes": (4,)},
    ],
)
def test_bfloat16_products_train_nearly_the_same(cls, params, problem):
    X, y = problem
    params = {"max_epochs": 15, "learning_rate": 3e-3} | params
    full = make(cls, **params).fit(X, y)
    low = make(cls, precision="bf16", **params).fit(X, y)
    losses = [detector.history_["loss"] for detector in (low, full)]
    assert not np.array_equal(*losses)
    np.testing.assert_allclose(losses[0][:3], losses[1][:3], rtol=0.1)
    assert {value.dtype.name for value in low._state.values()} == {"float32"}
    if cls not in LOWERING:
        return  # a game of two networks goes another way
    scores = low.score_samples(X), full.score_samples(X)
    assert np.corrcoef(*map(scipy.stats.rankdata, scores))[0, 1] > 0.8


@pytest.mark.parametrize(
    "has_bf16, batch_size, expected",
    [(True, 10**6, torch.bfloat16), (True, 8, None), (False, 10**6, None)],
)
def test_automatic_precision(has_bf16, batch_size, expected, problem, monkeypatch):
    """For large steps on processors with the instructions, however many networks."""
    X, _ = problem
    monkeypatch.setattr("skdeepad._deep._has_bf16", lambda device: has_bf16)
    for n_estimators in (1, 50):
        detector = make(AutoencoderDetector, precision="auto", batch_size=batch_size)
        run = detector.set_params(n_estimators=n_estimators)._start(X)
        assert detector._product_dtype(run) == expected


def test_automatic_precision_leaves_a_processors_convolutions_alone(monkeypatch):
    monkeypatch.setattr("skdeepad._deep._has_bf16", lambda device: True)
    monkeypatch.setattr("skdeepad._deep.LARGE_WORK", 1)
    X = np.zeros((8, 16))
    params = {"precision": "auto", "hidden_layer_sizes": (4,), "device": "cpu"}
    for architecture, image_shape, expected in [
        ("mlp", None, torch.bfloat16),
        ("conv", (1, 4, 4), None),
    ]:
        detector = make(AutoencoderDetector, **params)
        detector.set_params(architecture=architecture, image_shape=image_shape)
        assert detector._product_dtype(detector._start(X)) == expected


def test_tf32_is_for_gpus(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="tf32' is for GPUs, and this fit is on 'cpu'"):
        make(AutoencoderDetector, precision="tf32", device="cpu").fit(X)


def test_tf32_is_asked_for_by_the_parameter(problem, monkeypatch):
    X, _ = problem
    asked = []

    def spy(device, tf32):
        asked.append(tf32)
        return nullcontext()

    monkeypatch.setattr("skdeepad._settings.gpu_settings", spy)
    for precision in ("float32", "tf32"):
        detector = make(AutoencoderDetector)
        run = detector._start(X)
        detector.set_params(precision=precision)._train(run)
    # What comes before training too.
    assert asked == [False, False, False, True]


class Deeper(AutoencoderDetector):
    """One that adds a layer to a network that it inherits."""

    def _build_network(self, n_features, members):
        network = super()._build_network(n_features, members)
        width = network.encoder[-1].weight.shape[2]
        network.encoder.append(Linear(members, width, width))
        return network


def test_a_layer_that_is_added_to_a_network_is_trained(problem):
    X, _ = problem
    detectors = [make(Deeper, max_epochs=n).fit(X) for n in (1, 2)]
    for name, value in detectors[0]._state.items():
        assert (value != detectors[1]._state[name]).any(), name


def test_validation_rows_are_rounded_up():
    detector = AutoencoderDetector(validation_fraction=0.2)
    assert [detector._n_validation(np.empty((n, 1))) for n in (50, 52)] == [10, 11]


def test_variances_too_small_for_a_number_are_told_of():
    X = np.random.default_rng(0).normal(size=(50, 3)) * 1e-165
    with pytest.warns(UserWarning, match="too small for a number: multiply X"):
        make(AutoencoderDetector).fit(X)


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_printed_losses_are_of_networks_that_still_train(problem, capsys):
    params = {"early_stopping": True, "n_iter_no_change": 1, "n_estimators": 4}
    make(AutoencoderDetector, verbose=True, max_epochs=50, **params).fit(problem[0])
    printed = capsys.readouterr().out
    assert "epoch 2: " in printed
    assert "nan" not in printed


def test_a_fit_that_failed_is_not_said_to_have_ended(problem):
    recorder = Recorder(error=ValueError("no log"))
    with pytest.raises(ValueError, match="no log"):
        make(AutoencoderDetector).set_callbacks(recorder).fit(problem[0])
    assert recorder.events[-2:] == ["end epoch 0", "teardown"]


def test_callbacks_see_the_epochs_of_fits_before(problem):
    class Counting(Recorder):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            self.events.append(fitted_estimator.n_iter_)

    counting = Counting()
    detector = make(AutoencoderDetector, warm_start=True).fit(problem[0])
    detector.set_callbacks(counting).fit(problem[0])
    assert [e for e in counting.events if isinstance(e, int)] == [6, 7, 8, 9, 10, 10]


def test_a_fit_that_was_trained_before_has_no_epochs_to_come(problem):
    class Expecting(Recorder):
        def on_fit_task_begin(self, estimator, context):
            self.events.append(context.max_subtasks)

    X, _ = problem
    detector, expecting = make(AutoencoderDetector), Expecting()
    requests = Requests()
    requests.note(partial(clone(detector).fit, X))
    with serving(Trained.of(*requests.groups()[0].parts(1))):
        detector.set_callbacks(expecting).fit(X)
    assert expecting.events[1] == 0
