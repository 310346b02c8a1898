"""Whole fits on a second device: every tensor is where it belongs, and right."""

import pickle
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from sklearn import config_context

import skdeepad._checkpoint
import skdeepad._together
import skdeepad._training
from skdeepad import DSEBM, AutoencoderDetector, DeepSVDD
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from tests.conftest import CONV, HARD, STOP, every_deep, make, taken
from tests.second_device import DEVICE, Event, second_device, setup

pytestmark = [
    pytest.mark.skipif(
        torch.cuda.is_available(), reason="there is a GPU, which tests it better"
    ),
    pytest.mark.skipif(
        setup is None and tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
        reason="this torch has no devices of Python",
    ),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

BF16 = {"precision": "bf16", "max_epochs": 2}
# Rounding differs where the CPU splits a product, or adds up, in another way.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def test_the_second_device_is_strict():
    with second_device():
        x, y = torch.ones(3, device=DEVICE), torch.ones(3)
        with pytest.raises(RuntimeError, match="operands on two devices"):
            x + y
        with pytest.raises(RuntimeError, match="operands on two devices"):
            torch.add(y, 1, out=x)
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        assert (x + y.to(x)).device == DEVICE
        part = x[1:].mul_(2)
        assert part.device == DEVICE
        assert x.cpu().tolist() == [1.0, 2.0, 2.0]
        assert x.cpu().device.type == "cpu"


def assert_close(detector, other, X):
    scores = other.score_samples(X)
    # An energy goes through zero, near which no relative difference is small.
    close = CLOSE | {"atol": 1e-5 * np.abs(scores).max()}
    np.testing.assert_allclose(detector.score_samples(X), scores, **close)
    np.testing.assert_allclose(detector.offset_, other.offset_, **close)
    for name, losses in detector.history_.items():
        np.testing.assert_allclose(losses, other.history_[name], **CLOSE)


@pytest.mark.parametrize("cls", [AutoencoderDetector, DSEBM, DeepSVDD])
def test_rows_are_picked_there(cls, problem):
    X, _ = problem
    params = {"support_fraction": 0.7, "early_stopping": True, "n_estimators": 2}
    here = make(cls, **params).fit(X)
    with second_device():
        assert_close(make(cls, **params).fit(X), here, X)


@every_deep
@pytest.mark.parametrize("params", [{}, HARD, CONV, BF16, STOP], ids=str)
def test_a_fit_and_all_that_is_asked_of_it(cls, params, problem):
    X, y = problem
    here = make(cls, **params).fit(X, y)
    with second_device():
        there = make(cls, **params).fit(X, y)
        assert there.device_ == str(DEVICE)
        assert_close(there, here, X)
        methods = "transform", "reconstruct", "feature_errors"
        for method in filter(partial(hasattr, here), methods):
            values = getattr(there, method)(X)
            np.testing.assert_allclose(values, getattr(here, method)(X), **CLOSE)
        stored = pickle.dumps(there)
        scores = there.score_samples(X)
    # What comes from there is scored here.
    np.testing.assert_allclose(pickle.loads(stored).score_samples(X), scores, rtol=1e-6)


@every_deep
def test_warm_start_and_partial_fit(cls, problem):
    X, _ = problem

    def course(detector):
        detector.fit(X).fit(X)
        for part in (X[:90], X[90:]):
            detector.partial_fit(part)
        return detector

    # Of a seed that leaves no gradient near zero at Adam's first steps, which go by
    # its sign: rounding would decide that.
    params = {"warm_start": True, "max_epochs": 2, "random_state": 1}
    here = course(make(cls, **params))
    with second_device():
        there = course(make(cls, **params))
    assert_close(there, here, X)
    # And training goes on here.
    assert_close(there.partial_fit(X), here.partial_fit(X), X)


@every_deep
def test_a_checkpoint(cls, problem, tmp_path, monkeypatch, epochs):
    X, _ = problem
    monkeypatch.setattr(skdeepad._checkpoint, "INTERVAL", 0.0)
    here = make(cls, **STOP).fit(X)
    detector = make(cls, checkpoint_dir=tmp_path, **STOP)
    epochs.stop_at = epochs.n_begun + 3
    with second_device():
        with pytest.raises(KeyboardInterrupt):
            detector.fit(X)
        assert list(tmp_path.iterdir())
        assert_close(detector.fit(X), here, X)
        assert not list(tmp_path.iterdir())


@every_deep
def test_rows_that_are_streamed(cls, problem):
    X, _ = problem
    here = make(cls, **STOP).fit(X)
    Event.streams.clear()
    with config_context(working_memory=0), second_device():
        there = make(cls, **STOP).fit(X)
    assert set(Event.streams) == {DEVICE}
    assert_close(there, here, X)


@every_deep
def test_a_search(cls, problem):
    X, y = problem
    grid = {"learning_rate": [1e-3, 1e-2], "dropout": [0.1, 0.3], "max_epochs": [1, 2]}
    grid["early_stopping"] = [False, True]
    grid = taken(cls, grid)

    def scores():
        search = BatchedGridSearchCV(
            make(cls), grid, scoring="roc_auc", cv=OneClassKFold(3), refit=False
        )
        return search.fit(X, y).cv_results_["mean_test_score"]

    here = scores()
    with second_device():
        there = scores()
    np.testing.assert_allclose(there, here, rtol=1e-3)


@pytest.mark.parametrize("working_memory, n_loops", [(1024, 1), (8, 3)])
@pytest.mark.parametrize("device, limit", [(nullcontext, 64), (second_device, 2)])
def test_a_group_is_one_loop_where_memory_allows(
    problem, loops, monkeypatch, device, limit, working_memory, n_loops
):
    X, y = problem
    # The processor's limit, which a GPU does not have.
    monkeypatch.setattr(skdeepad._together, "MEMBERS_AT_ONCE", limit)
    detector = make(AutoencoderDetector, max_epochs=1)
    grid = {"learning_rate": [1e-3, 1e-2, 2e-2, 3e-2]}
    search = BatchedGridSearchCV(
        detector, grid, scoring="roc_auc", cv=OneClassKFold(3), refit=False
    )
    with device(), config_context(working_memory=working_memory):
        search.fit(X, y)
    assert len(loops) == n_loops
    assert sum(members for members, _, _ in loops) == 12
