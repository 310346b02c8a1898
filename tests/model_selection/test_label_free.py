"""The criterion without labels, on data where the answer is known."""

import pickle

import numpy as np
import pandas as pd
import pyarrow
import pytest
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad import AutoencoderDetector
from skdeepad.model_selection import (
    BatchedGridSearchCV,
    LabelFreeScorer,
    label_free_scorer,
)
from skdeepad.model_selection._label_free import disturbed_rows
from tests.conftest import make


class Radius(OutlierMixin, BaseEstimator):
    """Normal within a ball around 0, or (sign=-1) outside of it."""

    def __init__(self, sign=1):
        self.sign = sign

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def decision_function(self, X):
        return -self.sign * np.linalg.norm(X, axis=1)


@pytest.fixture
def ball():
    return np.random.RandomState(0).normal(size=(4000, 2))


def test_is_the_chance_that_a_normal_row_scores_above_a_disturbed_one(ball):
    """Simulated once more: one of two features moved by N(0, 3^2)."""
    rng = np.random.default_rng(1)
    inside = np.linalg.norm(rng.normal(size=(200_000, 2)), axis=1)
    moved = rng.normal(size=(200_000, 2))
    moved[:, 0] += 3 * rng.normal(size=200_000)
    expected = (inside < np.linalg.norm(moved, axis=1)).mean()
    score = label_free_scorer(Radius().fit(ball), ball)
    assert score == pytest.approx(expected, abs=0.02)
    assert label_free_scorer(Radius(-1).fit(ball), ball) == pytest.approx(1 - score)


def test_repeats_and_leaves_global_generators_alone(ball):
    state = np.random.get_state()[1].copy()
    first = label_free_scorer(Radius().fit(ball), ball)
    assert label_free_scorer(Radius().fit(ball), ball) == first
    assert LabelFreeScorer(1)(Radius().fit(ball), ball) != first
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_labelled_anomalies_are_left_out(ball):
    y = np.r_[np.ones(3900), -np.ones(100)]
    anomalies = np.r_[ball[:3900], ball[3900:] + 50]
    detector = Radius().fit(ball)
    expected = label_free_scorer(detector, ball[:3900])
    assert label_free_scorer(detector, anomalies, y) == expected
    with pytest.raises(ValueError, match=r"must be \+1"):
        label_free_scorer(detector, ball, np.r_[np.ones(3900), np.zeros(100)])


@pytest.mark.parametrize(("n_features", "n_few"), [(1, 1), (4, 1), (20, 2), (57, 6)])
def test_a_tenth_of_the_features_are_disturbed(n_features, n_few):
    X = np.random.RandomState(0).normal(size=(3000, n_features)) * 5 + 2
    change = disturbed_rows(X, 0) - X
    assert ((change != 0).sum(axis=1) == n_few).all()
    assert change[change != 0].std() == pytest.approx(15, rel=0.05)
    # Every feature has its turn.
    shares = (change != 0).mean(axis=0)
    np.testing.assert_allclose(shares, n_few / n_features, atol=0.03)


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(n_estimators=10, random_state=0),
        make_pipeline(StandardScaler(), OneClassSVM()),
        make(AutoencoderDetector),
    ],
)
def test_works_for_any_detector_without_y(detector, problem):
    X, y = problem
    scores = cross_val_score(
        detector, X[y == 1], scoring=label_free_scorer, cv=KFold(3, shuffle=True)
    )
    assert ((scores > 0.55) & (scores <= 1)).all()


def test_chooses_the_number_of_epochs_from_one_training(problem):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector, latent_dim=2),
        {"max_epochs": [1, 40]},
        scoring=label_free_scorer,
        cv=KFold(3, shuffle=True, random_state=0),
    ).fit(X[y == 1])
    assert search.best_params_ == {"max_epochs": 40}


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "numbered"])
def test_tables_keep_their_names(kind, problem):
    X, _ = problem
    names = range(6) if kind == "numbered" else list("abcdef")
    frame = pd.DataFrame(X, columns=names)
    if kind == "pyarrow":
        frame = pyarrow.table(frame)
    forest = IsolationForest(n_estimators=10, random_state=0)
    expected = label_free_scorer(forest.fit(X), X)
    assert label_free_scorer(forest.fit(frame), frame) == expected


def test_errors(ball):
    with pytest.raises(NotFittedError):
        label_free_scorer(IsolationForest(), ball)
    with pytest.raises(ValueError, match="two normal rows or more"):
        label_free_scorer(Radius().fit(ball), ball, np.r_[1, -np.ones(3999)])


def test_repr_and_pickle():
    assert repr(pickle.loads(pickle.dumps(LabelFreeScorer(3)))) == (
        "LabelFreeScorer(random_state=3)"
    )


@pytest.mark.parametrize("n_missing", [1, 300])
def test_missing_values_stay_and_change_little(n_missing):
    X = np.random.RandomState(0).normal(size=(1000, 4))
    forest = IsolationForest(random_state=0).fit(X[:500])
    rows = X[500:].copy()
    rows[:n_missing, 0] = np.nan
    disturbed = disturbed_rows(rows, 0)
    np.testing.assert_array_equal(np.isnan(disturbed), np.isnan(rows))
    assert (disturbed != rows)[~np.isnan(rows)].sum() > 400
    whole = label_free_scorer(forest, X[500:])
    assert label_free_scorer(forest, rows) == pytest.approx(whole, abs=0.05)
    rows[:, 0] = np.nan
    assert 0.5 < label_free_scorer(forest, rows) < 1


def test_missing_values_of_a_data_frame_are_nan():
    X = np.random.RandomState(0).normal(size=(300, 4))
    forest = IsolationForest(random_state=0)
    X[200, 1] = np.nan
    frame = pd.DataFrame(X, columns=list("abcd"))
    expected = label_free_scorer(forest.fit(frame[:200]), frame[200:])
    nullable = frame.astype("Float64")
    assert nullable.isna().sum().sum() == 1
    assert label_free_scorer(forest.fit(nullable[:200]), nullable[200:]) == expected


def test_infinity_and_other_numbers_of_labels_are_refused(ball):
    radius, rows = Radius().fit(ball), ball[:50].copy()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        label_free_scorer(radius, rows, np.ones(60))
    rows[3, 1] = np.inf
    with pytest.raises(ValueError, match="X holds infinity: remove"):
        label_free_scorer(radius, rows)


def test_a_table_of_text_is_refused():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": list("xyz")})
    with pytest.raises(ValueError, match="is no dense table of numbers"):
        disturbed_rows(frame)


def test_two_normal_rows_are_enough(ball):
    score = label_free_scorer(Radius().fit(ball), ball[:3], [1, 1, -1])
    assert 0 <= score <= 1


def test_score_samples_comes_before_a_decision_function(ball):
    class Turned(Radius):
        """As a class around PyOD's detectors."""

        def score_samples(self, X):
            return super().decision_function(X)

        def decision_function(self, X):
            return -super().decision_function(X)

    expected = label_free_scorer(Radius().fit(ball), ball)
    assert label_free_scorer(Turned().fit(ball), ball) == expected


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_said_to_be(score, ball):
    class Broken(Radius):
        def decision_function(self, X):
            return np.full(len(X), score)

    with pytest.raises(ValueError, match="Scores hold NaN or infinity"):
        label_free_scorer(Broken().fit(ball), ball)
